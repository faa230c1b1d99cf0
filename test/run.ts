/**
 * `npm test [-- FILTER …]`: runs every *.test.ts below test/, or those whose path contains a filter, each as its own
 * process. Pure tests go two at a time; what talks to a kernel goes alone. The last line is always
 * "N passed, N failed, N skipped"; the exit status is 1 if anything failed.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensurePackages } from '../build/packages.ts';
import { type FileRun, judge, type Verdict } from './run-summary.ts';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const LIMIT_MS = 300_000;
/** Cheapest first. What is not listed runs last, alone. */
const FOLDERS = ['unit', 'golden', 'faults', 'netns', 'packed', 'release', 'cluster', 'soak'];
/** Tests of what `npm run build` makes. */
const BUILT = ['packed', 'release'];
const SIDE_BY_SIDE = ['unit', 'golden', 'faults'];
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
  const files = testFiles(filters);
  getPackages();
  const verdicts: Verdict[] = [];
  const isBuilt = files.some((file) => BUILT.includes(folder(file))) ? build() : false;
  const runAll = async (list: readonly string[], atATime: number) => {
    const left = [...list];
    const worker = async () => {
      for (let file = left.shift(); file !== undefined; file = left.shift()) verdicts.push(await runFile(file));
    };
    await Promise.all(Array.from({ length: atATime }, worker));
  };
  await runAll(
    files.filter((file) => SIDE_BY_SIDE.includes(folder(file))),
    2,
  );
  await runAll(
    files.filter((file) => !SIDE_BY_SIDE.includes(folder(file)) && (isBuilt || !BUILT.includes(folder(file)))),
    1,
  );
  if (!isBuilt && files.some((file) => BUILT.includes(folder(file)))) {
    verdicts.push({ passed: 0, failed: 1, skipped: 0, reasons: [], fault: '' });
  }
  if (files.length === 0) console.log(`no test file's path contains ${filters.join(' or ') || '.test.ts'}`);
  const sum = (count: 'passed' | 'failed' | 'skipped') =>
    verdicts.reduce((total, verdict) => total + verdict[count], 0);
  const failed = sum('failed');
  console.log(`${sum('passed')} passed, ${failed} failed, ${sum('skipped')} skipped`);
  return failed > 0 || files.length === 0 ? 1 : 0;
}

/** Paths from the repository's root, in the order in which they run. */
function testFiles(filters: readonly string[]): readonly string[] {
  const rank = (file: string) => (FOLDERS.indexOf(folder(file)) + FOLDERS.length + 1) % (FOLDERS.length + 1);
  return (
    readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.test.ts'))
      .map((file) => join('test', file))
      // Those of the virtual machine run in it: npm run test:vm.
      .filter((file) => folder(file) !== 'vm')
      .filter((file) => filters.length === 0 || filters.some((filter) => file.includes(filter)))
      .sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1))
  );
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
