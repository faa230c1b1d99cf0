import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { commandJob, type Event, KILLED, testJob, transcriptReader } from '../../vm/transcript.ts';

const test = suite('transcript of a job');
const WORD = '0123456789abcdef';
const readAll = (text: string): readonly Event[] => transcriptReader(WORD)(text);
const outputOf = (events: readonly Event[]): string =>
  events.map((event) => (event.type === 'output' ? event.text : '')).join('');
const withoutSeconds = (events: readonly Event[]) =>
  events.map((event) => (event.type === 'output' ? event : { ...event, second: 0 }));

/** The jobs are scripts for any sh with timeout(1); here they run on the host, with a program of ours called node. */
function runJob(job: string, input: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'kube-proxy-job-'));
  try {
    const node = '#!/bin/sh\ncase $1 in good) echo fine;; bad) printf half; exit 3;; slow) exec sleep 60;; esac\n';
    writeFileSync(join(folder, 'node'), node, { mode: 0o755 });
    const env = { ...process.env, PATH: `${folder}:${process.env.PATH}` };
    return spawnSync('sh', ['-c', job], { input, env, encoding: 'utf8' }).stdout;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test('says what ran, what it printed and how it ended', () => {
  const events = readAll(runJob(testJob(WORD, 30), 'good\nbad\n\nnever\n'));
  assert.equal(withoutSeconds(events), [
    { type: 'ready', second: 0 },
    { type: 'begin', file: 'good', second: 0 },
    { type: 'output', text: 'fine\n' },
    { type: 'end', status: 0, second: 0 },
    { type: 'begin', file: 'bad', second: 0 },
    { type: 'output', text: 'half\n' },
    { type: 'end', status: 3, second: 0 },
  ]);
  assert.ok(events.every((event) => event.type === 'output' || event.second > 0));
});

test('tells a file that took too long', () => {
  const events = readAll(runJob(testJob(WORD, 1), 'slow\n'));
  const end = events.at(-1);
  assert.is(end?.type === 'end' && end.status, KILLED);
});

test('tells the status of a command line, whatever it exits with and prints', () => {
  const events = readAll(runJob(commandJob(WORD, 'echo "a  b"; echo \'c\' >&2\nprintf "\\n\\nd\\n"\nexit 7'), ''));
  assert.is(outputOf(events), 'a  b\n\n\nd\n');
  const end = events.at(-1);
  assert.is(end?.type === 'end' && end.status, 7);
});

test('is the same in whatever pieces it comes', () => {
  const text = `\n${WORD} ready 1\n\n${WORD} begin test/vm/x.test.ts 2.5\none\n\n\ntwo\n\n${WORD} end 0 3\n`;
  const whole = readAll(text);
  assert.is(outputOf(whole), 'one\n\n\ntwo\n');
  for (let size = 1; size < text.length; size++) {
    const read = transcriptReader(WORD);
    const pieces: Event[] = [];
    for (let at = 0; at < text.length; at += size) pieces.push(...read(text.slice(at, at + size)));
    assert.equal(pieces, whole, `pieces of ${size}`);
  }
});

test('takes for its own only lines that begin with its word', () => {
  const text = `${WORD}x end 0 1\n ${WORD} end 0 1\nend 0 1\n${WORD} unheard 0 1\n`;
  assert.equal(
    readAll(text).map(({ type }) => type),
    ['output', 'output', 'output', 'output'],
  );
  assert.is(outputOf(readAll(text)), text);
});

test.run();
