/** The backend on a kernel in memory: in which order, what fails with what, and what a thread that begins is told. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { NftOperation } from '../../../core/backend.ts';
import { createFakeState } from '../../../core/netlink/nftables/fake.ts';
import { TABLE } from '../../../plugins/userspace/layout.ts';
import { parseOptions } from '../../../plugins/userspace/options.ts';
import { PROXY_PROTOCOL_ANNOTATION } from '../../../plugins/userspace/services.ts';
import { full, NODE, NODE6, partial, remote, servicePort } from '../nftables/samples.ts';
import { failure } from '../shared/failure.ts';
import { settle } from '../sync/fake-clock.ts';
import { type Stage, stage } from './stage.ts';

const test = suite('userspace backend');
const WEB = servicePort({ nodePort: 30080, cluster: remote('1.0.0.1') });
const KEY = `IPv4 ${WEB.key}`;
const WEB6 = servicePort({ clusterIP: 'fd00:10:96::a', cluster: remote('fd00::1') });
const RESTART_MS = 1_000;

function ports({ threads }: Stage): string[][] {
  return threads.alive.map(({ listens }) => [...listens.values()].map(({ ip, port }) => `${ip}:${port}`));
}

/** Calls `look` right before each commit to the table. */
function beforeCommits({ host }: Stage, look: (operations: readonly NftOperation[]) => void): void {
  const nftables = host.netlink.nftables();
  const { commit } = nftables;
  Object.assign(nftables, {
    async commit(transaction: Parameters<typeof commit>[0]) {
      const operations = [...transaction.operations];
      look(operations);
      return await commit({ ...transaction, operations });
    },
  });
}

test('threads know of a connection before the table brings it in, and forget after it does no more', async () => {
  const one = stage();
  const fresh = servicePort({ name: 'fresh', clusterIP: '10.96.0.11' });
  const wanted = [KEY];
  const known: (readonly boolean[])[] = [];
  beforeCommits(one, () => {
    known.push(
      one.threads.all.map(({ services, listens }) => wanted.every((key) => services.has(key)) && listens.size > 0),
    );
  });
  await one.sync(full([WEB]));
  const first = known.length;
  wanted.push(`IPv4 ${fresh.key}`);
  await one.sync(partial([fresh]));
  assert.ok(first > 0 && known.length > first);
  assert.ok(known.flat().every(Boolean));
  known.length = 0;
  await one.sync(partial([], [WEB.key, fresh.key]));
  assert.equal(known, [[true, true]]);
  assert.equal(
    one.threads.all.map(({ services, frontends }) => services.size + frontends.size),
    [0, 0],
  );
});

test('nothing listens, and no thread runs, before the first sync', async () => {
  const one = stage();
  assert.equal([one.threads.all.length, one.metrics.size], [0, 0]);
  await one.sync(full([]));
  assert.is(one.threads.all.length, 2);
  const address = '192.168.50.10';
  assert.equal(ports(one), new Array(2).fill([40001, 40002, 40003, 40004].map((port) => `${address}:${port}`)));
  assert.equal(one.threads.all[0]!.inside, [...NODE.addresses, '10.244.0.0/16']);
  assert.ok([...one.threads.all[0]!.listens.values()].every(({ shared }) => shared));
});

test('an endpoint that comes writes nothing to the table', async () => {
  const one = stage();
  await one.sync(full([WEB]));
  const { operations } = await one.sync(partial([{ ...WEB, cluster: remote('1.0.0.1', '1.0.0.2') }]));
  assert.is(operations, 0);
  assert.equal(
    one.threads.all.map(({ services }) => services.get(KEY)!.cluster.length),
    [2, 2],
  );
});

test('a restart listens on the ports that the table names, and writes nothing', async () => {
  const state = createFakeState();
  const first = stage({}, state);
  await first.sync(full([WEB]));
  await first.end();
  first.kernel.close();
  const second = stage({ freePort: async () => assert.unreachable() as never }, state);
  assert.is((await second.sync(full([WEB]))).operations, 0);
  assert.equal(
    ports(second)[0],
    [40001, 40002, 40003, 40004].map((port) => `192.168.50.10:${port}`),
  );
});

