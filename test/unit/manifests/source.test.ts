import { appendFile, mkdir, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Clock } from '../../../core/backend.ts';
import {
  type Delivered,
  type Disk,
  nodeYaml,
  onDisk,
  pause,
  serviceYaml,
  sliceYaml,
  slowClock,
  until,
} from './disk.ts';

const test = suite('manifest source');

const on = (run: (disk: Disk) => Promise<void>, file?: string, clock?: Clock) => (): Promise<void> =>
  onDisk(run, file, clock);

const port = (delivered: Delivered, name: string): number | undefined =>
  delivered.services.get(`default/${name}`)?.ports[0]?.port;

test(
  'the files of a folder are delivered and then called synced',
  on(async ({ folder, source, delivered, write }) => {
    await write('web.yaml', `${serviceYaml('web')}---\n${sliceYaml('web-1', 'web')}`);
    await write('node.json', JSON.stringify({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } }));
    await write('api.yml', serviceYaml('api'));
    await write('.hidden.yaml', serviceYaml('hidden'));
    await write('notes.txt', serviceYaml('notes'));
    await mkdir(join(folder, 'sub.yaml'));
    await source.start(delivered);
    assert.equal([...delivered.services.keys()], ['default/api', 'default/web']);
    assert.equal([...delivered.slices.keys()], ['default/web-1']);
    assert.equal([...delivered.nodes.keys()], ['n1']);
    assert.is(delivered.calls.at(-1), 'synced');
  }),
);

test(
  'an edit, a new file and a deleted one are in force at once',
  on(async ({ folder, source, delivered, write }) => {
    await write('web.yaml', `${serviceYaml('web')}---\n${serviceYaml('old')}`);
    await source.start(delivered);
    const began = performance.now();
    await write('web.yaml', serviceYaml('web', 81));
    await until(() => port(delivered, 'web') === 81, 'the edit');
    assert.ok(performance.now() - began < 1_500, 'by the watch, not by the poll');
    assert.not(delivered.services.has('default/old'));
    await write('api.yaml', `${serviceYaml('api')}---\n${nodeYaml('n1')}`);
    await until(() => delivered.services.has('default/api'), 'the new file');
    await rm(join(folder, 'api.yaml'));
    await until(() => !delivered.services.has('default/api'), 'the deleted file');
    assert.not(delivered.nodes.has('n1'));
    assert.ok(delivered.services.has('default/web'));
  }),
);

test(
  'a file that is touched or rewritten the same delivers nothing',
  on(async ({ folder, source, delivered, write }) => {
    await write('web.yaml', serviceYaml('web'));
    await source.start(delivered);
    const calls = delivered.calls.length;
    await write('web.yaml', serviceYaml('web'));
    await writeFile(join(folder, 'web.yaml'), serviceYaml('web'));
    await pause(300);
    assert.is(delivered.calls.length, calls);
  }),
);

test(
  'a file written in place and of the same length is read again',
  on(async ({ folder, source, delivered, write }) => {
    await write('web.yaml', serviceYaml('web', 80));
    await source.start(delivered);
    await writeFile(join(folder, 'web.yaml'), serviceYaml('web', 81));
    await until(() => port(delivered, 'web') === 81, 'the edit');
  }),
);

test(
  'a half-written file keeps its last good version, says so once with the place, and says when it is good again',
  on(async ({ folder, source, delivered, write, log, problems }) => {
    await write('web.yaml', serviceYaml('web'));
    await source.start(delivered);
    await writeFile(join(folder, 'web.yaml'), `${serviceYaml('web', 81)}---\nmetadata: {name: "ap`);
    await until(() => log.at('warn').length > 0, 'the warning');
    await writeFile(join(folder, 'web.yaml'), `${serviceYaml('web', 81)}---\nmetadata: {name: "ap`);
    await pause(2_300);
    assert.is(port(delivered, 'web'), 80);
    assert.equal(
      log.at('warn').map(({ values }) => values.file),
      [join(folder, 'web.yaml')],
    );
    assert.match(String(log.at('warn')[0]?.values.problem), /^line 11, column \d+: /);
    assert.is(problems.length, 1);
    await appendFile(join(folder, 'web.yaml'), 'i"}\n');
    await until(() => port(delivered, 'web') === 81, 'the whole file');
    assert.is(log.at('info').filter(({ message }) => /good again/.test(message)).length, 1);
  }),
);

