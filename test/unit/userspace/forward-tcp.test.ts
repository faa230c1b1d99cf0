/** TCP through an engine: what arrives where, and how connections begin and end. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { EngineUpdate, ForwardedService } from '../../../plugins/userspace/forward/messages.ts';
import { fakeClock } from '../sync/fake-clock.ts';
import {
  ask,
  type Client,
  closedPort,
  connect,
  endpoint,
  listener,
  named,
  noSocketFacts,
  service,
  stalled,
  until,
  type World,
  world,
} from './forward-world.ts';

const test = suite('forward tcp');
const KEY = service().key;
const cleanups: (() => unknown)[] = [];

test.after.each(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

function serve(made: World, rest: Partial<ForwardedService>): number {
  cleanups.push(() => made.engine.close(0));
  made.engine.update({ upsert: [service(rest)], listen: { open: [listener()] } });
  return made.port('web');
}

function after<T extends { close(): void }>(server: T): T {
  cleanups.push(() => server.close());
  return server;
}

function failures(made: World) {
  const { failures: counts } = made.engine.statistics().services.get(KEY)!;
  return Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
}

test('bytes go both ways, in any amount', async () => {
  const echo = after(await endpoint((socket) => socket.pipe(socket)));
  const made = world();
  const port = serve(made, { cluster: [echo] });
  const client = connect(port);
  const sent = Buffer.alloc(3_000_000, 'abcdefghijk');
  client.socket.end(sent);
  await until('all came back', () => client.outcome() === 'end');
  assert.ok(Buffer.from(client.received()).equals(sent), 'the same bytes');
  await until('it is closed', () => made.engine.statistics().openConnections === 0);
  const { bytesIn, bytesOut, connections, open, dials } = made.engine.statistics().services.get(KEY)!;
  assert.equal([bytesIn, bytesOut, connections, open, dials], [3_000_000, 3_000_000, 1, 0, 1]);
});

test('what a client says before its endpoint has answered is not lost', async () => {
  const server = after(await endpoint());
  const gone = await closedPort();
  const port = serve(world(), { cluster: [gone, server] });
  const client = connect(port);
  client.socket.write('early');
  await until('the endpoint has it', () => server.sockets[0]?.read()?.toString() === 'early');
  client.socket.destroy();
});

test('endpoints take turns', async () => {
  const [one, two, three] = [after(await named('1')), after(await named('2')), after(await named('3'))];
  const port = serve(world(), { cluster: [one, two, three] });
  const answers: string[] = [];
  for (let index = 0; index < 6; index++) answers.push(await ask(port));
  assert.equal(answers.join(''), '123123');
});

test('a client that has ended its side still gets the answer, and so the reverse', async () => {
  const server = after(await endpoint());
  const port = serve(world(), { cluster: [server] });
  const client = connect(port);
  client.socket.end('question');
  await until('the endpoint sees the end', () => server.sockets[0]?.read()?.toString() === 'question');
  let isEnded = false;
  server.sockets[0]!.on('end', () => {
    isEnded = true;
  }).resume();
  await until('the endpoint sees the end', () => isEnded);
  assert.equal(client.outcome(), undefined);
  server.sockets[0]!.end('answer');
  await until('the answer is complete', () => client.outcome() === 'end');
  assert.equal(client.received(), 'answer');

  const second = connect(port);
  await until('connected', () => server.sockets.length === 2);
  server.sockets[1]!.end('greeting');
  await until('the greeting is complete', () => second.outcome() === 'end');
  second.socket.write('still here');
  await until('the endpoint hears', () => server.sockets[1]!.read()?.toString() === 'still here');
  second.socket.destroy();
});

test('an endpoint that dies in the middle resets its client', async () => {
  const server = after(await endpoint((socket) => socket.write('half of')));
  const made = world();
  const port = serve(made, { cluster: [server] });
  const client = connect(port);
  await until('some has come', () => client.received() === 'half of');
  server.sockets[0]!.resetAndDestroy();
  await until('it broke off', () => client.outcome() !== undefined);
  assert.is(client.outcome(), 'ECONNRESET');
  assert.equal(failures(made), { endpoint_reset: 1 });
});

test('a client that resets has its endpoint reset', async () => {
  const errors: (string | undefined)[] = [];
  const server = after(
    await endpoint((socket) => socket.resume().on('error', (error: NodeJS.ErrnoException) => errors.push(error.code))),
  );
  const made = world();
  const port = serve(made, { cluster: [server] });
  const client = connect(port);
  client.socket.write('x');
  await until('it is open', () => server.sockets.length === 1 && server.sockets[0]!.bytesRead === 1);
  client.socket.resetAndDestroy();
  await until('the endpoint knows', () => errors.length === 1);
  assert.equal(errors, ['ECONNRESET']);
  assert.equal(failures(made), { client_reset: 1 });
});

test('a reader that stops stops the writer, and gets everything in the end', async () => {
  const total = 64 * 1024 * 1024;
  const server = after(await endpoint());
  const made = world();
  const port = serve(made, { cluster: [server] });
  const client = connect(port);
  client.socket.pause();
  await until('connected', () => server.sockets.length === 1);
  server.sockets[0]!.end(Buffer.alloc(total));
  const passed = () => made.engine.statistics().services.get(KEY)!.bytesOut;
  let last = -1;
  // Kernel buffers take some megabytes; then nothing moves.
  for (let quiet = 0; quiet < 20; ) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    quiet = passed() === last && last > 0 ? quiet + 1 : 0;
    last = passed();
  }
  assert.ok(last < total / 2, `${last} bytes were taken from the endpoint`);
  let received = 0;
  client.socket.removeAllListeners('data');
  client.socket.on('data', (chunk) => {
    received += chunk.length;
  });
  client.socket.resume();
  await until('all has come', () => client.outcome() === 'end');
  assert.is(received, total);
});

test('slow readers at the same time get each its own bytes', async () => {
  const texts = ['abc', 'defg', 'hijkl'].map((text) => Buffer.alloc(12_000_000, text));
  const server = after(await endpoint((socket) => socket.end(texts[server.sockets.length - 1]!)));
  const port = serve(world(), { cluster: [server] });
  const clients: Client[] = [];
  for (let index = 0; index < texts.length; index++) {
    const client = connect(port);
    client.socket.pause();
    clients.push(client);
    await until('its turn came', () => server.sockets.length === index + 1);
  }
  for (const { socket } of clients) socket.resume();
  await until('all has come', () => clients.every((client) => client.outcome() === 'end'));
  assert.equal(
    clients.map((client, index) => client.received() === texts[index]!.toString()),
    [true, true, true],
  );
});

test('a client is offered the next endpoint when the one that it waits for goes, and reset when the Service does', async () => {
  const [silent, server] = [after(await stalled()), after(await named('alive'))];
  const clock = fakeClock();
  const made = world({ graceSeconds: 0 }, { clock });
  const port = serve(made, { cluster: [silent] });
  const client = connect(port);
  await until('it dials', () => made.engine.statistics().openConnections === 1);
  made.engine.update({ upsert: [service({ cluster: [server] })] });
  await until('it is served', () => client.received() === 'alive');
  await clock.advance(4_000);
  assert.is(server.sockets.length, 1);
  made.engine.update({ upsert: [service({ cluster: [silent] })] });
  const other = connect(port);
  await until('it dials', () => made.engine.statistics().openConnections === 1);
  made.engine.update({ remove: [service().key] });
  await until('it is reset', () => other.outcome() === 'ECONNRESET');
});

test('of many clients at a time none meets the endpoint twice that has refused it', async () => {
  const server = after(await named('alive'));
  const dead = await Promise.all([closedPort(), closedPort(), closedPort()]);
  for (const affinitySeconds of [0, 60]) {
    const port = serve(world(), { cluster: [server, ...dead], affinitySeconds });
    const answers = await Promise.all(Array.from({ length: 60 }, () => ask(port)));
    assert.equal([...new Set(answers)], ['alive']);
  }
});

test('an endpoint that refuses is passed over, and the client sees nothing of it', async () => {
  const gone = await closedPort();
  const server = after(await named('alive'));
  const made = world();
  const port = serve(made, { cluster: [gone, server] });
  assert.equal([await ask(port), await ask(port)], ['alive', 'alive']);
  assert.equal(failures(made), {});
});

test('a client is reset when every endpoint refuses', async () => {
  const made = world();
  const port = serve(made, { cluster: [await closedPort(), await closedPort()] });
  assert.is(await ask(port), 'ECONNRESET');
  assert.equal(failures(made), { dial: 1 });
});

test('an endpoint that does not answer is given up after 0.25, 0.5, 1 and 2 seconds', async () => {
  const silent = after(await stalled());
  const clock = fakeClock();
  const made = world({}, { clock });
  const port = serve(made, { cluster: [silent] });
  const client = connect(port);
  await until('it dials', () => made.engine.statistics().openConnections === 1);
  await clock.advance(250 + 500 + 1000 + 1999);
  assert.is(made.engine.statistics().openConnections, 1);
  await clock.advance(1);
  assert.is(made.engine.statistics().openConnections, 0);
  await until('the client knows', () => client.outcome() !== undefined);
  assert.is(client.outcome(), 'ECONNRESET');
  assert.equal(failures(made), { dial: 1 });
});

test('after an endpoint that does not answer comes the next', async () => {
  const [silent, server] = [after(await stalled()), after(await named('alive'))];
  const clock = fakeClock();
  const made = world({}, { clock });
  const port = serve(made, { cluster: [silent, server] });
  const client = connect(port);
  await until('it dials', () => made.engine.statistics().openConnections === 1);
  await clock.advance(249);
  assert.is(client.received(), '');
  await clock.advance(1);
  await until('the next one answers', () => client.outcome() === 'end');
  assert.is(client.received(), 'alive');
  client.socket.end();
  const { dials, dialSeconds, dialBuckets } = made.engine.statistics().services.get(KEY)!;
  assert.equal([dials, dialSeconds, dialBuckets[8]], [1, 0.25, 1]);
});

test('a connection without a byte for as long as may be is reset', async () => {
  const server = after(await endpoint((socket) => socket.pipe(socket)));
  const clock = fakeClock();
  const made = world({ idleSeconds: 100 }, { clock });
  const port = serve(made, { cluster: [server] });
  const client = connect(port);
  await until('it is open', () => made.engine.statistics().services.get(KEY)?.dials === 1);
  await clock.advance(100_000);
  assert.is(made.engine.statistics().openConnections, 1);
  client.socket.write('x');
  await until('it came back', () => client.received() === 'x');
  await clock.advance(100_000);
  assert.is(made.engine.statistics().openConnections, 1);
  await clock.advance(25_000);
  await until('it is reset', () => client.outcome() === 'ECONNRESET');
  assert.equal(failures(made), { idle: 1 });
});

test('a client that ended its side and was then reset is noticed, though nothing is read there any more', async () => {
  let isEnded = false;
  const onEnd = (): void => {
    isEnded = true;
  };
  const server = after(await endpoint((socket) => socket.resume().on('end', onEnd)));
  const clock = fakeClock();
  const made = world({}, { clock });
  const port = serve(made, { cluster: [server] });
  const client = connect(port);
  client.socket.end('x');
  await until('its end arrived', () => isEnded);
  await clock.advance(30_000);
  assert.is(made.engine.statistics().openConnections, 1);
  client.socket.resetAndDestroy();
  await until('it is gone', () => client.socket.destroyed);
  await clock.advance(30_000);
  assert.is(made.engine.statistics().openConnections, 0);
  assert.equal(failures(made), { client_reset: 1 });
});

test('without endpoints a client is reset', async () => {
  const made = world();
  const port = serve(made, {});
  assert.is(await ask(port), 'ECONNRESET');
  assert.equal(failures(made), { no_endpoint: 1 });
});

test('beyond the bound clients are reset at once, and those before go on', async () => {
  const server = after(await endpoint((socket) => socket.pipe(socket)));
  const made = world({ maxConnections: 2 });
  const port = serve(made, { cluster: [server] });
  const [one, two] = [connect(port), connect(port)];
  await until('both are open', () => server.sockets.length === 2);
  assert.is(await ask(port), 'ECONNRESET');
  assert.is(await ask(port), 'ECONNRESET');
  one.socket.end('1');
  await until('the first goes on', () => one.outcome() === 'end');
  assert.is(one.received(), '1');
  const again = connect(port);
  again.socket.end('3');
  await until('there is room again', () => again.outcome() !== undefined);
  assert.is(again.received(), '3');
  two.socket.destroy();
  assert.is(made.engine.statistics().overLimit, 2);
  assert.equal(failures(made), { limit: 2 });
  assert.is(made.events.filter(({ event }) => event === 'log').length, 1, 'said once');
});

test('an endpoint that would lead back here is passed over, whatever made it one, and named', async () => {
  const server = after(await endpoint((socket) => socket.end('here')));
  const { port: serverPort } = server;
  const address = { protocol: 'TCP', family: 'IPv4', kind: 'external', service: 'IPv4 other/TCP' } as const;
  const ways: readonly (readonly [string, EngineUpdate])[] = [
    ['an address', { frontends: { set: [{ ...address, ip: '127.0.0.1', port: serverPort }] } }],
    ['a node port', { inside: ['127.0.0.1'], frontends: { set: [{ ...address, ip: '', port: serverPort }] } }],
  ];
  for (const [what, update] of ways) {
    const made = world();
    const port = serve(made, { cluster: [server] });
    assert.is(await ask(port), 'here');
    made.engine.update(update);
    assert.is(await ask(port), 'ECONNRESET', what);
    assert.equal(failures(made), { dial: 1 });
    assert.match(JSON.stringify(made.events.filter(({ event }) => event === 'log')), `127.0.0.1 port ${serverPort}`);
  }
  // A node port's number at an address of somebody else's is no node port.
  const made = world();
  const port = serve(made, { cluster: [server] });
  made.engine.update({ frontends: { set: [{ ...address, ip: '', port: serverPort }] } });
  assert.is(await ask(port), 'here');
  // And what it listens on itself.
  made.engine.update({ upsert: [service({ cluster: [{ ip: '127.0.0.1', port }] })] });
  assert.is(await ask(port), 'ECONNRESET');
  assert.equal(failures(made), { dial: 1 });
});

test('the endpoint learns the client from a PROXY header, before its bytes', async () => {
  const server = after(await endpoint());
  const made = world();
  const port = serve(made, { cluster: [server], proxyProtocol: true });
  const client = connect(port);
  client.socket.write('hello');
  await until('it came', () => (server.sockets[0]?.readableLength ?? 0) === 33);
  const bytes = server.sockets[0]!.read() as Buffer;
  const from = client.socket.localPort!;
  assert.is(bytes.subarray(0, 16).toString('hex'), '0d0a0d0a000d0a515549540a2111000c');
  assert.is(bytes.subarray(16, 24).toString('hex'), '7f0000017f000001');
  assert.equal([bytes.readUInt16BE(24), bytes.readUInt16BE(26)], [from, port]);
  assert.is(bytes.subarray(28).toString(), 'hello');
  client.socket.destroy();
});

test('the original destination says which service port serves, and a stray is reset', async () => {
  const [cluster, node] = [after(await named('cluster IP')), after(await named('node port'))];
  const originals = [
    { ip: '10.96.0.10', port: 80 },
    { ip: '192.0.2.7', port: 30080 },
    { ip: '10.96.0.10', port: 81 },
    undefined,
  ];
  const made = world({}, { sockets: { ...noSocketFacts, originalDestination: () => originals.shift() } });
  cleanups.push(() => made.engine.close(0));
  made.engine.update({
    upsert: [service({ key: 'one', cluster: [cluster] }), service({ key: 'two', cluster: [node] })],
    frontends: {
      set: [
        { protocol: 'TCP', family: 'IPv4', ip: '10.96.0.10', port: 80, kind: 'clusterIP', service: 'one' },
        { protocol: 'TCP', family: 'IPv4', ip: '', port: 30080, kind: 'external', service: 'two' },
      ],
    },
    listen: { open: [listener({ serves: undefined })] },
  });
  const answers: string[] = [];
  for (let index = 0; index < 4; index++) answers.push(await ask(made.port('web')));
  assert.equal(answers, ['cluster IP', 'node port', 'ECONNRESET', 'ECONNRESET']);
  assert.is(made.engine.statistics().strays, 2);
});

test('what cannot be asked of the kernel is refused, and said', async () => {
  const sockets = {
    ...noSocketFacts,
    originalDestination: () => {
      throw new Error('no such thing');
    },
  };
  const made = world({}, { sockets });
  cleanups.push(() => made.engine.close(0));
  made.engine.update({ listen: { open: [listener({ serves: undefined })] } });
  assert.is(await ask(made.port('web')), 'ECONNRESET');
  assert.ok(JSON.stringify(made.events).includes('no such thing'));
});

test('a VIP with source ranges is for those inside of them', async () => {
  const server = after(await named('in'));
  const made = world();
  cleanups.push(() => made.engine.close(0));
  made.engine.update({
    upsert: [service({ cluster: [server], sourceRanges: ['127.0.0.8/29', '127.0.1.1/32'] })],
    listen: { open: [listener({ serves: { service: KEY, kind: 'loadBalancerVIP' } })] },
  });
  const port = made.port('web');
  assert.is(await ask(port, '127.0.0.1', '127.0.0.9'), 'in');
  assert.is(await ask(port, '127.0.0.1', '127.0.0.1'), 'ECONNRESET');
  assert.equal(failures(made), { source_range: 1 });
});

test('policy Local is for clients outside, told by their address', async () => {
  const [cluster, local] = [after(await named('cluster')), after(await named('local'))];
  const made = world();
  cleanups.push(() => made.engine.close(0));
  made.engine.update({
    inside: ['127.0.0.1', '127.1.0.0/16'],
    upsert: [service({ cluster: [cluster], local: [local], externalPolicy: 'Local' })],
    listen: { open: [listener({ serves: { service: KEY, kind: 'external' }, clients: 'by address' })] },
  });
  const port = made.port('web');
  assert.is(await ask(port, '127.0.0.1', '127.0.0.1'), 'cluster');
  assert.is(await ask(port, '127.0.0.1', '127.1.2.3'), 'cluster');
  assert.is(await ask(port, '127.0.0.1', '127.2.0.1'), 'local');
});

test('IPv6 is forwarded as IPv4 is', async () => {
  const server = after(await endpoint((socket) => socket.pipe(socket), '::1'));
  const made = world();
  cleanups.push(() => made.engine.close(0));
  made.engine.update({ upsert: [service({ cluster: [server] })], listen: { open: [listener({ ip: '::1' })] } });
  const client = connect(made.port('web'), '::1');
  client.socket.end('six');
  await until('it came back', () => client.outcome() !== undefined);
  assert.is(client.received(), 'six');
});

test('a port that somebody else has is told', async () => {
  const server = after(await endpoint());
  const made = world();
  cleanups.push(() => made.engine.close(0));
  made.engine.update({ listen: { open: [listener({ port: server.port })] } });
  const [event] = made.events;
  assert.equal([event?.event, event?.event === 'listen failed' && event.code], ['listen failed', 'EADDRINUSE']);
});

test('a port is free for another listener that comes with the end of the first, and with one that goes elsewhere', async () => {
  const [one, two] = [after(await named('1')), after(await named('2'))];
  const made = world();
  cleanups.push(() => made.engine.close(0));
  const first = listener({ serves: { service: 'one', kind: 'clusterIP' } });
  made.engine.update({
    upsert: [service({ key: 'one', cluster: [one] }), service({ key: 'two', cluster: [two] })],
    listen: { open: [first] },
  });
  const port = made.port('web');
  const second = listener({ id: 'second', port, serves: { service: 'two', kind: 'clusterIP' } });
  made.engine.update({ listen: { open: [second], close: ['web'] } });
  assert.is(await ask(port), '2');
  made.engine.update({
    listen: {
      open: [
        { ...first, port },
        { ...second, port: 0 },
      ],
    },
  });
  assert.is(await ask(port), '1');
  assert.equal(
    made.events.map(({ event }) => event),
    ['listening', 'listening', 'listening', 'listening'],
  );
});

test('a listener that is asked for again stays as it is, and says so; one that failed is tried again', async () => {
  const server = after(await endpoint((socket) => socket.pipe(socket)));
  const taken = after(await endpoint());
  const made = world();
  cleanups.push(() => made.engine.close(0));
  const both = [listener(), listener({ id: 'other', port: taken.port })];
  made.engine.update({ upsert: [service({ cluster: [server] })], listen: { open: both } });
  const port = made.port('web');
  taken.close();
  await until('the other port is free', () => {
    made.engine.update({ listen: { open: both } });
    return made.events.at(-1)?.event === 'listening';
  });
  const ports = made.events.flatMap((event) => (event.event === 'listening' && event.id === 'web' ? [event.port] : []));
  assert.ok(ports.length > 1);
  assert.equal([...new Set(ports)], [port]);
  const client = connect(port);
  client.socket.end('x');
  await until('it came back', () => client.received() === 'x');
});

test('a listener that is closed takes nobody any more; its connections, and other listeners, go on', async () => {
  const server = after(await endpoint((socket) => socket.pipe(socket)));
  const made = world();
  cleanups.push(() => made.engine.close(0));
  made.engine.update({
    upsert: [service({ cluster: [server] })],
    listen: { open: [listener(), listener({ id: 'other' })] },
  });
  const client = connect(made.port('web'));
  await until('it is open', () => server.sockets.length === 1);
  made.engine.update({ listen: { close: ['web'] } });
  assert.is(await ask(made.port('web')), 'ECONNREFUSED');
  client.socket.end('goes on');
  await until('it came back', () => client.outcome() === 'end');
  assert.is(client.received(), 'goes on');
  const other = connect(made.port('other'));
  other.socket.end('other');
  await until('it came back', () => other.outcome() === 'end');
  assert.is(other.received(), 'other');
});

test.run();
