/** The store: one counter, a history that can be resumed from and rewound, and who holds which address. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createAllocator } from '../../apiserver/store/allocator.ts';
import { createStore, type Version } from '../../apiserver/store/store.ts';

const test = suite('apiserver store');

function setUp(window = 100) {
  const store = createStore(['services', 'nodes'], window, 1000);
  const table = store.table('services');
  const write = (name: string, note = '') =>
    table.put(
      (resourceVersion): Version => ({
        key: `default/${name}`,
        namespace: 'default',
        name,
        resourceVersion,
        tail: `"metadata":{"name":"${name}","resourceVersion":"${resourceVersion}"},"note":"${note}"}`,
        labels: {},
        fields: {},
      }),
    );
  const names = (versions: readonly Version[] | undefined) =>
    versions?.map(({ name, resourceVersion }) => `${name}@${resourceVersion}`);
  return { store, table, write, names };
}

test('all resources count with one counter', () => {
  const { store, write } = setUp();
  assert.is(write('a').resourceVersion, 1001);
  store.advance(3);
  assert.is(write('b').resourceVersion, 1005);
  assert.is(store.resourceVersion(), 1005);
});

test('lists are in the order of keys', () => {
  const { table, write, names } = setUp();
  for (const name of ['b', 'c', 'a']) write(name);
  write('c');
  assert.equal(names(table.list()), ['a@1003', 'b@1001', 'c@1004']);
});

test('a past state is what it was, with what has been changed and deleted since', () => {
  const { table, write, names } = setUp();
  write('a');
  write('b');
  write('a');
  table.remove('default/b');
  write('c');
  assert.equal(names(table.listAt(1002)), ['a@1001', 'b@1002']);
  assert.equal(names(table.listAt(1003)), ['a@1003', 'b@1002']);
  assert.equal(names(table.listAt(1000)), []);
  assert.is(table.listAt(999), undefined);
});

test('changes since a version are those after it, deletions stamped with their own version', () => {
  const { table, write } = setUp();
  write('a');
  write('a', 'second');
  const gone = table.remove('default/a')!;
  const changes = table.since(1001)!;
  assert.equal(
    changes.map(({ resourceVersion }) => resourceVersion),
    [1002, 1003],
  );
  assert.is(gone.departed().tail, '"metadata":{"name":"a","resourceVersion":"1003"},"note":"second"}');
  assert.equal(table.since(1003), []);
});

test('the window bounds what can be resumed from', () => {
  const { table, write } = setUp(10);
  for (let index = 0; index < 40; index++) write('a');
  assert.is(table.since(1000), undefined);
  assert.ok(table.oldest() > 1000);
  const [first] = table.since(table.oldest())!;
  assert.is(first!.resourceVersion, table.oldest() + 1);
  assert.ok(table.since(table.oldest())!.length >= 10);
});

test('after a compaction neither watches nor lists reach the past', () => {
  const { store, table, write } = setUp();
  write('a');
  store.compact();
  assert.is(table.since(1000), undefined);
  assert.is(table.listAt(1000), undefined);
  assert.equal(table.since(1001), []);
});

test('after a restart watches do not reach the past, but lists do', () => {
  const { store, table, write, names } = setUp();
  write('a');
  write('b');
  store.forgetWatches();
  assert.is(table.since(1001), undefined);
  assert.equal(table.since(1002), []);
  assert.equal(names(table.listAt(1001)), ['a@1001']);
});

test('restoring a backup brings the past state and its version back', () => {
  const { store, table, write, names } = setUp();
  write('a');
  write('b');
  write('a');
  store.restore(1002);
  assert.equal(names(table.list()), ['a@1001', 'b@1002']);
  assert.is(store.resourceVersion(), 1002);
  assert.is(write('c').resourceVersion, 1003);
  assert.equal(
    table.since(1002)!.map(({ current }) => current?.name),
    ['c'],
  );
  assert.throws(() => store.restore(5000), /cannot restore/);
});

test('renumbering keeps the objects under lower versions, also in their text', () => {
  const { store, table, write, names } = setUp();
  write('b');
  write('a');
  store.renumber();
  assert.equal(names(table.list()), ['a@3', 'b@2']);
  assert.match(table.get('default/a')!.tail, '"resourceVersion":"3"');
  assert.is(store.resourceVersion(), 3);
});

test('listeners hear of every change in order until they stop', () => {
  const { table, write } = setUp();
  const heard: number[] = [];
  const stop = table.subscribe(({ resourceVersion }) => heard.push(resourceVersion));
  write('a');
  table.remove('default/a');
  assert.is(table.remove('default/a'), undefined);
  stop();
  write('b');
  assert.equal(heard, [1001, 1002]);
});

test('addresses come from the range, without its network and broadcast addresses, and run out', () => {
  const allocator = createAllocator();
  allocator.setRanges(['10.0.0.0/30', 'fd00::/126']);
  assert.equal(allocator.families(), ['IPv4', 'IPv6']);
  assert.equal(
    [1, 2, 3].map((owner) => allocator.nextIP('IPv4', `ns/${owner}`)),
    ['10.0.0.1', '10.0.0.2', undefined],
  );
  assert.equal(
    [1, 2, 3, 4].map((owner) => allocator.nextIP('IPv6', `ns/${owner}`)),
    ['fd00::1', 'fd00::2', 'fd00::3', undefined],
  );
});

test('an address is held by one owner, however it is written, until it gives it back', () => {
  const allocator = createAllocator();
  allocator.setRanges(['10.0.0.0/24', 'fd00::/64']);
  assert.is(allocator.claimIP('IPv6', 'fd00::a', 'ns/a'), undefined);
  assert.is(allocator.claimIP('IPv6', 'FD00:0:0::A', 'ns/b'), 'provided IP is already allocated');
  assert.match(allocator.claimIP('IPv4', '10.0.1.1', 'ns/a')!, 'not in the valid range');
  allocator.retain('ns/a', [], []);
  assert.is(allocator.claimIP('IPv6', 'fd00::a', 'ns/b'), undefined);
});

test('node ports come from 30000 to 32767, one owner each', () => {
  const allocator = createAllocator();
  assert.is(allocator.nextNodePort('ns/a'), 30_000);
  assert.is(allocator.claimNodePort(30_001, 'ns/b'), undefined);
  assert.is(allocator.nextNodePort('ns/a'), 30_002);
  assert.is(allocator.claimNodePort(30_000, 'ns/b'), 'provided port is already allocated');
  assert.match(allocator.claimNodePort(29_999, 'ns/b')!, '30000-32767');
  for (let port = 0; port < 2765; port++) allocator.nextNodePort('ns/c');
  assert.is(allocator.nextNodePort('ns/d'), undefined);
});

test.run();