test(
  'a file that is written in steps is read when it has come to rest',
  on(
    async ({ folder, source, delivered, write, log }) => {
      const text = (value: number): string =>
        ['web', 'api', 'db'].map((name) => serviceYaml(name, value)).join('---\n');
      await write('web.yaml', text(80));
      await source.start(delivered);
      await writeFile(join(folder, 'web.yaml'), '');
      for (let at = 0; at < text(81).length; at += 40) {
        await appendFile(join(folder, 'web.yaml'), text(81).slice(at, at + 40));
        await pause(20);
      }
      await until(() => port(delivered, 'db') === 81, 'the whole file');
      assert.equal(log.at('warn'), []);
      assert.not(delivered.calls.some((call) => call.startsWith('delete')));
    },
    undefined,
    slowClock(10),
  ),
);

test(
  'an emptied file keeps its objects for a moment, and then is empty',
  on(async ({ folder, source, delivered, write, log }) => {
    await write('web.yaml', serviceYaml('web'));
    await source.start(delivered);
    const began = performance.now();
    await truncate(join(folder, 'web.yaml'), 0);
    await until(() => !delivered.services.has('default/web'), 'the objects to go');
    assert.ok(performance.now() - began >= 1_000, 'not before its grace');
    assert.equal(log.at('warn'), []);
  }),
);

test(
  'an emptied file that is filled in time loses nothing',
  on(async ({ folder, source, delivered, write }) => {
    await write('web.yaml', serviceYaml('web'));
    await source.start(delivered);
    await truncate(join(folder, 'web.yaml'), 0);
    await pause(400);
    await writeFile(join(folder, 'web.yaml'), serviceYaml('web', 81));
    await until(() => port(delivered, 'web') === 81, 'the new text');
    await pause(1_000);
    assert.not(delivered.calls.some((call) => call.startsWith('delete')));
  }),
);

test(
  'a file that is missing for the blink of an editor loses nothing',
  on(async ({ folder, source, delivered, write }) => {
    await write('web.yaml', serviceYaml('web'));
    await source.start(delivered);
    await rename(join(folder, 'web.yaml'), join(folder, 'web.yaml~'));
    await pause(100);
    await writeFile(join(folder, 'web.yaml'), serviceYaml('web', 81));
    await until(() => port(delivered, 'web') === 81, 'the new file');
    await pause(300);
    assert.not(delivered.calls.some((call) => call.startsWith('delete')));
  }),
);

test(
  'a mounted ConfigMap that is swapped by its link is read anew, as one change',
  on(async ({ folder, source, delivered }) => {
    const version = async (name: string, files: Record<string, string>): Promise<void> => {
      await mkdir(join(folder, name));
      for (const [file, text] of Object.entries(files)) await writeFile(join(folder, name, file), text);
    };
    await version('..1', { 'a.yaml': serviceYaml('web'), 'b.yaml': serviceYaml('api') });
    await symlink('..1', join(folder, '..data'));
    for (const file of ['a.yaml', 'b.yaml']) await symlink(join('..data', file), join(folder, file));
    await source.start(delivered);
    assert.equal([...delivered.services.keys()], ['default/web', 'default/api']);

    // The kubelet's steps: new folder, new link over the old one, old folder away. The object moves to the other file.
    await version('..2', {
      'a.yaml': '# nothing\n',
      'b.yaml': `${serviceYaml('web', 81)}---\n${serviceYaml('api', 82)}`,
    });
    await symlink('..2', join(folder, '..data_tmp'));
    await rename(join(folder, '..data_tmp'), join(folder, '..data'));
    await rm(join(folder, '..1'), { recursive: true });
    await until(() => port(delivered, 'web') === 81 && port(delivered, 'api') === 82, 'the swap');
    assert.ok(delivered.services.has('default/web'));
  }),
);

