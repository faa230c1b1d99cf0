/**
 * `npm run bench -- iptables`: what the iptables backend costs at 10,000 Services × 10 endpoints, end to end inside the
 * process (object delivered → rules committed), beside the reference's layout written by the same iptables in the same
 * run.
 *
 *   npm run bench -- iptables [--services 10000] [--endpoints 10] [--variants legacy,nft] [--reference-limit 120]
 */
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { Bench } from 'tinybench';
import { enterIsolation } from '../../build/isolate.ts';
import { createHost } from '../../core/node/host.ts';
import iptables from '../../plugins/iptables/index.ts';
import { createPlanner } from '../../plugins/iptables/plan.ts';
import { type Cost, measure, medianCost, privateMemory } from './cost.ts';
import { clusterIP, endpointSlice, type Load, service } from './load.ts';
import { referenceInput } from './reference-layout.ts';
import { parseRules, rulesMet } from './rule-walk.ts';
import { quiet, settings, startSynced } from './synced.ts';

const { values } = parseArgs({
  options: {
    services: { type: 'string', default: '10000' },
    'max-services': { type: 'string', default: '100000' },
    endpoints: { type: 'string', default: '10' },
    variants: { type: 'string', default: 'legacy,nft' },
    'reference-limit': { type: 'string', default: '120' },
    // Set by the benchmark itself: which part to run, its result as JSON on standard output.
    part: { type: 'string', default: '' },
  },
});
const load: Load = {
  services: Math.min(Number(values.services), Number(values['max-services'])),
  endpoints: Number(values.endpoints),
};
const referenceLimitMs = Number(values['reference-limit']) * 1000;
const RUNS = 7;

function show(what: string, cost: Cost | undefined, more = ''): void {
  const figures =
    cost === undefined
      ? 'not finished within the limit'
      : `${cost.milliseconds.toFixed(1).padStart(10)} ms  CPU own ${cost.ownCPU.toFixed(0)} + iptables ${cost.childCPU.toFixed(0)} ms`;
  console.error(`  ${what.padEnd(34)}${figures}${more === '' ? '' : `  ${more}`}`);
}

/** What one part found; a cost is absent if it did not finish. */
interface Result {
  readonly full?: Cost;
  readonly change?: Cost;
  readonly met: { readonly mean: number; readonly worst: number };
}

async function ours(variant: string): Promise<Result> {
  const idle = privateMemory();
  const host = createHost({ log: quiet, signal: new AbortController().signal, requestFullSync() {} });
  const backend = await iptables.create(host, { variant });
  const { objects, sync, report } = await startSynced(backend, 'iptables');
  const full = await measure(async () => {
    for (let i = 0; i < load.services; i++) {
      objects.upsertService(service(i));
      objects.upsertEndpointSlice(endpointSlice(i, load.endpoints));
    }
    objects.synced();
    await sync.settled();
  });
  show('full sync, empty host', full, `${report().bytes} bytes`);
  const memory = privateMemory();
  const change = await medianCost(RUNS, async (run) => {
    objects.upsertEndpointSlice(endpointSlice(run * 11, load.endpoints, run + 1));
    await sync.settled();
  });
  show('one endpoint changed', change, `${report().bytes} bytes`);
  const added = await medianCost(RUNS, async (run) => {
    objects.upsertService(service(load.services + run));
    objects.upsertEndpointSlice(endpointSlice(load.services + run, load.endpoints));
    await sync.settled();
  });
  show('one new Service', added, `${report().bytes} bytes`);
  const removed = await medianCost(RUNS, async (run) => {
    const { namespace, name } = service(load.services + run);
    objects.deleteService(namespace, name);
    await sync.settled();
  });
  show('one Service deleted', removed, `${report().bytes} bytes`);
  const repaired = await measure(async () => {
    sync.requestFullSync('bench');
    await sync.settled();
  });
  show('full sync, rules already right', repaired, `${report().bytes} bytes`);
  console.error(
    `  private memory                    ${idle.toFixed(0)} MiB idle, ${memory.toFixed(0)} MiB after the full sync`,
  );
  await sync.stop();
  const save = spawnSync(`iptables-${variant}-save`, ['-t', 'nat'], { encoding: 'utf8', maxBuffer: 2 ** 30 }).stdout;
  await backend.cleanup();
  return { full, change, met: meetRules(save) };
}

