/**
 * The parts of the ipvs benchmark, each in a process and a network namespace of the virtual machine:
 *
 *   load, adopt   our backend (backend-parts.ts)       node ipvs-parts.ts load:1000:10:200
 *   restored      the same virtual servers, by ipvsadm -R
 */
import { spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Figures, median } from './cost.ts';

const PROGRAM = fileURLToPath(import.meta.url);
const LARGEST_OUTPUT = 64 * 2 ** 20;
const IPVSADM_CHANGES = 21;
/** Lines of a profile. */
const HOTTEST = 25;

let namespaces = 0;

export function inNewNamespace<T>(work: (namespace: string) => T): T {
  const name = `bench-${process.pid}-${++namespaces}`;
  must('ip', ['netns', 'add', name]);
  try {
    must('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
    return work(name);
  } finally {
    spawnSync('ip', ['netns', 'delete', name]);
  }
}

function must(command: string, args: readonly string[], input = ''): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8',
    input,
    maxBuffer: LARGEST_OUTPUT,
  });
  if (status !== 0) throw new Error(`${[command, ...args].join(' ')}: ${error?.message ?? stderr}`);
  return stdout;
}

/** `saving`: what stands before the part runs, as ipvsadm -S lists it. */
export function runPart(
  namespace: string,
  part: string,
  { saving = false, nodeOptions = [] }: { readonly saving?: boolean; readonly nodeOptions?: readonly string[] } = {},
): { readonly figures: Figures; readonly saved: string } {
  const inside = ['netns', 'exec', namespace];
  const saved = saving ? must('ip', [...inside, 'ipvsadm', '-S', '-n']) : '';
  const stdout = must('ip', [...inside, process.execPath, ...nodeOptions, PROGRAM, part]);
  return { figures: JSON.parse(stdout) as Figures, saved };
}

export function restored(
  namespace: string,
  saved: string,
): { readonly ipvsadm_restore_ms: number; readonly ipvsadm_change_ms: number; readonly ipvsadm_lines: number } {
  const ipvsadm = (args: readonly string[], input?: string): number => {
    const began = performance.now();
    must('ip', ['netns', 'exec', namespace, 'ipvsadm', ...args], input);
    return performance.now() - began;
  };
  const restore = ipvsadm(['-R'], saved);
  const lines = saved.trimEnd().split('\n');
  const [server = '', , old = ''] = /^-a -t (\S+) (-r) (\S+)/.exec(lines.at(-1) ?? '')?.slice(1) ?? [];
  const changes = Array.from({ length: IPVSADM_CHANGES }, (_, i) => {
    const weightless = ipvsadm(['-e', '-t', server, '-r', old, '-m', '-w', '0']);
    return weightless + ipvsadm(['-a', '-t', server, '-r', `10.127.0.${i + 1}:8080`, '-m', '-w', '1']);
  });
  return { ipvsadm_restore_ms: restore, ipvsadm_change_ms: median(changes), ipvsadm_lines: lines.length };
}

interface Profile {
  readonly nodes: readonly {
    readonly id: number;
    readonly children?: readonly number[];
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** Where one run spends its time, by function, the hottest first. */
export function profiled(part: string, services: number, endpoints: number, changes: number): string {
  const folder = mkdtempSync(join(tmpdir(), 'profile-'));
  try {
    inNewNamespace((namespace) => {
      const nodeOptions = ['--cpu-prof', `--cpu-prof-dir=${folder}`];
      const load = runPart(
        namespace,
        `load:${services}:${endpoints}:${changes}`,
        part === 'load' ? { nodeOptions } : {},
      );
      if (part === 'adopt') runPart(namespace, `adopt:${services}:${endpoints}`, { nodeOptions });
      return load;
    });
    const [file = ''] = globSync('*.cpuprofile', { cwd: folder });
    return hottest(JSON.parse(readFileSync(join(folder, file), 'utf8')) as Profile);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What is not written in JavaScript is told with its caller. */
function hottest({ nodes, samples, timeDeltas }: Profile): string {
  const callers = new Map(nodes.flatMap((node) => (node.children ?? []).map((id) => [id, node] as const)));
  const nameOf = ({ id, callFrame }: Profile['nodes'][number]): string => {
    const { functionName, url, lineNumber } = callFrame;
    if (url !== '') return `${functionName || '(anonymous)'} ${url.split('/').slice(-2).join('/')}:${lineNumber + 1}`;
    const caller = callers.get(id);
    const from = caller === undefined || caller.callFrame.functionName === '(root)' ? '' : ` of ${nameOf(caller)}`;
    return `${functionName}${from}`;
  };
  const names = new Map(nodes.map((node) => [node.id, nameOf(node)]));
  const spent = new Map<string, number>();
  for (const [i, id] of samples.entries()) {
    const name = names.get(id) ?? '?';
    spent.set(name, (spent.get(name) ?? 0) + (timeDeltas[i] ?? 0) / 1000);
  }
  const rows = [...spent].sort(([, a], [, b]) => b - a).slice(0, HOTTEST);
  return rows.map(([name, ms]) => `${ms.toFixed(0).padStart(8)} ms  ${name}`).join('\n');
}

if (process.argv[1] === PROGRAM) {
  const [name, services, endpoints, changes] = (process.argv[2] ?? '').split(':');
  const { adopt, loadAndChange } = await import('./backend-parts.ts');
  const { default: plugin } = await import('../../plugins/ipvs/index.ts');
  const load = { services: Number(services), endpoints: Number(endpoints) };
  // The sync loop's timers do not keep a process alive by themselves.
  const alive = setInterval(() => {}, 1 << 30);
  const figures = name === 'adopt' ? await adopt(plugin, load) : await loadAndChange(plugin, load, Number(changes));
  clearInterval(alive);
  console.log(JSON.stringify(figures));
}
