/** Watching the configuration file on a real disk, by a clock that only moves when told to. */
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ConfigWatch, watchConfig } from '../../../core/config/watch-config.ts';
import { type FakeClock, fakeClock } from '../sync/fake-clock.ts';
import { type FakeLog, fakeLog } from '../sync/fake-log.ts';

interface Stage {
  readonly folder: string;
  readonly clock: FakeClock;
  /** How often a quiet was begun: an event of the watched file came, or a look found another one. */
  readonly noticed: () => number;
  readonly log: FakeLog;
  /** What onChange was given. */
  readonly texts: string[];
  watch(path: string, text: string, onChange?: (text: string) => void): ConfigWatch;
  /** Time for the quiet after a change; then until `done`. */
  until(done: () => boolean): Promise<void>;
}

/** The event of a change comes from the kernel, when it likes; a read takes what the disk takes. */
async function eventually(done: () => boolean): Promise<boolean> {
  const end = performance.now() + 10_000;
  while (!done()) {
    if (performance.now() > end) return false;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return true;
}

async function onStage(run: (stage: Stage) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'watch-config-'));
  const time = fakeClock();
  let quiets = 0;
  const clock: FakeClock = {
    ...time,
    after(milliseconds, callback) {
      if (milliseconds <= 200) quiets++;
      return time.after(milliseconds, callback);
    },
  };
  const log = fakeLog();
  const texts: string[] = [];
  const watches: ConfigWatch[] = [];
  try {
    await run({
      folder,
      clock,
      noticed: () => quiets,
      log,
      texts,
      watch(path, text, onChange = (now) => texts.push(now)) {
        const watch = watchConfig({ path, text, clock, log, onChange });
        watches.push(watch);
        return watch;
      },
      async until(done) {
        // The poll is one timer; a second one is the quiet after an event.
        const happened = await eventually(() => {
          if (clock.pending() > 1) void clock.advance(200);
          return done();
        });
        assert.ok(happened, `${JSON.stringify(texts)} ${JSON.stringify(log.lines)}`);
      },
    });
  } finally {
    for (const watch of watches) await watch.stop();
    await rm(folder, { recursive: true });
  }
}

/** A mounted ConfigMap: config.conf → ..data/config.conf, ..data → a folder of its own for each state. */
async function publish(folder: string, state: string, text: string): Promise<void> {
  await mkdir(join(folder, `..${state}`));
  await writeFile(join(folder, `..${state}`, 'config.conf'), text);
  await symlink(`..${state}`, join(folder, '..data_tmp'));
  await rename(join(folder, '..data_tmp'), join(folder, '..data'));
}

const test = suite('watching the configuration file');

test('what changed before the watch began is noticed, and what did not is not', () =>
  onStage(async ({ folder, clock, texts, watch, until }) => {
    const path = join(folder, 'config.conf');
    await writeFile(path, 'now');
    watch(path, 'before');
    await until(() => texts.length > 0);
    assert.equal(texts, ['now']);
    const same = watch(path, 'now', () => texts.push('again'));
    await clock.advance(200);
    await same.stop();
    assert.equal(texts, ['now']);
  }));

test('an edit in place, and one by another file put in its place', () =>
  onStage(async ({ folder, texts, watch, until }) => {
    const path = join(folder, 'config.conf');
    await writeFile(path, 'one');
    watch(path, '');
    await until(() => texts.length === 1);
    await writeFile(path, 'two');
    await until(() => texts.length === 2);
    await writeFile(join(folder, 'new'), 'three');
    await rename(join(folder, 'new'), path);
    await until(() => texts.length === 3);
    assert.equal(texts, ['one', 'two', 'three']);
  }));

test('a ConfigMap is swapped by its link ..data', () =>
  onStage(async ({ folder, texts, watch, until }) => {
    await publish(folder, '2026_1', 'one');
    await symlink('..data/config.conf', join(folder, 'config.conf'));
    watch(join(folder, 'config.conf'), '');
    await until(() => texts.length === 1);
    await publish(folder, '2026_2', 'two');
    await until(() => texts.length === 2);
    await rm(join(folder, '..2026_1'), { recursive: true });
    await publish(folder, '2026_3', 'three');
    await until(() => texts.length === 3);
    assert.equal(texts, ['one', 'two', 'three']);
  }));

test('an edit that leaves the text as it was is none', () =>
  onStage(async ({ folder, clock, texts, watch, until }) => {
    const path = join(folder, 'config.conf');
    await writeFile(path, 'one');
    watch(path, '');
    await until(() => texts.length === 1);
    await writeFile(path, 'one');
    await eventually(() => clock.pending() > 1);
    assert.is(clock.pending(), 2, 'the event came');
    await writeFile(path, 'two');
    await until(() => texts.length === 2);
    assert.equal(texts, ['one', 'two']);
  }));

