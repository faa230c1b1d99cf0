import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readManifests } from '../../../core/source/manifests/read-manifests.ts';
import { nodeYaml, onDisk, serviceYaml, sliceYaml } from './disk.ts';

const test = suite('read-manifests');

test('a folder is read once, in the order of its files, with its faults told', () =>
  onDisk(async ({ folder, write }) => {
    await write('b.yaml', `${serviceYaml('web', 82)}---\n${sliceYaml('web-1', 'web')}---\n${nodeYaml('n1')}`);
    await write('a.yaml', `${serviceYaml('web', 81)}---\n${serviceYaml('db').replace('10.96.0.10', 'None')}`);
    await write('c.yaml', serviceYaml('bad').replace('port: 80', 'port: eighty'));
    const { services, slices, nodes, problems } = await readManifests(folder);
    assert.equal(
      services.map(({ name, ports }) => [name, ports[0]?.port]),
      [['web', 81]],
    );
    assert.equal(
      slices.map(({ name }) => name),
      ['web-1'],
    );
    assert.equal(
      nodes.map(({ name }) => name),
      ['n1'],
    );
    assert.ok(
      problems.some((problem) => problem.startsWith(`${join(folder, 'b.yaml')}: Service default/web is also in`)),
    );
    assert.ok(problems.some((problem) => problem.startsWith(`${join(folder, 'c.yaml')}: Service default/bad: `)));
  }));

test('a single file is read whatever its name', () =>
  onDisk(async ({ folder, write }) => {
    await write('objects', serviceYaml('web'));
    const { services } = await readManifests(join(folder, 'objects'));
    assert.is(services.length, 1);
  }));

test('malformed files are refused together', () =>
  onDisk(async ({ folder, write }) => {
    await write('a.yaml', 'kind: [\n');
    await write('b.yaml', 'a:\n\tb: 1\n');
    try {
      await readManifests(folder);
      assert.unreachable();
    } catch (error) {
      assert.ok(error instanceof Error && 'code' in error && error.code === 'KP_MANIFEST', String(error));
      assert.is(error instanceof Error ? error.message.split('\n').length : 0, 2);
    }
  }));

test.run();
