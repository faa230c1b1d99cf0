/**
 * `npm test [-- FILTER …]`: runs every *.test.ts below test/, or those whose path contains a filter, each as its own
 * process, two at a time at most and not counting those of the virtual machine (test/vm/run.ts), which begin at once
 * because they take longest:
 *
 *   pure, two at a time ──▶ in private namespaces, one by one ─────────────────┐
 *                                     └─ once the machine ends, beside them ──▶ all others, one by one
 *
 * The last line is always "N passed, N failed, N skipped"; the exit status is 1 if anything failed.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { ensurePackages } from '../build/packages.ts';
import { type FileRun, judge, type Verdict } from './run-summary.ts';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const LIMIT_MS = 300_000;
/** Cheapest first. What is not listed runs last, alone. */
const FOLDERS = ['unit', 'golden', 'faults', 'netns', 'packed', 'release', 'cluster', 'soak'];
/** Tests of what `npm run build` makes. */
const BUILT = ['packed', 'release'];
const SIDE_BY_SIDE = ['unit', 'golden'];
/** Each of these files runs in namespaces of its own (processes, network, mounts). */
const PRIVATE = 'netns';
const PACKAGES = ['util-linux', 'iptables', 'iproute2', 'nftables', 'ipset', 'openssl'];

const running = new Set<ChildProcess>();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    for (const child of running) child.kill('SIGTERM');
    process.exit(1);
  });
}
process.exitCode = await main(process.argv.slice(2));

async function main(filters: readonly string[]): Promise<number> {
  const all = testFiles(filters);
  const files = all.filter((file) => folder(file) !== 'vm');
  getPackages();
  // Now, because two cannot install packages at a time.
  if (all.some((file) => folder(file) === 'vm')) prepareMachine();
  const verdicts: Verdict[] = [];
  const isBuilt = files.some((file) => BUILT.includes(folder(file))) ? build() : false;
  const runAll = async (list: readonly string[], atATime: number) => {
    const left = [...list];
    const worker = async () => {
      for (let file = left.shift(); file !== undefined; file = left.shift()) verdicts.push(await runFile(file));
    };
    await Promise.all(Array.from({ length: atATime }, worker));
  };
  const inMachines = all.filter((file) => folder(file) === 'vm');
  const machines = inMachines.length > 0 ? runMachines(inMachines, files.length > 0 ? 1 : 2) : undefined;
  await runAll(
    files.filter((file) => SIDE_BY_SIDE.includes(folder(file))),
    2,
  );
  const oneByOne = files.filter(
    (file) => !SIDE_BY_SIDE.includes(folder(file)) && (isBuilt || !BUILT.includes(folder(file))),
  );
  const inPrivate = runAll(
    oneByOne.filter((file) => folder(file) === PRIVATE),
    1,
  );
  await Promise.race([inPrivate, machines ?? inPrivate]);
  await runAll(
    oneByOne.filter((file) => folder(file) !== PRIVATE),
    1,
  );
  await inPrivate;
  if (machines !== undefined) verdicts.push(await machines);
  if (!isBuilt && files.some((file) => BUILT.includes(folder(file)))) {
    verdicts.push({ passed: 0, failed: 1, skipped: 0, reasons: [], fault: '' });
  }
  if (all.length === 0) console.log(`no test file's path contains ${filters.join(' or ') || '.test.ts'}`);
  const sum = (count: 'passed' | 'failed' | 'skipped') =>
    verdicts.reduce((total, verdict) => total + verdict[count], 0);
  const failed = sum('failed');
  console.log(`${sum('passed')} passed, ${failed} failed, ${sum('skipped')} skipped`);
  return failed > 0 || all.length === 0 ? 1 : 0;
}

/** Paths from the repository's root, in the order in which they run. */
function testFiles(filters: readonly string[]): readonly string[] {
  const rank = (file: string) => (FOLDERS.indexOf(folder(file)) + FOLDERS.length + 1) % (FOLDERS.length + 1);
  return readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts'))
    .map((file) => join('test', file))
    .filter((file) => filters.length === 0 || filters.some((filter) => file.includes(filter)))
    .sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
}

function folder(file: string): string {
  return file.split('/')[1] ?? '';
}

/** Best effort: a test that lacks its programs skips itself and says so. */
function getPackages(): void {
  if (process.getuid?.() !== 0) return;
  try {
    ensurePackages(PACKAGES);
  } catch (error) {
    console.log((error as Error).message);
  }
}

/** What fails here is told, with its reason, when the machine is to run. */
function prepareMachine(): void {
  spawnSync(process.execPath, ['test/vm/run.ts', '--prepare'], { cwd: ROOT });
}

/** Both executables. */
function build(): boolean {
  const begin = performance.now();
  const { status, stdout, stderr } = spawnSync(process.execPath, ['build/build.ts', 'all'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  const seconds = ((performance.now() - begin) / 1000).toFixed(1);
  if (status === 0) {
    console.log(`ok   npm run build -- all  ${seconds} s`);
    return true;
  }
  console.log(`FAIL npm run build -- all  ${seconds} s; what needs the executables was not run\n${stdout}${stderr}`);
  return false;
}

/** Prints what it prints, but for its last line. `count`: machines at a time. */
async function runMachines(files: readonly string[], count: number): Promise<Verdict> {
  const child = spawn(process.execPath, ['test/vm/run.ts', '--machines', String(count), ...files], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  running.add(child);
  const ended = once(child, 'exit');
  let last = '';
  for await (const line of createInterface({ input: child.stdout })) {
    if (last !== '') console.log(last);
    last = line;
  }
  await ended;
  running.delete(child);
  const [, passed, failed, skipped] = /^(\d+) passed, (\d+) failed, (\d+) skipped$/.exec(last) ?? [];
  if (passed !== undefined) {
    return { passed: Number(passed), failed: Number(failed), skipped: Number(skipped), reasons: [], fault: '' };
  }
  console.log(`${last}\nFAIL test/vm/run.ts  ended without a summary`);
  return { passed: 0, failed: 1, skipped: 0, reasons: [], fault: '' };
}

async function runFile(file: string): Promise<Verdict> {
  const begin = performance.now();
  const run = await execute(file);
  const verdict = judge(run);
  const seconds = ((performance.now() - begin) / 1000).toFixed(1);
  const counts = (['passed', 'failed', 'skipped'] as const)
    .filter((count) => count === 'passed' || verdict[count] > 0)
    .map((count) => `${verdict[count]} ${count}`);
  console.log(`${verdict.failed > 0 ? 'FAIL' : 'ok  '} ${file}  ${counts.join(', ')}  ${seconds} s`);
  for (const reason of verdict.reasons) console.log(`     ${reason}`);
  if (verdict.failed > 0) {
    console.log(run.output.trimEnd());
    if (verdict.fault !== '') console.log(`     ${file} ${verdict.fault}`);
  }
  return verdict;
}

async function execute(file: string): Promise<FileRun> {
  const child = spawn(process.execPath, [file], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  let output = '';
  let timedOut = false;
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
    });
  }
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill('SIGKILL');
  }, LIMIT_MS);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (status, signal) => {
      clearTimeout(timer);
      running.delete(child);
      const finish = () => resolve({ output, status: status ?? undefined, signal: signal ?? '', timedOut });
      // Its output is complete when its pipes close, unless a process that it left behind keeps them open.
      const late = setTimeout(() => {
        child.stdout.destroy();
        child.stderr.destroy();
      }, 1000);
      child.on('close', () => {
        clearTimeout(late);
        finish();
      });
    });
  });
}