async function reference(variant: string): Promise<Result> {
  const all = referenceInput(
    load,
    Array.from({ length: load.services }, (_, i) => i),
  );
  const restore = (input: string): boolean => {
    const run = spawnSync(`iptables-${variant}-restore`, ['-w', '5', '--noflush'], {
      input,
      timeout: referenceLimitMs,
    });
    if (run.status !== 0 && run.error === undefined) throw new Error(`reference layout refused: ${run.stderr}`);
    return run.status === 0;
  };
  const save = (): string => {
    const options = { encoding: 'utf8' as const, maxBuffer: 2 ** 30, timeout: referenceLimitMs };
    return spawnSync(`iptables-${variant}-save`, ['-t', 'nat'], options).stdout;
  };
  let finished = false;
  const full = await measure(async () => {
    finished = restore(all);
  });
  show('reference layout, full', finished ? full : undefined, `${all.length} bytes`);
  const met = meetRules(all);
  if (!finished) return { met };
  let bytes = 0;
  const change = await medianCost(3, async (run) => {
    const input = referenceInput(load, [run]);
    bytes = input.length;
    save();
    restore(input);
  });
  show('reference layout, one change', change, `${bytes} bytes`);
  // Nothing may be left for the next part to find.
  for (const flag of ['-F', '-X']) spawnSync(`iptables-${variant}`, ['-t', 'nat', flag]);
  return { full, change, met };
}

/** Mean rules met over 1,000 connections to Services spread over the whole table. */
function meetRules(save: string): { mean: number; worst: number } {
  const rules = parseRules(save);
  let seed = 1;
  const random = (): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
    return seed / 0x80000000;
  };
  const met = Array.from({ length: 1000 }, (_, i) =>
    rulesMet(rules, 'KUBE-SERVICES', clusterIP(Math.floor((i * load.services) / 1000)), 80, random),
  );
  return { mean: met.reduce((sum, n) => sum + n, 0) / met.length, worst: Math.max(...met) };
}

/** The planner alone: the same change among 10 and among all Services. */
async function planner(): Promise<void> {
  const bench = new Bench({ time: 300 });
  const { resolveService } = await import('../../core/model/resolve.ts');
  const { nodeView } = await import('../../core/model/node-view.ts');
  const node = nodeView('IPv4', undefined, settings, []);
  const facts = { family: 'IPv4' as const, name: 'bench', zone: '', nodeIPs: [] };
  for (const count of [10, load.services]) {
    const subject = createPlanner({
      family: 'IPv4',
      masqueradeBit: 14,
      affinity: 'ipset',
      hairpin: 'bpf',
      counters: false,
    });
    const upsert = Array.from({ length: count }, (_, i) =>
      resolveService(service(i), [endpointSlice(i, load.endpoints)], facts),
    ).flat();
    subject.apply({ family: 'IPv4', full: true, node, upsert, remove: [] });
    let generation = 0;
    bench.add(`resolve and plan one endpoint change among ${count} Services`, () => {
      const slice = endpointSlice(3, load.endpoints, 1 + (generation++ % 2));
      const changed = resolveService(service(3), [slice], facts);
      subject.apply({ family: 'IPv4', full: false, node, upsert: changed, remove: [] });
    });
  }
  await bench.run();
  for (const { name, result } of bench.tasks) {
    const median = result.state === 'completed' ? result.latency.p50 * 1000 : Number.NaN;
    console.error(`  ${name}: ${median.toFixed(1)} µs (median)`);
  }
}

/** Each part in a process of its own, so that memory and caches are its own. */
function runPart(part: string): Result | undefined {
  const args = [...process.execArgv, ...process.argv.slice(1), '--part', part];
  const child = spawnSync(process.execPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  if (child.status !== 0) throw new Error(`part ${part} of the benchmark ended with status ${child.status}`);
  return child.stdout.trim() === '' ? undefined : (JSON.parse(child.stdout) as Result);
}

function compare(variant: string): void {
  console.error(`\niptables-${variant}`);
  const own = runPart(`ours:${variant}`)!;
  const theirs = runPart(`reference:${variant}`)!;
  for (const [label, { met }] of [
    ['rules met by a new connection', own],
    ['reference layout, rules met', theirs],
  ] as const) {
    console.error(`  ${label.padEnd(34)}mean ${met.mean.toFixed(1)}, worst ${met.worst}`);
  }
  if (own.full && own.change && theirs.full && theirs.change) {
    const full = own.full.milliseconds / theirs.full.milliseconds;
    const change = own.change.milliseconds / theirs.change.milliseconds;
    console.error(`  ours / reference                  full ${full.toFixed(2)}, change ${change.toFixed(2)}`);
  }
}

await enterIsolation({ packages: ['iptables'] });
// The sync loop's timers do not keep a process alive by themselves.
const alive = setInterval(() => {}, 1 << 30);
const [part, variant = ''] = values.part.split(':');
if (part === 'planner') {
  await planner();
} else if (part === 'ours') {
  console.log(JSON.stringify(await ours(variant)));
} else if (part === 'reference') {
  console.log(JSON.stringify(await reference(variant)));
} else {
  console.error(
    `${load.services} Services × ${load.endpoints} endpoints, IPv4; medians of ${RUNS} runs where more than one`,
  );
  runPart('planner');
  for (const variant of values.variants.split(',')) compare(variant);
}
clearInterval(alive);