test('where somebody has one of these ports by now, others are taken and told to the table', async () => {
  const state = createFakeState();
  const first = stage({}, state);
  await first.sync(full([WEB]));
  first.kernel.close();
  let next = 50_001;
  const second = stage({ freePort: async () => next++ }, state);
  second.threads.refuse = ({ port }) => (port === 40_002 ? 'EADDRINUSE' : undefined);
  assert.ok((await second.sync(full([WEB]))).operations > 0);
  assert.equal(
    ports(second)[0],
    [50001, 50002, 50003, 50004].map((port) => `192.168.50.10:${port}`),
  );
  assert.match(second.kernel.dump(), '50001');
  assert.not.match(second.kernel.dump(), '40001');
});

test('the four listeners never share a port, whatever the system proposes', async () => {
  const proposed = [7, 7, 8, 7, 9, 8, 10];
  const one = stage({ freePort: async () => proposed.shift()! });
  await one.sync(full([]));
  assert.equal(
    ports(one)[0],
    [7, 8, 9, 10].map((port) => `192.168.50.10:${port}`),
  );
});

test('where nothing can be listened on the sync fails, and the next one tries again', async () => {
  const one = stage();
  one.threads.refuse = () => 'EADDRINUSE';
  assert.match((await failure(one.sync(full([WEB])))).message, /cannot listen for Services on 192\.168\.50\.10/);
  assert.is(one.kernel.table('ip', TABLE), undefined);
  assert.is((await one.backend.check('IPv4')).intact, false);
  one.threads.refuse = () => undefined;
  await one.sync(full([WEB]));
  assert.equal(await one.backend.check('IPv4'), { intact: true });
  assert.ok(one.threads.all.every(({ services, frontends }) => services.has(KEY) && frontends.size === 2));
});

test('a family that cannot listen does not fail the other one', async () => {
  const one = stage();
  one.threads.refuse = ({ ip }) => (ip.includes(':') ? 'EADDRINUSE' : undefined);
  const [six, four] = await Promise.allSettled([one.sync(full([WEB6], NODE6, 'IPv6')), one.sync(full([WEB]))]);
  assert.equal([six!.status, four!.status], ['rejected', 'fulfilled']);
  one.threads.refuse = () => undefined;
  await one.sync(full([WEB6], NODE6, 'IPv6'));
  assert.equal(
    ports(one).map((list) => list.length),
    [8, 8],
  );
});

test('the listeners move with the address of the node, and keep their ports', async () => {
  const one = stage();
  await one.sync(full([WEB]));
  const moved = { ...NODE, nodeIPs: ['192.168.60.10'] };
  await one.sync(partial([], [], moved));
  assert.equal(
    ports(one)[0],
    [40001, 40002, 40003, 40004].map((port) => `192.168.60.10:${port}`),
  );
  assert.match(one.kernel.dump(), '192.168.60.10 . 40001');
});

test('listeners that cannot move fail the sync, and the table counts as not right', async () => {
  const one = stage();
  await one.sync(full([WEB]));
  one.threads.refuse = () => 'EADDRNOTAVAIL';
  const moved = { ...NODE, nodeIPs: ['192.168.60.10'] };
  await failure(one.sync(partial([], [], moved)));
  assert.is((await one.backend.check('IPv4')).intact, false);
  one.threads.refuse = () => undefined;
  await one.sync(full([WEB], moved));
  assert.equal(
    ports(one)[0]!.map((text) => text.split(':')[0]),
    new Array(4).fill('192.168.60.10'),
  );
  assert.match(one.kernel.dump(), `192.168.60.10 . ${ports(one)[0]![0]!.split(':')[1]}`);
});

test('a node that has only loopback addresses listens nowhere, is told once, and serves when it has one', async () => {
  const one = stage();
  const bare = { ...NODE, nodeIPs: [], addresses: ['127.0.0.1'] };
  await one.sync(full([WEB], bare));
  await one.sync(partial([WEB], [], { ...bare }));
  assert.is(one.log.at('warn').filter(({ message }) => message.includes('no address to listen on')).length, 1);
  assert.equal(ports(one), [[], []]);
  await one.sync(partial([], [], NODE));
  assert.is(ports(one)[0]!.length, 4);
});

