/** UDP through an engine: sessions, how long they last, and how they end. */
import type dgram from 'node:dgram';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ArrivingFlow } from '../../../core/backend.ts';
import type { EngineLimits, ForwardedService } from '../../../plugins/userspace/forward/messages.ts';
import { type FakeClock, fakeClock } from '../sync/fake-clock.ts';
import {
  listener,
  noSocketFacts,
  service,
  type UDPSocket,
  udpSocket,
  until,
  type World,
  world,
} from './forward-world.ts';

const test = suite('forward udp');
const KEY = 'IPv4 default/dns:dns/UDP';
const cleanups: (() => unknown)[] = [];

interface Stage {
  readonly made: World;
  readonly clock: FakeClock;
  readonly port: number;
}

test.after.each(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

function dns(rest: Partial<ForwardedService>): ForwardedService {
  return service({ key: KEY, protocol: 'UDP', ...rest });
}

const DNS = listener({ id: 'dns', protocol: 'UDP', serves: { service: KEY, kind: 'clusterIP' } });

function stage(rest: Partial<ForwardedService>, limits: Partial<EngineLimits> = {}): Stage {
  const clock = fakeClock();
  const made = world(limits, { clock });
  made.engine.update({ upsert: [dns(rest)], listen: { open: [DNS] } });
  cleanups.push(() => made.engine.close(0));
  return { made, clock, port: made.port('dns') };
}

async function socket(answer?: (text: string) => string | undefined, address?: string): Promise<UDPSocket> {
  const made = await udpSocket(answer, address);
  cleanups.push(() => new Promise<void>((resolve) => made.socket.close(resolve)));
  return made;
}

const at = ({ port }: UDPSocket) => ({ ip: '127.0.0.1', port });
const sessions = ({ made }: Stage) => made.engine.statistics().sessions;

async function ask(client: UDPSocket, text: string, port: number, host = '127.0.0.1'): Promise<string> {
  const before = client.received.length;
  (client.socket as dgram.Socket).send(text, port, host);
  await until(`${text} is answered`, () => client.received.length > before);
  const { text: answer, port: from } = client.received[before]!;
  assert.is(from, port, 'the answer comes from where the question went');
  return answer;
}

test('a client stays with one endpoint while it sends, and gets its answers from the Service', async () => {
  const one = await socket((text) => `1${text}`);
  const two = await socket((text) => `2${text}`);
  const made = stage({ cluster: [at(one), at(two)] });
  const [client, other] = [await socket(), await socket()];
  assert.equal([await ask(client, 'a', made.port), await ask(client, 'b', made.port)], ['1a', '1b']);
  assert.is(await ask(other, 'c', made.port), '2c');
  assert.is(sessions(made), 2);
  const { connections, bytesIn, bytesOut, dials } = made.made.engine.statistics().services.get(KEY)!;
  assert.equal([connections, bytesIn, bytesOut, dials], [2, 3, 6, 2]);
});

test('a session that was answered lasts as long again after each datagram', async () => {
  const server = await socket((text) => text);
  const made = stage({ cluster: [at(server)] });
  const client = await socket();
  await ask(client, 'a', made.port);
  await made.clock.advance(119_999);
  assert.is(sessions(made), 1);
  await ask(client, 'b', made.port);
  await made.clock.advance(119_999);
  assert.is(sessions(made), 1);
  await made.clock.advance(1);
  assert.is(sessions(made), 0);
  assert.is(await ask(client, 'c', made.port), 'c');
});

test('a session that was answered once lasts as long after a datagram that was not', async () => {
  const server = await socket((text) => (text === 'answer' ? text : undefined));
  const made = stage({ cluster: [at(server)] });
  const client = await socket();
  await ask(client, 'answer', made.port);
  client.socket.send('x', made.port, '127.0.0.1');
  await until('it arrived', () => server.received.length === 2);
  await made.clock.advance(119_999);
  assert.is(sessions(made), 1);
});

test('datagrams that come at once are not all lost to an endpoint that does not listen', async () => {
  const gone = await udpSocket();
  await new Promise<void>((resolve) => gone.socket.close(resolve));
  const server = await socket((text) => text);
  const made = stage({ cluster: [at(gone), at(server)] });
  const client = await socket();
  for (const text of ['1', '2', '3']) client.socket.send(text, made.port, '127.0.0.1');
  await until('the others are answered', () => client.received.length === 2);
  assert.equal(
    client.received.map(({ text }) => text),
    ['2', '3'],
  );
});

test('an empty datagram is one, too', async () => {
  const server = await socket((text) => `${text.length}`);
  const made = stage({ cluster: [at(server)] });
  assert.is(await ask(await socket(), '', made.port), '0');
});

test('a session that was never answered ends sooner', async () => {
  const server = await socket();
  const made = stage({ cluster: [at(server)] });
  const client = await socket();
  client.socket.send('x', made.port, '127.0.0.1');
  await until('it arrived', () => server.received.length === 1);
  await made.clock.advance(29_999);
  assert.is(sessions(made), 1);
  await made.clock.advance(1);
  assert.is(sessions(made), 0);
});

test('an endpoint that does not listen ends the session, and the next datagram goes elsewhere', async () => {
  const gone = await udpSocket();
  await new Promise<void>((resolve) => gone.socket.close(resolve));
  const server = await socket((text) => text);
  const made = stage({ cluster: [at(gone), at(server)], affinitySeconds: 100 });
  const client = await socket();
  client.socket.send('lost', made.port, '127.0.0.1');
  await until('it is counted', () => made.made.engine.statistics().services.get(KEY)?.failures.dial === 1);
  assert.is(sessions(made), 0);
  assert.is(await ask(client, 'again', made.port), 'again');
});

test('sessions of an endpoint that was removed end at once, unless they are to be kept', async () => {
  const one = await socket((text) => `1${text}`);
  const two = await socket((text) => `2${text}`);
  const made = stage({ cluster: [at(one)] });
  const client = await socket();
  assert.is(await ask(client, 'a', made.port), '1a');
  made.made.engine.update({ upsert: [dns({ cluster: [at(two)], keepsSessions: [at(one)] })] });
  assert.is(await ask(client, 'b', made.port), '1b');
  made.made.engine.update({ upsert: [dns({ cluster: [at(two)] })] });
  assert.is(sessions(made), 0);
  assert.is(await ask(client, 'c', made.port), '2c');
  made.made.engine.update({ remove: [KEY] });
  assert.is(sessions(made), 0);
});

test('without endpoints datagrams are dropped', async () => {
  const made = stage({});
  const client = await socket();
  client.socket.send('x', made.port, '127.0.0.1');
  await until('it is counted', () => made.made.engine.statistics().services.get(KEY)?.failures.no_endpoint === 1);
  assert.is(sessions(made), 0);
});

test('beyond the bound the session that was quiet longest ends', async () => {
  const server = await socket((text) => text);
  const made = stage({ cluster: [at(server)] }, { maxSessions: 2 });
  const [one, two, three] = [await socket(), await socket(), await socket()];
  await ask(one, '1', made.port);
  await made.clock.advance(10);
  await ask(two, '2', made.port);
  await made.clock.advance(10);
  await ask(one, '1', made.port);
  await made.clock.advance(10);
  await ask(three, '3', made.port);
  assert.is(sessions(made), 2);
  const from = () => server.received.map(({ port }) => port);
  const before = from();
  await ask(one, '1', made.port);
  assert.is(from().at(-1), before[0], 'the first kept its session');
  await ask(two, '2', made.port);
  assert.is.not(from().at(-1), before[1], 'the second has another');
  assert.is(made.made.engine.statistics().overLimit, 2);
});

test('the original destination is asked once for each session', async () => {
  const server = await socket((text) => text);
  const asked: ArrivingFlow[] = [];
  const originalUDPDestination = (flow: ArrivingFlow) => {
    asked.push(flow);
    return { ip: '10.96.0.10', port: 53 };
  };
  const made = world({}, { sockets: { ...noSocketFacts, originalUDPDestination } });
  cleanups.push(() => made.engine.close(0));
  made.engine.update({
    upsert: [dns({ cluster: [at(server)] })],
    frontends: {
      set: [{ protocol: 'UDP', family: 'IPv4', ip: '10.96.0.10', port: 53, kind: 'clusterIP', service: KEY }],
    },
    listen: { open: [{ ...DNS, serves: undefined }] },
  });
  const client = await socket();
  const port = made.port('dns');
  assert.equal([await ask(client, 'a', port), await ask(client, 'b', port)], ['a', 'b']);
  assert.equal(asked, [{ family: 'IPv4', ip: '127.0.0.1', port, clientIP: '127.0.0.1', clientPort: client.port }]);
});

test("a client that comes back for another Service, and one whose address is another Service's, are served by that one", async () => {
  const [one, two] = [await socket((text) => `one ${text}`), await socket((text) => `two ${text}`)];
  const address = { protocol: 'UDP', family: 'IPv4', port: 53, kind: 'clusterIP' } as const;
  const [first, second] = [
    { ...address, ip: '10.96.0.1', service: 'IPv4 one' },
    { ...address, ip: '10.96.0.2', service: 'IPv4 two' },
  ];
  let going = first.ip;
  let asked = 0;
  const originalUDPDestination = () => {
    asked++;
    return { ip: going, port: 53 };
  };
  const clock = fakeClock();
  const made = world({}, { clock, sockets: { ...noSocketFacts, originalUDPDestination } });
  cleanups.push(() => made.engine.close(0));
  made.engine.update({
    upsert: [dns({ key: 'IPv4 one', cluster: [at(one)] }), dns({ key: 'IPv4 two', cluster: [at(two)] })],
    frontends: { set: [first, second] },
    listen: { open: [{ ...DNS, serves: undefined }] },
  });
  const client = await socket();
  const port = made.port('dns');
  assert.is(await ask(client, 'a', port), 'one a');
  await clock.advance(4_000);
  going = second.ip;
  assert.is(await ask(client, 'b', port), 'one b', 'the kernel has not forgotten a client by then');
  await clock.advance(6_000);
  assert.is(await ask(client, 'c', port), 'two c');
  assert.is(asked, 3);
  made.engine.update({ frontends: { set: [{ ...second, service: 'IPv4 one' }] } });
  assert.is(await ask(client, 'd', port), 'one d');
  made.engine.update({ frontends: { set: [{ ...address, ip: '10.96.0.3', service: 'IPv4 two' }] } });
  assert.is(await ask(client, 'e', port), 'one e');
  assert.equal([asked, made.engine.statistics().sessions], [4, 1], 'asked for each session, and after a silence');
});

test('of service ports that went before anybody asked, the last thousands are remembered', async () => {
  const ports = Array.from({ length: 4_100 }, (_, index) => index + 1);
  let asked = 0;
  const originalUDPDestination = () => ({ ip: '10.96.0.10', port: ports[asked++]! });
  const made = world({}, { sockets: { ...noSocketFacts, originalUDPDestination } });
  cleanups.push(() => made.engine.close(0));
  const set = ports.map((port) => {
    return { protocol: 'UDP', family: 'IPv4', ip: '10.96.0.10', port, kind: 'clusterIP', service: `${port}` } as const;
  });
  made.engine.update({
    upsert: ports.map((port) => dns({ key: `${port}` })),
    frontends: { set },
    listen: { open: [{ ...DNS, serves: undefined }] },
  });
  const client = await socket();
  // No more at a time than the socket's buffer holds.
  while (asked < ports.length) {
    const next = Math.min(asked + 50, ports.length);
    for (let sent = asked; sent < next; sent++) client.socket.send('x', made.port('dns'), '127.0.0.1');
    await until('they arrived', () => asked === next);
  }
  made.engine.update({ remove: ports.map(String) });
  const { services, ended } = made.engine.statistics();
  assert.equal([services.size, ended.size, ended.get('5')?.connections], [0, 4_096, 1]);
  assert.is(ended.has('4'), false, 'the first that went');
});

test('IPv6 is forwarded as IPv4 is', async () => {
  const server = await socket((text) => text, '::1');
  const made = world();
  cleanups.push(() => made.engine.close(0));
  made.engine.update({
    upsert: [dns({ cluster: [{ ip: '::1', port: server.port }] })],
    listen: { open: [{ ...DNS, ip: '::1' }] },
  });
  const client = await socket(undefined, '::1');
  assert.is(await ask(client, 'six', made.port('dns'), '::1'), 'six');
});

test('a listener that closes takes its sessions with it', async () => {
  const server = await socket((text) => text);
  const made = stage({ cluster: [at(server)] });
  const client = await socket();
  await ask(client, 'a', made.port);
  made.made.engine.update({ listen: { close: ['dns'] } });
  assert.is(sessions(made), 0);
});

test.run();
