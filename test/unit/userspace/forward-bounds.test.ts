/** Bounds are of all threads together, however the kernel deals clients out to them: engines that share their memory. */
import dgram from 'node:dgram';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createOccupancyMemory, openOccupancy } from '../../../plugins/userspace/forward/occupancy.ts';
import {
  type Client,
  connect,
  endpoint,
  listener,
  service,
  udpSocket,
  until,
  type World,
  world,
} from './forward-world.ts';

const test = suite('forward bounds');
const cleanups: (() => unknown)[] = [];
const UDP_KEY = 'IPv4 default/dns:dns/UDP';

test.after.each(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

interface Threads {
  readonly all: readonly World[];
  readonly memory: SharedArrayBuffer;
  /** Opens one at that engine, and resolves to whether it was taken. */
  connect(thread: number): Promise<{ readonly client: Client; readonly isTaken: boolean }>;
}

async function threads(count: number, maxConnections: number): Promise<Threads> {
  const server = await endpoint((socket) => socket.write('x'));
  cleanups.push(() => server.close());
  const memory = createOccupancyMemory(count);
  const all = Array.from({ length: count }, (_, thread) => {
    const made = world({ maxConnections }, { occupancy: memory, thread });
    cleanups.push(() => made.engine.close(0));
    made.engine.update({ upsert: [service({ cluster: [server] })], listen: { open: [listener()] } });
    return made;
  });
  return {
    all,
    memory,
    async connect(thread) {
      const client = connect(all[thread]!.port('web'));
      cleanups.push(() => client.socket.destroy());
      await until('it is taken or not', () => client.received() !== '' || client.outcome() !== undefined);
      return { client, isTaken: client.received() !== '' };
    },
  };
}

function open({ all }: Threads): readonly number[] {
  return all.map(({ engine }) => engine.statistics().openConnections);
}

test('the last connection that may be is taken, and the next refused, whichever threads have the others', async () => {
  const stage = await threads(3, 5);
  const first = await stage.connect(0);
  for (const thread of [0, 0, 0, 1]) assert.ok((await stage.connect(thread)).isTaken);
  for (const thread of [2, 1, 0]) assert.is((await stage.connect(thread)).isTaken, false);
  assert.equal(open(stage), [4, 1, 0]);
  first.client.socket.resetAndDestroy();
  await until('it has ended', () => open(stage)[0] === 3);
  assert.ok((await stage.connect(2)).isTaken);
  assert.is((await stage.connect(0)).isTaken, false);
  assert.equal(open(stage), [3, 1, 1]);
});

test('a thread that begins has nothing open, whatever the one before it had', async () => {
  const stage = await threads(2, 2);
  for (const thread of [0, 0]) assert.ok((await stage.connect(thread)).isTaken);
  assert.is((await stage.connect(1)).isTaken, false);
  const { connections } = openOccupancy(stage.memory, 0);
  assert.equal([connections.own(), connections.all()], [0, 0]);
  assert.ok((await stage.connect(1)).isTaken);
});

interface Sessions {
  /** Of each engine. */
  sessions(): readonly number[];
  /** A new client sends to that engine; resolves when its datagram has come to the endpoint. */
  send(thread: number): Promise<void>;
}

async function sessions(count: number, maxSessions: number): Promise<Sessions> {
  const server = await udpSocket();
  const close = (socket: dgram.Socket) => () => new Promise<void>((resolve) => socket.close(resolve));
  cleanups.push(close(server.socket));
  const memory = createOccupancyMemory(count);
  const serves = { service: UDP_KEY, kind: 'clusterIP' } as const;
  const all = Array.from({ length: count }, (_, thread) => {
    const made = world({ maxSessions }, { occupancy: memory, thread });
    cleanups.push(() => made.engine.close(0));
    const cluster = [{ ip: '127.0.0.1', port: server.port }];
    made.engine.update({
      upsert: [service({ key: UDP_KEY, protocol: 'UDP', cluster })],
      listen: { open: [listener({ protocol: 'UDP', serves })] },
    });
    return made;
  });
  return {
    sessions: () => all.map(({ engine }) => engine.statistics().sessions),
    async send(thread) {
      const before = server.received.length;
      const client = dgram.createSocket('udp4');
      cleanups.push(close(client));
      client.send('x', all[thread]!.port('web'), '127.0.0.1');
      await until('it came', () => server.received.length > before);
    },
  };
}

test('one thread may have all sessions; one that has none takes one all the same, and the other makes room', async () => {
  const { sessions: open, send } = await sessions(2, 4);
  for (let sent = 0; sent < 6; sent++) await send(0);
  assert.equal(open(), [4, 0]);
  await send(1);
  assert.equal(open(), [4, 1]);
  await send(0);
  assert.equal(open(), [3, 1]);
  await send(1);
  assert.equal(open(), [3, 2]);
  await send(0);
  assert.equal(open(), [2, 2]);
  await send(1);
  assert.equal(open(), [2, 2], 'it has its share');
});

test('sessions are never more than one for each thread beyond what may be, and no thread has none', async () => {
  const { sessions: open, send } = await sessions(3, 6);
  for (let sent = 0; sent < 10; sent++) await send(0);
  for (let sent = 0; sent < 30; sent++) {
    await send(1 + (sent % 2));
    const sum = open().reduce((total, one) => total + one, 0);
    assert.ok(sum >= 6 && sum <= 9, open().join());
  }
  const [first, second, third] = open();
  assert.ok(first! > 0 && second! > 0 && third! > 0, open().join());
});

test.run();
