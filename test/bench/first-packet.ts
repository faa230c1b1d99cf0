/**
 * What a connection's first packet costs under each set of rules: one process and namespace for each, all loaded
 * first, then bursts in turn (none, conntrack, …, none, conntrack, …), so that whatever else the machine does hits all alike.
 */
import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { countConnections, flushConnections, prepareBurst, prepareLink } from './connection-burst.ts';
import { median } from './cost.ts';
import { clusterIP, type Load } from './load.ts';
import type { ReferenceLayout } from './nftables-reference.ts';

/** A round of one variant; the kernel forgets all of them after each. */
const PACKETS = 20_000;

export type Variant = 'no conntrack' | 'conntrack' | 'one dnat rule' | 'ours' | `reference ${ReferenceLayout}`;

/** The least that translates: what any proxy must pay over plain conntrack. */
const ONE_RULE = `
table ip one {
  chain output { type nat hook output priority -100; meta l4proto tcp dnat to 10.128.0.1:8080; }
  chain postrouting { type nat hook postrouting priority 100; }
}`;
/** A chain that nothing calls: the rule in it switches connection tracking on, and no packet meets it. */
const CONNTRACK_ON = 'table ip unused { chain unused { ct state new accept; }; }';

/** The child's side: loads its rules, says so, and answers each line of standard input with a burst's figures. */
export async function burstPart(load: Load, variant: Variant, limitMs: number): Promise<void> {
  prepareLink();
  if (variant === 'conntrack') nft(CONNTRACK_ON);
  if (variant === 'one dnat rule') nft(ONE_RULE);
  if (variant === 'ours') {
    const { loadAll, startOurs } = await import('./backend-parts.ts');
    const { default: plugin } = await import('../../plugins/nftables/index.ts');
    await loadAll(load, await startOurs(plugin));
  }
  if (variant.startsWith('reference ')) {
    const { loadReference } = await import('./nftables-reference-load.ts');
    const layout = variant.slice('reference '.length) as ReferenceLayout;
    const { finished } = await loadReference(load, layout, limitMs);
    if (!finished) return;
  }
  // In an order that no cache likes, and the same for all.
  const burst = prepareBurst(PACKETS, (packet) => clusterIP((packet * 7919) % load.services));
  burst.send();
  const { tracked, translated } = variant === 'no conntrack' ? { tracked: 0, translated: 0 } : countConnections();
  console.log(JSON.stringify({ tracked, translated }));
  for await (const _ of createInterface({ input: process.stdin })) {
    flushConnections();
    console.log(JSON.stringify(burst.send()));
  }
}

function nft(input: string): void {
  const run = spawnSync('nft', ['-f', '-'], { input, encoding: 'utf8' });
  if (run.status !== 0) throw new Error(`nft: ${run.stderr}`);
}

export interface FirstPacket {
  readonly variant: Variant;
  /** Nanoseconds of CPU for each new connection; NaN if its rules were not loaded within the limit. */
  readonly cpu: number;
  /** The same of the clock. */
  readonly wall: number;
  /** Rounds that the middle half of all is within, in nanoseconds of CPU. */
  readonly quartiles: readonly [number, number];
}

/** The parent's side. `start` gives the command line of a part in a namespace of its own. */
export async function measureFirstPacket(
  variants: readonly Variant[],
  rounds: number,
  start: (variant: Variant) => readonly [command: string, ...args: string[]],
): Promise<readonly FirstPacket[]> {
  const runs: { variant: Variant; child: Child; ask: Ask; cpu: number[]; wall: number[] }[] = [];
  try {
    for (const variant of variants) {
      const [command, ...args] = start(variant);
      const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
      const ask = lines(child);
      const ready = await ask();
      runs.push({ variant, child, ask, cpu: [], wall: [] });
      if (ready === undefined) continue;
      const expected = variant === 'no conntrack' ? 0 : PACKETS;
      const translated = variant === 'conntrack' ? 0 : expected;
      if (ready.tracked !== expected || ready.translated !== translated) {
        console.error(`  ${variant}: ${JSON.stringify(ready)} instead of ${translated} translated of ${expected}`);
      }
    }
    for (let round = 0; round < rounds; round++) {
      for (const { child, ask, cpu, wall } of runs) {
        if (child.exitCode !== null) continue;
        child.stdin.write('\n');
        const cost = await ask();
        if (cost === undefined) continue;
        cpu.push((cost.cpuNanoseconds ?? 0) / (cost.packets ?? 1));
        wall.push((cost.wallNanoseconds ?? 0) / (cost.packets ?? 1));
      }
    }
  } finally {
    for (const { child } of runs) child.kill('SIGKILL');
  }
  return runs.map(({ variant, cpu, wall }) => {
    const sorted = [...cpu].sort((a, b) => a - b);
    const at = (part: number): number => sorted[Math.floor(sorted.length * part)] ?? Number.NaN;
    return { variant, cpu: median(cpu), wall: median(wall), quartiles: [at(0.25), at(0.75)] };
  });
}

type Child = ChildProcessByStdio<Writable, Readable, null>;
type Ask = () => Promise<Readonly<Record<string, number>> | undefined>;

/** The next line as an object; undefined when the child has ended. */
function lines(child: Child): Ask {
  child.stdin.on('error', () => {}); // It ended: the next answer says so.
  const iterator = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return async () => {
    const { value, done } = await iterator.next();
    return done === true ? undefined : (JSON.parse(value) as Record<string, number>);
  };
}
