/**
 * `npm run test:vm [-- FILTER …]`: runs every test/vm/*.test.ts, or those whose path contains a filter, in a virtual
 * machine whose kernel has IPVS, each as its own process. A filter that is the path of a test file elsewhere runs that
 * one in there. The last line is always "N passed, N failed, N skipped"; the exit status is 1 if anything failed.
 *
 *   npm run test:vm -- --shell                     a shell in it (Ctrl-D ends it)
 *   npm run test:vm -- --command "ipvsadm -Ln"     one command line, with its output and exit status
 *   npm run test:vm -- --machines 1 [FILTER …]     one machine instead of two at a time
 *   npm run test:vm -- --prepare                   only the packages and the image
 */
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensurePackages } from '../../build/packages.ts';
import type { Verdict } from '../run-summary.ts';
import { dispatch, type FileReport } from './dispatch.ts';
import { getImage, type Image } from './image.ts';
import { JOB_ENVIRONMENT, SHELL_JOB } from './job.ts';
import { bootable, startMachine } from './qemu.ts';
import { sourceEntries } from './sources.ts';
import { commandJob, testJob, transcriptReader } from './transcript.ts';

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
/** Unless --machines says otherwise. Each keeps somewhat more than one processor busy. */
const MACHINES = 2;
/** What takes longest begins first, so that the machines end at about the same time. */
const LONGEST = ['ipvs-traffic', 'ipvs-changes', 'ipvs-kit', 'ipvs-matrix'];
/** For one file, in the machine's seconds. */
const FILE_LIMIT_SECONDS = 450;
const LIMIT_MS = 30 * 60_000;
const SHELL_LIMIT_MS = 24 * 3600_000;

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const [option, ...rest] = args;
  const image = theImage();
  if (typeof image === 'string') {
    console.log(`# skipped: all of test/vm: ${image.replace(/\s+/g, ' ')}`);
    console.log('0 passed, 0 failed, 1 skipped');
    return option?.startsWith('--') ? 1 : 0;
  }
  if (option === '--prepare') return 0;
  if (option === '--shell') return shell(image);
  if (option === '--command') return command(image, rest.join(' '));
  if (option !== '--machines') return tests(image, args, MACHINES);
  const [count = '', ...filters] = rest;
  return tests(image, filters, Number(count));
}

/** Or why it cannot be had here. */
function theImage(): Image | string {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'its image is made for Linux on x64 only';
  try {
    ensurePackages(['qemu-system-x86', 'util-linux']);
    return getImage();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== 'KP_PACKAGES' && code !== 'KP_VM_PACKAGES') throw error;
    return message;
  }
}

async function shell(image: Image): Promise<number> {
  const machine = bootable(image, await sourceEntries(SHELL_JOB));
  await startMachine(machine, { limitMs: SHELL_LIMIT_MS, said: () => undefined, interactive: true }).ended;
  return 0;
}

async function command(image: Image, line: string): Promise<number> {
  const word = newWord();
  const read = transcriptReader(word);
  let status: number | undefined;
  const said = (text: string) => {
    for (const event of read(text)) {
      if (event.type === 'output') process.stdout.write(event.text);
      else if (event.type === 'end') status = event.status;
    }
  };
  const machine = bootable(image, await sourceEntries(JOB_ENVIRONMENT + commandJob(word, line)));
  const end = await startMachine(machine, { limitMs: LIMIT_MS, said }).ended;
  if (status === undefined) {
    console.log(`the virtual machine ${end.timedOut ? 'took too long' : 'ended before the command did'}`);
    console.log(end.console);
  }
  return status ?? 1;
}

async function tests(image: Image, filters: readonly string[], machines: number): Promise<number> {
  const files = testFiles(filters);
  if (files.length === 0) console.log(`no test file's path contains ${filters.join(' or ')}`);
  const word = newWord();
  const verdicts: Verdict[] = [];
  if (files.length > 0) {
    const machine = bootable(image, await sourceEntries(JOB_ENVIRONMENT + testJob(word, FILE_LIMIT_SECONDS)));
    const deadline = performance.now() + LIMIT_MS;
    const start = (said: (text: string) => void) =>
      startMachine(machine, { limitMs: Math.max(deadline - performance.now(), 0), said });
    await dispatch({ files, machines, start, word, limitSeconds: FILE_LIMIT_SECONDS }, (one) => {
      verdicts.push(one.verdict);
      print(one);
    });
  }
  const sum = (count: 'passed' | 'failed' | 'skipped') =>
    verdicts.reduce((total, verdict) => total + verdict[count], 0);
  console.log(`${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped`);
  return sum('failed') > 0 || files.length === 0 ? 1 : 0;
}

function testFiles(filters: readonly string[]): readonly string[] {
  const own = readdirSync(join(ROOT, 'test', 'vm'))
    .filter((file) => file.endsWith('.test.ts'))
    .sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1))
    .map((file) => `test/vm/${file}`);
  const elsewhere = filters.filter((filter) => filter.endsWith('.test.ts') && existsSync(join(ROOT, filter)));
  const fitting = own.filter((file) => filters.length === 0 || filters.some((filter) => file.includes(filter)));
  return [...new Set([...fitting, ...elsewhere])];
}

function rank(file: string): number {
  const place = LONGEST.indexOf(file.replace('.test.ts', ''));
  return place < 0 ? LONGEST.length : place;
}

function print({ file, seconds, verdict, output }: FileReport): void {
  const counts = (['passed', 'failed', 'skipped'] as const)
    .filter((count) => count === 'passed' || verdict[count] > 0)
    .map((count) => `${verdict[count]} ${count}`);
  console.log(`${verdict.failed > 0 ? 'FAIL' : 'ok  '} ${file}  ${counts.join(', ')}  ${seconds.toFixed(1)} s`);
  for (const reason of verdict.reasons) console.log(`     ${reason}`);
  if (verdict.failed > 0) {
    console.log(output.trimEnd());
    if (verdict.fault !== '') console.log(`     ${file} ${verdict.fault}`);
  }
}

function newWord(): string {
  return randomBytes(8).toString('hex');
}
