/** Against machines that are functions: each is told what to run by the host and answers as a job would. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { dispatch, type FileReport } from '../../vm/dispatch.ts';
import type { Machine, MachineEnd } from '../../vm/qemu.ts';
import { KILLED } from '../../vm/transcript.ts';

const test = suite('dispatch of files to virtual machines');
const WORD = 'fedcba9876543210';
const OFF: MachineEnd = { timedOut: false, console: '' };
const LIMIT_SECONDS = 300;

/** What a machine does with a file: its output, status and seconds; or it dies. */
type Behaviour = (file: string) => Done | MachineEnd;

interface Done {
  readonly output?: string;
  readonly status?: number;
  readonly seconds?: number;
}

interface Played {
  readonly reports: readonly FileReport[];
  /** What each machine was told to run. */
  readonly told: readonly (readonly string[])[];
}

const uvu = (passed: number, total = passed) => `\n  Total:     ${total}\n  Passed:    ${passed}\n  Skipped:   0\n`;

async function play(files: readonly string[], machines: number, behave: Behaviour, boots = true): Promise<Played> {
  const told: string[][] = [];
  const reports: FileReport[] = [];
  const start = (said: (text: string) => void): Machine => {
    const index = told.push([]) - 1;
    const { promise: ended, resolve } = Promise.withResolvers<MachineEnd>();
    const soon = (act: () => void) => setImmediate(act);
    soon(() => (boots ? said(`\n${WORD} ready 2\n`) : resolve({ timedOut: false, console: 'Kernel panic' })));
    const say = (text: string) => {
      const file = text.trimEnd();
      if (file === '') return resolve(OFF);
      told[index]!.push(file);
      const done = behave(file);
      soon(() => {
        said(`\n${WORD} begin ${file} 10\n`);
        if ('console' in done) return resolve(done);
        said(done.output ?? uvu(1));
        said(`\n${WORD} end ${done.status ?? 0} ${10 + (done.seconds ?? 1)}\n`);
      });
    };
    return { say, ended };
  };
  await dispatch({ files, machines, start, word: WORD, limitSeconds: LIMIT_SECONDS }, (one) => reports.push(one));
  return { reports, told };
}

test('gives each machine the next file when it has ended the one before, and judges each', async () => {
  const { reports, told } = await play(
    ['a', 'b', 'c', 'd', 'e'],
    2,
    (file): Done => (file === 'c' ? { output: uvu(2, 3), status: 1, seconds: 5 } : {}),
  );
  assert.is(told.length, 2);
  assert.ok(told.every((files) => files.length >= 2));
  assert.equal(reports.map(({ file, verdict, seconds }) => [file, verdict.passed, verdict.failed, seconds]).sort(), [
    ['a', 1, 0, 1],
    ['b', 1, 0, 1],
    ['c', 2, 1, 5],
    ['d', 1, 0, 1],
    ['e', 1, 0, 1],
  ]);
});

test('starts no more machines than there are files', async () => {
  assert.is((await play(['a'], 2, () => ({}))).told.length, 1);
});

test('fails the file under which a machine died, with the last words of its kernel, and goes on in another', async () => {
  const { reports, told } = await play(['a', 'b', 'c'], 1, (file): Done | MachineEnd =>
    file === 'b' ? { timedOut: false, console: 'Kernel panic - not syncing' } : {},
  );
  assert.equal(told, [['a', 'b'], ['c']]);
  const [, died, after] = reports;
  assert.is(died?.verdict.failed, 1);
  assert.match(died?.verdict.fault ?? '', 'the virtual machine ended under it');
  assert.match(died?.output ?? '', 'Kernel panic - not syncing');
  assert.is(after?.verdict.passed, 1);
});

test('starts no other machine when the time is over, and fails every file that was not run', async () => {
  const { reports, told } = await play(['a', 'b', 'c'], 1, () => ({ timedOut: true, console: '' }));
  assert.equal(told, [['a']]);
  assert.equal(
    reports.map(({ file, verdict }) => [file, verdict.failed]),
    [
      ['a', 1],
      ['b', 1],
      ['c', 1],
    ],
  );
  assert.match(reports[0]?.verdict.fault ?? '', 'took too long');
});

test('gives up when a machine does not come up, and fails every file', async () => {
  const { reports, told } = await play(['a', 'b', 'c'], 2, () => ({}), false);
  assert.is(told.length, 2);
  assert.equal(reports.map(({ file, verdict }) => `${file}${verdict.failed}`).sort(), ['a1', 'b1', 'c1']);
  assert.ok(reports.some(({ output }) => output.includes('Kernel panic')));
});

test('calls a file killed that had its time, and one that was killed earlier a crash', async () => {
  const killed = { output: '', status: KILLED };
  const { reports } = await play(['late', 'early'], 1, (file) => ({ ...killed, seconds: file === 'late' ? 301 : 9 }));
  assert.is(reports[0]?.verdict.fault, 'took too long and was killed');
  assert.match(reports[1]?.verdict.fault ?? '', 'crashed with status 137');
});

test.run();
