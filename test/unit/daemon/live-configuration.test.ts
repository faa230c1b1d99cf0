import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseCommandLine } from '../../../core/config/command-line.ts';
import { checkSettings, type Settings } from '../../../core/config/settings.ts';
import { createLiveConfiguration, type Evaluation } from '../../../core/daemon/live-configuration.ts';
import { createLog } from '../../../core/observe/log.ts';
import { fakeClock } from '../sync/fake-clock.ts';

const test = suite('the live configuration');

const settingsOf = (verbosity: number): Settings =>
  checkSettings(parseCommandLine(['--manifests=m', `-v=${verbosity}`, `--backend-option=number=${verbosity}`]), [
    'iptables',
  ]).settings;

/** Texts are verbosities; what is no number is faulty. */
function evaluate(text: string): Evaluation {
  if (/^\d+$/.test(text)) return { settings: settingsOf(Number(text)), faults: [], hash: `hash-${text}` };
  return { faults: [{ where: 'mode', what: `"${text}" is none` }], hash: `hash-${text}` };
}

function scene(apply: (after: number) => Promise<void> = async () => {}, clock = fakeClock(), waitsFor?: string) {
  const lines: string[] = [];
  const applied: string[] = [];
  const edits: (readonly string[])[] = [];
  const log = createLog({
    verbosity: 0,
    format: 'text',
    component: 'test',
    pid: 1,
    write: (line) => lines.push(line),
    now: () => 0,
  });
  const live = createLiveConfiguration({
    file: 'config.yaml',
    initial: settingsOf(0),
    initialHash: 'hash-0',
    evaluate,
    async apply(before, after) {
      await apply(after.verbosity);
      applied.push(`${before.verbosity} to ${after.verbosity}`);
    },
    log,
    clock,
    waitsFor: () => waitsFor,
    onEdit: ({ refused }) => edits.push(refused),
  });
  return { live, lines, applied, edits };
}

test('a good edit is put in force', async () => {
  const { live, applied, edits } = scene();
  await live.edited('2');
  assert.equal(applied, ['0 to 2']);
  assert.is(live.running().verbosity, 2);
  assert.equal(live.status(), { running: 'hash-2', file: 'hash-2', refused: [] });
  assert.equal(edits, [[]]);
});

test('a faulty edit keeps the configuration before it, says why, and is over when the file is mended', async () => {
  const { live, applied, lines, edits } = scene();
  await live.edited('ipvs6');
  assert.equal(live.status(), { running: 'hash-0', file: 'hash-ipvs6', refused: ['mode: "ipvs6" is none'] });
  assert.match(lines.join(''), /E.* refused .*file="config.yaml" reason="mode: \\"ipvs6\\" is none"/);
  await live.edited('0');
  assert.equal(live.status(), { running: 'hash-0', file: 'hash-0', refused: [] });
  assert.equal(applied, []);
  assert.equal(edits, [['mode: "ipvs6" is none'], []]);
});

test('an edit that cannot be applied is refused, and not tried again until the text changes', async () => {
  let tries = 0;
  const { live, applied } = scene(async (after) => {
    if (after !== 3) return;
    tries++;
    throw new Error('this kernel has no IPVS');
  });
  await live.edited('3');
  await live.edited('3');
  assert.is(tries, 1);
  assert.equal(live.status(), { running: 'hash-0', file: 'hash-3', refused: ['this kernel has no IPVS'] });
  await live.edited('4');
  assert.equal(applied, ['0 to 4']);
});

test('the same text again changes nothing', async () => {
  const { live, applied, edits } = scene();
  await live.edited('0');
  assert.equal([applied, edits], [[], []]);
});

test('of edits that come while one is applied only the last is', async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const { live, applied } = scene((after) => (after === 1 ? promise : Promise.resolve()));
  const all = [live.edited('1')];
  await new Promise((done) => setImmediate(done));
  all.push(live.edited('2'), live.edited('3'));
  resolve();
  await Promise.all(all);
  assert.equal(applied, ['0 to 1', '1 to 3']);
});

test('a file that cannot be read is told of like a refusal, until it can be read again', async () => {
  const { live, edits } = scene();
  live.unreadable('config.yaml: no such file');
  assert.equal(live.status(), { running: 'hash-0', file: 'hash-0', refused: ['config.yaml: no such file'] });
  live.unreadable(undefined);
  assert.equal(live.status().refused, []);
  assert.equal(edits, [['config.yaml: no such file'], []]);
});

test('what turns out not to work gives way to what was before, and stays refused', async () => {
  const { live, applied } = scene();
  await live.edited('1');
  live.proven();
  await live.edited('2');
  await live.withdraw('backend x could not program IPv4');
  assert.equal(applied, ['0 to 1', '1 to 2', '2 to 1']);
  const status = { running: 'hash-1', file: 'hash-2', refused: ['backend x could not program IPv4'] };
  assert.equal(live.status(), status);
  await live.edited('2');
  assert.equal(live.status(), status);
});

test('an edit that waits is told of after ten seconds, with what for', async () => {
  const clock = fakeClock();
  const creating = Promise.withResolvers<void>();
  const { live, lines } = scene((after) => (after === 1 ? creating.promise : Promise.resolve()), clock, 'a kernel');
  const all = [live.edited('1')];
  await clock.advance(9_999);
  assert.equal(lines, []);
  await clock.advance(1);
  assert.match(lines.join(''), /not in force yet file="config.yaml" seconds=10 waitsFor="a kernel"/);
  await clock.advance(10_000);
  assert.match(lines.at(-1) ?? '', /seconds=20 /);
  creating.resolve();
  await Promise.all(all);
  const count = lines.length;
  await clock.advance(100_000);
  assert.is(lines.length, count);
});

test('of an edit that cannot be applied the log says when it is tried again', async () => {
  const { live, lines } = scene(async () => {
    throw new Error('plugin.mjs: no such file');
  });
  await live.edited('3');
  assert.match(lines.join(''), /reason="plugin.mjs: no such file" remedy="once the cause is gone, change the text/);
  await live.edited('faulty');
  assert.not.match(lines.at(-1) ?? '', /once the cause/);
});

test.run();
