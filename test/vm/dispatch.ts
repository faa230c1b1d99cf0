/**
 * Hands test files to virtual machines, each the next one when it has ended the one before, and judges what came of
 * them. A machine that dies fails the file that it was running; another takes its place for the files that are left.
 */
import { type FileRun, judge, type Verdict } from '../run-summary.ts';
import type { Machine, MachineEnd } from './qemu.ts';
import { KILLED, transcriptReader } from './transcript.ts';

export interface Dispatch {
  readonly files: readonly string[];
  /** Machines at a time. */
  readonly machines: number;
  /** Its job is testJob's, of `word`. */
  readonly start: (said: (text: string) => void) => Machine;
  readonly word: string;
  readonly limitSeconds: number;
}

export interface FileReport {
  readonly file: string;
  readonly seconds: number;
  readonly verdict: Verdict;
  readonly output: string;
}

/** Calls `report` as files end. Every file is reported once, whatever happens. */
export async function dispatch(options: Dispatch, report: (one: FileReport) => void): Promise<void> {
  const left = [...options.files];
  const worker = async () => {
    // A machine that did not come as far as its first file would not do so a second time.
    for (let useful = true; useful && left.length > 0; ) useful = await useMachine(options, left, report);
  };
  await Promise.all(Array.from({ length: Math.min(options.machines, left.length) }, worker));
  for (const file of left) report(failure(file, 'was not run: no machine was left to run it', ''));
}

/** One machine from its start to its end. Was anything run? */
async function useMachine(
  { start, word, limitSeconds }: Dispatch,
  left: string[],
  report: (one: FileReport) => void,
): Promise<boolean> {
  const read = transcriptReader(word);
  let [ready, ran] = [false, 0];
  let current: { readonly file: string; begin: number; output: string } | undefined;
  const machine = start((text) => {
    for (const event of read(text)) {
      if (event.type === 'output') {
        if (current) current.output += event.text;
        continue;
      }
      if (event.type === 'begin') {
        if (current) current.begin = event.second;
        continue;
      }
      if (event.type === 'end' && current) {
        const { file, begin, output } = current;
        const seconds = event.second - begin;
        const timedOut = event.status === KILLED && seconds >= limitSeconds;
        const run: FileRun = { output, status: event.status, signal: '', timedOut };
        report({ file, seconds, verdict: judge(run), output });
      }
      ready = true;
      const next = left.shift();
      current = next === undefined ? undefined : { file: next, begin: event.second, output: '' };
      if (current) ran++;
      machine.say(`${next ?? ''}\n`);
    }
  });
  const end = await machine.ended;
  if (current) report(failure(current.file, howItEnded(end), `${current.output}${lastWords(end)}`));
  else if (!ready) {
    const next = left.shift();
    if (next !== undefined) report(failure(next, `was not run: ${howItEnded(end)}`, lastWords(end)));
  }
  return ran > 0 && !end.timedOut;
}

function howItEnded({ timedOut }: MachineEnd): string {
  return timedOut ? 'the virtual machine took too long and was ended' : 'the virtual machine ended under it';
}

function lastWords({ console }: MachineEnd): string {
  return `\nthe last lines of its kernel:\n${console.trim() || '(nothing)'}\n`;
}

function failure(file: string, fault: string, output: string): FileReport {
  return { file, seconds: 0, output, verdict: { passed: 0, failed: 1, skipped: 0, reasons: [], fault } };
}
