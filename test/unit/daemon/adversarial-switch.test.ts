/** What may happen while one backend takes over from another. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { manifest } from '../cli/program.ts';
import { fakePlugin, gate, openScene, type Scene } from './adversarial-scene.ts';

const test = suite('a switch of backends under adversity');
let scene: Scene | undefined;
test.after.each(async () => {
  await scene?.close();
  scene = undefined;
});

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 100));

test('a sync of the backend that is replaced does not pass for one of its successor', async () => {
  const [held, hold] = [gate(), gate()];
  let syncs = 0;
  const one = fakePlugin('one', { sync: () => (++syncs > 1 ? held.passed : undefined) });
  const two = fakePlugin('two', { sync: () => hold.passed });
  scene = await openScene({ plugins: [one, two], text: 'one' });
  await scene.until('the first backend is ready', () => scene!.told.includes('ready one'));
  scene.serve(manifest('10.244.1.2', '10.244.1.3'));
  await scene.until('its second sync has begun', () => syncs === 2);
  const applied = scene.edit('two');
  await scene.until('the second backend is there', () => two.calls.includes('create'));
  await turn();
  held.open();
  await applied;
  await scene.until('its sync has begun', () => two.calls.includes('sync'));
  assert.not(scene.told.includes('ready two'), 'it has programmed nothing yet');
  hold.open();
  await scene.until('it is ready', () => scene!.told.includes('ready two'));
});

test('what follows a takeover has ended before the next backend begins', async () => {
  const cleaning = gate();
  const [one, two] = [fakePlugin('one'), fakePlugin('two')];
  scene = await openScene({
    plugins: [one, two],
    text: 'one',
    onReady: (backend) => (backend === 'two' ? cleaning.passed : undefined),
  });
  await scene.until('the first backend is ready', () => scene!.told.includes('ready one'));
  await scene.edit('two');
  await scene.until('the second is ready', () => scene!.told.includes('ready two'));
  const back = scene.edit('one');
  await turn();
  assert.equal(one.calls.filter((call) => call === 'create').length, 1, 'its rules are being removed');
  cleaning.open();
  await back;
  await scene.until('the first is ready again', () => scene!.told.filter((line) => line === 'ready one').length === 2);
});

test('what follows a takeover has ended even if it began while the next backend was created', async () => {
  const [firstSync, creating, cleaning] = [gate(), gate(), gate()];
  let creations = 0;
  const one = fakePlugin('one', { create: () => (++creations > 1 ? creating.passed : undefined) });
  const two = fakePlugin('two', { sync: () => firstSync.passed });
  scene = await openScene({
    plugins: [one, two],
    text: 'one',
    onReady: (backend) => (backend === 'two' ? cleaning.passed : undefined),
  });
  await scene.until('the first backend is ready', () => scene!.told.includes('ready one'));
  await scene.edit('two');
  const back = scene.edit('one');
  await scene.until('the first is created again', () => creations === 2);
  firstSync.open();
  await scene.until('the second is ready', () => scene!.told.includes('ready two'));
  one.calls.length = 0;
  creating.open();
  await turn();
  assert.equal(one.calls, [], 'its rules are being removed');
  cleaning.open();
  await back;
  await scene.until('the first is ready again', () => scene!.told.filter((line) => line === 'ready one').length === 2);
});

test('a backend that fails at first and then works is ready', async () => {
  let failures = 4;
  const one = fakePlugin('one', {
    sync() {
      if (failures-- > 0) throw new Error('the lock is held by another program');
    },
  });
  scene = await openScene({ plugins: [one], text: 'one' });
  await scene.until('it works at last', () => one.calls.includes('synced'));
  await turn();
  assert.equal(scene.told, ['ready one']);
});

test('the backend before a bad one comes back although something else was edited meanwhile', async () => {
  const bad = fakePlugin('bad', {
    sync() {
      throw new Error('EPERM');
    },
  });
  const one = fakePlugin('one');
  scene = await openScene({ plugins: [one, bad], text: 'one' });
  await scene.until('the first backend is ready', () => scene!.told.includes('ready one'));
  await scene.edit('bad');
  await scene.edit('bad --masquerade-all');
  await scene.until(
    'the first takes over again',
    () => scene!.told.filter((line) => line === 'ready one').length === 2,
  );
  assert.is(scene.live.status().running, 'one');
});

test('of two bad backends in a row neither stays', async () => {
  const bad = (name: string) =>
    fakePlugin(name, {
      sync() {
        throw new Error('EPERM');
      },
    });
  const [one, two, three] = [fakePlugin('one'), bad('two'), bad('three')];
  scene = await openScene({ plugins: [one, two, three], text: 'one' });
  await scene.until('the first backend is ready', () => scene!.told.includes('ready one'));
  await scene.edit('two');
  await scene.edit('three');
  await scene.until(
    'the first takes over again',
    () => scene!.told.filter((line) => line === 'ready one').length === 2,
  );
});

test('giving up a bad backend does not undo the edit that has replaced it', async () => {
  const creating = gate();
  const bad = fakePlugin('bad', {
    sync() {
      throw new Error('EPERM');
    },
  });
  const [one, good] = [fakePlugin('one'), fakePlugin('good', { create: () => creating.passed })];
  scene = await openScene({ plugins: [one, bad, good], text: 'one' });
  await scene.until('the first backend is ready', () => scene!.told.includes('ready one'));
  await scene.edit('bad');
  const edited = scene.edit('good');
  await scene.until('the second backend is given up', () =>
    scene!.told.some((line) => line.startsWith('hopeless bad')),
  );
  creating.open();
  await edited;
  await scene.until('the third is ready', () => scene!.told.includes('ready good'));
  await turn();
  assert.is(scene.live.status().running, 'good');
});

test('a backend without families is refused, closed, and changes nothing', async () => {
  const [one, none] = [fakePlugin('one'), fakePlugin('none', { families: [] })];
  scene = await openScene({ plugins: [one, none], text: 'one' });
  await scene.until('the first backend is ready', () => scene!.told.includes('ready one'));
  await scene.edit('none --masquerade-all');
  assert.match(scene.told.at(-1) ?? '', /^refused: /);
  assert.equal(none.calls, ['create', 'close']);
  assert.match(await scene.metrics.text(), /kubeproxy_backend_info\{backend="one"\} 1/);
  scene.serve(manifest('10.244.1.2', '10.244.1.3'));
  await scene.until('the first goes on', () => one.changes.length === 2);
  assert.is(one.changes[1]?.node.masqueradeAll, false);
});

test('a backend that is created while the daemon stops is closed', async () => {
  const creating = gate();
  const [one, two] = [fakePlugin('one'), fakePlugin('two', { create: () => creating.passed })];
  scene = await openScene({ plugins: [one, two], text: 'one' });
  await scene.until('the first backend is ready', () => scene!.told.includes('ready one'));
  const edited = scene.edit('two');
  await scene.until('the second is being created', () => two.calls.includes('create'));
  await scene.proxy.stop();
  creating.open();
  await edited;
  assert.equal(two.calls, ['create', 'close']);
});

test('a file that is no configuration is refused in few words', async () => {
  const one = fakePlugin('one');
  scene = await openScene({ plugins: [one], text: 'one' });
  await scene.until('the first backend is ready', () => scene!.told.includes('ready one'));
  await scene.edit(`one ${'--nonsense '.repeat(10_000)}`);
  assert.ok(scene.live.status().refused.join('').length < 20_000, 'it is logged, shown and sent as an event');
});

test('the Node of another name is known at once', async () => {
  const node = (name: string, ip: string) => ({
    kind: 'Node',
    apiVersion: 'v1',
    metadata: { name },
    status: { addresses: [{ type: 'InternalIP', address: ip }] },
  });
  const list = JSON.parse(manifest('10.244.1.2'));
  list.items.push(node('worker-1', '192.0.2.1'), node('worker-2', '192.0.2.2'));
  const one = fakePlugin('one');
  scene = await openScene({ plugins: [one], text: 'one', manifests: JSON.stringify(list) });
  await scene.until('ready', () => scene!.told.includes('ready one'));
  assert.equal(one.changes.at(-1)?.node.nodeIPs, ['192.0.2.1']);
  await scene.edit('one --hostname-override=worker-2');
  await scene.until('a sync for the other node', () => one.changes.at(-1)?.node.name === 'worker-2');
  await turn();
  assert.equal(one.changes.at(-1)?.node.nodeIPs, ['192.0.2.2']);
  assert.equal(
    one.changes.filter(({ node }) => node.nodeIPs.length === 0).length,
    0,
    'there is no moment without addresses',
  );
});

test.run();