test(
  'of an object in two files the first file counts, which is said once, and the second takes over',
  on(async ({ folder, source, delivered, write, log }) => {
    await write('b.yaml', serviceYaml('web', 82));
    await write('a.yaml', serviceYaml('web', 81));
    await source.start(delivered);
    assert.is(port(delivered, 'web'), 81);
    const warned = log.at('warn');
    assert.is(warned.length, 1);
    assert.is(warned[0]?.values.file, join(folder, 'b.yaml'));
    assert.match(String(warned[0]?.values.problem), /Service default\/web is also in .*a\.yaml/);
    await write('b.yaml', serviceYaml('web', 83));
    await pause(200);
    assert.is(log.at('warn').length, 1);
    await rm(join(folder, 'a.yaml'));
    await until(() => port(delivered, 'web') === 83, 'the second file');
    assert.not(delivered.calls.includes('deleteService default/web'));
  }),
);

test(
  'a broken object in a good file is told, keeps its last version and spoils no other',
  on(async ({ source, delivered, write, log }) => {
    await write('web.yaml', `${serviceYaml('web')}---\n${serviceYaml('api')}`);
    await source.start(delivered);
    const spoiled = serviceYaml('web').replace('port: 80', 'port: eighty');
    await write('web.yaml', `${spoiled}---\n${serviceYaml('api', 81)}`);
    await until(() => port(delivered, 'api') === 81, 'the good object');
    assert.is(port(delivered, 'web'), 80);
    const told = log.at('warn').length;
    assert.match(String(log.at('warn')[0]?.values.problem), /^Service default\/web: /);
    await write('web.yaml', `${spoiled}---\n${serviceYaml('api', 82)}`);
    await until(() => port(delivered, 'api') === 82, 'the next edit');
    assert.is(log.at('warn').length, told);
  }),
);

test(
  'a Service that becomes headless is deleted',
  on(async ({ source, delivered, write }) => {
    await write('web.yaml', serviceYaml('web'));
    await source.start(delivered);
    await write('web.yaml', serviceYaml('web').replace('10.96.0.10', 'None'));
    await until(() => !delivered.services.has('default/web'), 'the Service to go');
  }),
);

test(
  'other kinds are passed over with a word at -v=2',
  on(async ({ source, delivered, write, log }) => {
    await write('web.yaml', 'kind: Deployment\napiVersion: apps/v1\nmetadata: {name: web}\n');
    await source.start(delivered);
    assert.equal(delivered.calls, ['synced']);
    assert.ok(log.at('v2').some(({ values }) => values.object === 'Deployment default/web'));
    assert.equal(log.at('warn'), []);
  }),
);

test(
  'a single file is watched through replacements and deletions, and its neighbours do not matter',
  on(async ({ folder, source, delivered, write }) => {
    await write('web.conf', serviceYaml('web'));
    await write('other.yaml', serviceYaml('other'));
    await source.start(delivered);
    assert.equal([...delivered.services.keys()], ['default/web']);
    await write('web.conf', serviceYaml('web', 81));
    await until(() => port(delivered, 'web') === 81, 'the first replacement');
    await write('web.conf', serviceYaml('web', 82));
    await until(() => port(delivered, 'web') === 82, 'the second replacement');
    await rm(join(folder, 'web.conf'));
    await until(() => delivered.services.size === 0, 'the deletion');
    await write('web.conf', serviceYaml('web', 83));
    await until(() => port(delivered, 'web') === 83, 'its return');
  }, 'web.conf'),
);

test(
  'a change that no watch reports, behind a link, is found by the poll',
  on(async ({ folder, source, delivered }) => {
    await mkdir(join(folder, 'elsewhere'));
    await writeFile(join(folder, 'elsewhere', 'web.yaml'), serviceYaml('web'));
    await symlink(join('elsewhere', 'web.yaml'), join(folder, 'web.yaml'));
    await source.start(delivered);
    await writeFile(join(folder, 'elsewhere', 'web.yaml'), serviceYaml('web', 81));
    await until(() => port(delivered, 'web') === 81, 'the edit');
  }),
);

test(
  'a folder that vanishes keeps its objects, and another in its place is followed',
  on(async ({ folder, source, delivered, log }) => {
    await writeFile(join(folder, 'web.yaml'), serviceYaml('web'));
    await source.start(delivered);
    await rename(folder, `${folder}.old`);
    await until(() => log.at('warn').length > 0, 'the warning');
    assert.ok(delivered.services.has('default/web'));
    await rename(`${folder}.old`, `${folder}.older`);
    await mkdir(folder);
    await writeFile(join(folder, 'web.yaml'), serviceYaml('web', 81));
    await until(() => port(delivered, 'web') === 81, 'the new folder');
    await writeFile(join(folder, 'web.yaml'), serviceYaml('web', 82));
    await until(() => port(delivered, 'web') === 82, 'an edit in the new folder');
    const began = performance.now();
    await writeFile(join(folder, 'web.yaml'), serviceYaml('web', 83));
    await until(() => port(delivered, 'web') === 83, 'another edit');
    assert.ok(performance.now() - began < 1_500, 'by a watch of the new folder, not by the poll');
    assert.is(log.at('warn').length, 1);
  }),
);