test('a commit that fails, fails the sync; the next full one makes table and threads right', async () => {
  const one = stage();
  await one.sync(full([WEB]));
  one.kernel.failNext({ code: 'KP_NETLINK_REFUSED', errno: 'ENOMEM', text: 'out of memory' }, 'before');
  const other = servicePort({ name: 'other', clusterIP: '10.96.0.11' });
  assert.match((await failure(one.sync(partial([other], [WEB.key])))).message, /out of memory/);
  assert.is((await one.backend.check('IPv4')).intact, false);
  await one.sync(full([other]));
  assert.equal(await one.backend.check('IPv4'), { intact: true });
  assert.not.match(one.kernel.dump(), '10.96.0.10');
  assert.equal([...one.threads.all[0]!.services.keys()], [`IPv4 ${other.key}`]);
});

test('a table that somebody deleted is noticed and made again, with the same ports', async () => {
  const one = stage({ owned: false });
  await one.sync(full([WEB]));
  await one.kernel.commit({ family: 'ip', table: TABLE, operations: [{ do: 'delete table' }] });
  assert.is((await one.backend.check('IPv4')).intact, false);
  await one.sync(full([WEB]));
  assert.match(one.kernel.dump(), '192.168.50.10 . 40001');
  assert.ok(one.threads.all[0]!.services.has(KEY));
});

test('a thread that ends is unhealthy until another one knows everything of both families', async () => {
  const one = stage();
  await Promise.all([one.sync(full([WEB])), one.sync(full([WEB6], NODE6, 'IPv6'))]);
  assert.equal(one.backend.health(), { healthy: true });
  one.threads.all[0]!.crash();
  assert.is(one.backend.health().healthy, false);
  await one.sync(partial([{ ...WEB, cluster: remote('1.0.0.7') }]));
  await one.clock.advance(RESTART_MS);
  await settle();
  const [, kept, fresh] = one.threads.all;
  assert.equal(new Map([...fresh!.services].sort()), new Map([...kept!.services].sort()));
  assert.equal(new Map([...fresh!.frontends].sort()), new Map([...kept!.frontends].sort()));
  assert.equal([fresh!.inside, fresh!.listens], [kept!.inside, kept!.listens]);
  assert.is(fresh!.listens.size, 8);
  assert.equal(one.backend.health(), { healthy: true });
});

test('threads that cannot be started fail the sync, and are started by the next one, told where inside is', async () => {
  const one = stage();
  one.threads.failure = Object.assign(new Error('no more threads'), { code: 'KP_THREAD' });
  assert.is((await failure(one.sync(full([WEB])))).code, 'KP_THREAD');
  await one.sync(full([WEB]));
  assert.ok(one.threads.alive.every(({ inside, services }) => inside.length > 0 && services.has(KEY)));
});

test('directly, Services are listened on one by one, and no table is made', async () => {
  const one = stage({ way: 'direct' });
  one.threads.refuse = ({ port }) => (port < 1024 ? 'EACCES' : undefined);
  const { operations, totals } = await one.sync(full([WEB]));
  assert.ok(operations > 0);
  assert.equal(totals, { services: 1, listeners: 4 });
  assert.ok(ports(one)[1]!.includes('127.96.0.10:20080'));
  assert.is((await one.sync(full([WEB]))).operations, 0);
  assert.equal([...one.kernel.state.tables.keys()], []);
  assert.equal(await one.backend.check('IPv4'), { intact: true });
  one.threads.all[0]!.crash();
  await one.clock.advance(RESTART_MS);
  await settle();
  assert.ok(one.threads.all[2]!.services.has(KEY));
  assert.equal(ports(one)[0]!.sort(), ports(one)[1]!.sort());
});