test('other files of the folder are nothing to it', () =>
  onStage(async ({ folder, noticed, texts, watch, until }) => {
    const path = join(folder, 'config.conf');
    await writeFile(path, 'one');
    watch(path, '');
    await until(() => texts.length === 1);
    const before = noticed();
    for (let at = 0; at < 20; at++) await writeFile(join(folder, `other-${at}`), 'x');
    // Events come in order; this is one.
    await writeFile(join(folder, 'new'), 'two');
    await rename(join(folder, 'new'), path);
    await until(() => texts.length === 2);
    assert.is(noticed(), before + 1);
  }));

test('a text is read only once it has been quiet, but not later than after two seconds', () =>
  onStage(async ({ folder, clock, noticed, texts, watch, until }) => {
    const path = join(folder, 'config.conf');
    await writeFile(path, 'start');
    watch(path, '');
    await until(() => texts.length === 1);
    let edits = 0;
    const edit = async (): Promise<void> => {
      const before = noticed();
      await writeFile(join(folder, 'new'), `half ${++edits}`);
      await rename(join(folder, 'new'), path);
      assert.ok(await eventually(() => noticed() > before));
    };
    await edit();
    for (let unrest = 0; unrest < 1950; unrest += 150) {
      await clock.advance(150);
      assert.is(texts.length, 1, `after ${unrest + 150} ms`);
      await edit();
    }
    await clock.advance(50);
    assert.ok(await eventually(() => texts.length === 2));
    assert.is(texts[1], `half ${edits}`);
  }));

test('a file that is gone is told once, keeps the last text, and its return is noticed', () =>
  onStage(async ({ folder, clock, log, texts, watch, until }) => {
    const path = join(folder, 'config.conf');
    await writeFile(path, 'one');
    watch(path, '');
    await until(() => texts.length === 1);
    await rm(path);
    await until(() => log.at('error').length === 1);
    assert.match(String(log.at('error')[0]?.values.error), /config\.conf: does not exist; give the file/);
    for (let at = 0; at < 3; at++) {
      await clock.advance(10_000);
      await until(() => clock.pending() === 1);
    }
    assert.is(log.at('error').length, 1, 'once');
    await writeFile(path, 'one');
    await until(() => log.at('info').length === 1);
    assert.equal(texts, ['one'], 'the same text is no change');
    await writeFile(path, 'two');
    await until(() => texts.length === 2);
  }));

test('a folder where the file should be is told', () =>
  onStage(async ({ folder, log, texts, watch, until }) => {
    const path = join(folder, 'config.conf');
    await mkdir(path);
    watch(path, 'one');
    await until(() => log.at('error').length === 1);
    assert.match(String(log.at('error')[0]?.values.error), /is a folder/);
    await rm(path, { recursive: true });
    await writeFile(path, 'two');
    await until(() => texts.length === 1);
  }));

test('what no event tells of is noticed by the look every ten seconds', () =>
  onStage(async ({ folder, clock, texts, watch, until }) => {
    await mkdir(join(folder, 'elsewhere'));
    await mkdir(join(folder, 'etc'));
    const target = join(folder, 'elsewhere', 'config.conf');
    await writeFile(target, 'one');
    await symlink(target, join(folder, 'etc', 'config.conf'));
    watch(join(folder, 'etc', 'config.conf'), '');
    await until(() => texts.length === 1);
    await writeFile(target, 'longer');
    assert.is(clock.pending(), 1, 'no event');
    await clock.advance(9_000);
    assert.is(texts.length, 1);
    await clock.advance(1_000);
    await until(() => texts.length === 2);
    assert.equal(texts, ['one', 'longer']);
  }));

test('another folder in place of the one watched is followed', () =>
  onStage(async ({ folder, clock, texts, watch, until }) => {
    await mkdir(join(folder, 'etc'));
    const path = join(folder, 'etc', 'config.conf');
    await writeFile(path, 'one');
    watch(path, '');
    await until(() => texts.length === 1);
    await rename(join(folder, 'etc'), join(folder, 'old'));
    await mkdir(join(folder, 'etc'));
    await writeFile(path, 'two');
    await clock.advance(10_000);
    await until(() => texts.length === 2);
    await writeFile(path, 'three');
    await until(() => texts.length === 3);
    assert.equal(texts, ['one', 'two', 'three'], 'the last by an event, without a look');
  }));

test('an exception in the callback is logged, and the next change comes all the same', () =>
  onStage(async ({ folder, log, texts, watch, until }) => {
    const path = join(folder, 'config.conf');
    await writeFile(path, 'one');
    watch(path, '', (text) => {
      texts.push(text);
      throw new Error('not my day');
    });
    await until(() => log.at('error').length === 1);
    assert.match(log.at('error')[0]!.message, /this is a bug/);
    await writeFile(path, 'two');
    await until(() => texts.length === 2);
  }));

test('after stop nothing is told any more and no timer waits', () =>
  onStage(async ({ folder, clock, texts, watch, until }) => {
    const path = join(folder, 'config.conf');
    await writeFile(path, 'one');
    const watching = watch(path, '');
    await until(() => texts.length === 1);
    await writeFile(path, 'two');
    await eventually(() => clock.pending() > 1);
    await watching.stop();
    assert.is(clock.pending(), 0);
    await clock.advance(60_000);
    assert.equal(texts, ['one']);
  }));

test.run();