test(
  'a file that appears malformed later gives nothing and stops nothing',
  on(async ({ source, delivered, write, log }) => {
    await write('web.yaml', serviceYaml('web'));
    await source.start(delivered);
    await write('bad.yaml', 'kind: [\n');
    await write('api.yaml', serviceYaml('api'));
    await until(() => delivered.services.has('default/api'), 'the good file');
    assert.is(log.at('warn').length, 1);
    await write('bad.yaml', serviceYaml('good'));
    await until(() => delivered.services.has('default/good'), 'the correction');
  }),
);

test(
  'malformed files at start are refused, with a line for each',
  on(async ({ folder, source, delivered, write }) => {
    await write('a.yaml', 'kind: [\n');
    await write('b.yaml', serviceYaml('web'));
    await write('c.json', '{"kind": ');
    const error = await refusal(() => source.start(delivered));
    assert.is(error.code, 'KP_MANIFEST');
    const lines = error.message.split('\n');
    assert.is(lines.length, 2);
    assert.ok(lines[0]?.startsWith(`${join(folder, 'a.yaml')}: line 2, column 1: `), lines[0]);
    assert.ok(lines[1]?.startsWith(`${join(folder, 'c.json')}: line 1, column `), lines[1]);
    assert.equal(delivered.calls, []);
  }),
);

test(
  'a path that does not exist is refused',
  on(async ({ folder, source, delivered }) => {
    const error = await refusal(() => source.start(delivered));
    assert.is(error.code, 'KP_MANIFEST');
    assert.is(error.message, `${join(folder, 'nowhere.yaml')}: does not exist; give a file or a folder of manifests`);
  }, 'nowhere.yaml'),
);

test(
  'a file of more than 64 MiB is refused without being read',
  on(async ({ folder, source, delivered }) => {
    await writeFile(join(folder, 'large.yaml'), '');
    await truncate(join(folder, 'large.yaml'), 64 * 1024 * 1024 + 1);
    const error = await refusal(() => source.start(delivered));
    assert.match(error.message, /large\.yaml: has 67108865 bytes, more than the 67108864 that are read; split it/);
  }),
);

test(
  'an empty folder is synced at once and warned about',
  on(async ({ source, delivered, log }) => {
    await source.start(delivered);
    assert.equal(delivered.calls, ['synced']);
    assert.is(log.at('warn').length, 1);
  }),
);

test(
  'after stop nothing is delivered',
  on(async ({ source, delivered, write }) => {
    await write('web.yaml', serviceYaml('web'));
    await source.start(delivered);
    const calls = delivered.calls.length;
    await write('web.yaml', serviceYaml('web', 81));
    await source.stop();
    await pause(300);
    assert.is(delivered.calls.length, calls);
  }),
);

test(
  'a file that can no longer be read keeps its last good version and spoils no other',
  on(async ({ folder, source, delivered, write, log }) => {
    await write('web.yaml', serviceYaml('web'));
    await source.start(delivered);
    await symlink('web.yaml', join(folder, 'loop'));
    await rename(join(folder, 'loop'), join(folder, 'web.yaml'));
    await until(() => log.at('warn').length > 0, 'the warning');
    assert.match(String(log.at('warn')[0]?.values.problem), /web\.yaml: cannot be read \(ELOOP/);
    await write('api.yaml', serviceYaml('api'));
    await until(() => delivered.services.has('default/api'), 'the other file');
    assert.ok(delivered.services.has('default/web'));
    await write('web.yaml', serviceYaml('web', 81));
    await until(() => port(delivered, 'web') === 81, 'the readable file');
  }),
);

async function refusal(start: () => Promise<void>): Promise<Error & { code?: unknown }> {
  try {
    await start();
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error('was not refused');
}

test.run();