test('what only its author can put right is an event on the Service, either way', async () => {
  const port = servicePort({ protocol: 'SCTP', annotations: { [PROXY_PROTOCOL_ANNOTATION]: 'yes' } });
  for (const way of ['redirect', 'direct'] as const) {
    const one = stage({ way });
    await one.sync(full([port, WEB]));
    assert.equal(one.warnings, ['default/web InvalidProxyProtocol', 'default/web UnsupportedProtocol']);
  }
});

test('closed, threads end and metrics go, and the table stays', async () => {
  const one = stage();
  await one.sync(full([WEB]));
  assert.equal(await one.read('userspace_open_connections'), []);
  assert.ok(one.metrics.size > 0);
  const before = one.kernel.dump();
  await one.end();
  assert.equal(
    one.threads.all.map(({ told }) => told.at(-1)),
    ['close', 'close'],
  );
  assert.equal([one.threads.alive.length, one.metrics.size, one.clock.pending()], [0, 0, 0]);
  assert.is(one.kernel.dump(), before);
});

test('once another backend has taken over, the table goes before the threads, and what never synced removes nothing', async () => {
  const state = createFakeState();
  const idle = stage({}, state);
  const one = stage({}, state);
  await one.sync(full([WEB]));
  await idle.backend.close();
  assert.match(one.kernel.dump(), TABLE);
  const alive: number[] = [];
  beforeCommits(one, () => alive.push(one.threads.alive.length));
  one.threads.all[0]!.occupy(2);
  const closing = one.backend.close();
  await one.clock.advance(2_000);
  assert.is(one.threads.alive.length, 2);
  one.threads.all[0]!.occupy(0);
  await one.clock.advance(100);
  await closing;
  assert.ok(alive.length > 0 && alive.every((count) => count === 2), `${alive}`);
  assert.not.match(one.kernel.dump(), TABLE);
  assert.is(one.threads.alive.length, 0);
});

test('connections that do not end keep it from closing for three seconds', async () => {
  const one = stage();
  await one.sync(full([WEB]));
  one.threads.all[1]!.occupy(1);
  const closing = one.backend.close();
  await one.clock.advance(2_999);
  assert.is(one.threads.alive.length, 2);
  await one.clock.advance(1);
  await closing;
  assert.is(one.threads.alive.length, 0);
});

test('an address that comes back is listened on again, though another one could not be had meanwhile', async () => {
  const one = stage();
  await one.sync(full([WEB]));
  const before = ports(one);
  one.threads.refuse = ({ ip }) => (ip === '192.168.60.10' ? 'EADDRNOTAVAIL' : undefined);
  await failure(one.sync(partial([], [], { ...NODE, nodeIPs: ['192.168.60.10'] })));
  await one.sync(full([WEB], NODE));
  assert.equal(ports(one), before);
});

test("UDP flows are right that lead to its listeners; without rights they are nobody else's business", async () => {
  const one = stage();
  assert.equal(one.backend.answersAt?.('IPv4'), []);
  await one.sync(full([WEB]));
  assert.equal(
    one.backend.answersAt?.('IPv4'),
    [40002, 40004].map((port) => ({ ip: '192.168.50.10', port })),
  );
  const { usesConntrack, answersAt } = stage({ way: 'direct' }).backend;
  assert.equal([usesConntrack, answersAt], [undefined, undefined]);
});

test('listeners have the ports that were asked for, or the sync fails and says what to do', async () => {
  const options = parseOptions({ threads: 2, firstPort: 9400 });
  const one = stage({ options, freePort: async () => assert.unreachable() as never });
  await one.sync(full([WEB]));
  assert.equal(
    ports(one)[0],
    [9400, 9401, 9402, 9403].map((port) => `192.168.50.10:${port}`),
  );
  assert.equal(one.log.at('warn'), []);
  await one.sync(partial([servicePort({ name: 'np', clusterIP: '10.96.0.12', nodePort: 9403 })]));
  assert.match(one.log.at('warn')[0]!.message, /node port is one of the ports of this backend/);
  const other = stage({ options });
  other.threads.refuse = ({ port }) => (port === 9401 ? 'EADDRINUSE' : undefined);
  assert.match((await failure(other.sync(full([WEB])))).message, /cannot listen .*; choose another firstPort/);
});

test.run();
