import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { applyOomScore } from '../../../core/node/oom-score.ts';
import { fakeLog } from '../sync/fake-log.ts';

const test = suite('out-of-memory score');

function hostWith(score: string, refusal?: string) {
  const log = fakeLog();
  const written: [string, string][] = [];
  const host = {
    log,
    readFile: () => score,
    writeFile(path: string, text: string) {
      if (refusal !== undefined) throw Object.assign(new Error(`${refusal}: open`), { code: refusal });
      written.push([path, text]);
    },
  };
  return { host, log, written };
}

test('the score is written if it is another', () => {
  const { host, written, log } = hostWith('0\n');
  applyOomScore(-999, host);
  assert.equal(written, [['/proc/self/oom_score_adj', '-999']]);
  assert.equal(log.lines, []);
});

test('a score that is right already is not written, so that no privilege is needed', () => {
  const { host, log } = hostWith('-999\n', 'EACCES');
  applyOomScore(-999, host);
  assert.equal(log.lines, []);
});

test('a kernel that refuses is told with the remedy, and nothing is thrown', () => {
  const { host, log } = hostWith('0\n', 'EACCES');
  applyOomScore(-999, host);
  assert.is(log.lines.length, 1);
  assert.match(JSON.stringify(log.lines[0]), /EACCES.*CAP_SYS_RESOURCE/);
});

test('a system without /proc is told, too', () => {
  const { host, log } = hostWith('');
  const gone = () => {
    throw new Error('ENOENT: no such file');
  };
  applyOomScore(-999, { ...host, readFile: gone });
  assert.is(log.lines.length, 1);
});

test.run();
