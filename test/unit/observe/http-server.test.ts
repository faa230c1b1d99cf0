import { EventEmitter } from 'node:events';
import type { Server as HttpServerOfNode } from 'node:http';
import { type Socket as Connection, type ListenOptions, createServer as listener, type Server } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { limitConnections } from '../../../core/observe/http-connections.ts';
import { plain, type Routes, routeTable } from '../../../core/observe/http-reply.ts';
import {
  type BindFailure,
  type BindTarget,
  type HttpServer,
  type HttpServerOptions,
  RETRY_MS,
  startHttpServer,
} from '../../../core/observe/http-server.ts';
import { type FakeClock, fakeClock } from '../sync/fake-clock.ts';
import { type FakeLog, fakeLog } from '../sync/fake-log.ts';
import { ask, dial, eventually, refusal, untilClosed } from './ask.ts';

const FREE: BindTarget = { host: '127.0.0.1', port: 0 };
const closers: (() => Promise<unknown>)[] = [];

const routes: Routes = routeTable({
  '/': { methods: ['GET'], handle: ({ path }) => plain(`below: ${path}`, path === '/' ? 404 : 200) },
  '/any': { handle: ({ method }) => plain(`any ${method}`) },
  '/get': { methods: ['GET'], handle: ({ query }) => plain(`got ${query.get('x') ?? 'nothing'}`) },
  '/echo': { methods: ['PUT'], bodyLimit: 8, handle: async (request) => plain(await request.body()) },
  '/broken': {
    handle() {
      throw new Error('a bug');
    },
  },
  '/never': { handle: () => new Promise(() => {}) },
});

interface Stage {
  readonly server: HttpServer;
  readonly clock: FakeClock;
  readonly log: FakeLog;
  readonly failures: BindFailure[];
  at(): BindTarget;
}

async function start(more: Partial<HttpServerOptions> = {}): Promise<Stage> {
  const clock = fakeClock();
  const log = fakeLog();
  const failures: BindFailure[] = [];
  const server = await startHttpServer({
    name: 'health server',
    flag: '--healthz-bind-address',
    routes,
    target: FREE,
    hardFail: false,
    onBindFailure: (failure) => void failures.push(failure),
    clock,
    log,
    ...more,
  });
  closers.push(async () => {
    const closed = server.close();
    await clock.advance(10_000);
    await closed;
  });
  const at = (): BindTarget => {
    const bound = server.bound();
    if (!bound) throw new Error('not bound');
    return bound;
  };
  return { server, clock, log, failures, at };
}

/** Somebody else's socket. */
async function occupy(host = '127.0.0.1', port = 0): Promise<{ readonly port: number; free(): Promise<void> }> {
  const other: Server = listener();
  await new Promise<void>((resolve, reject) => other.once('error', reject).listen({ host, port }, resolve));
  const address = other.address();
  const free = (): Promise<void> => new Promise((resolve) => other.close(() => resolve()));
  closers.push(free);
  return { port: typeof address === 'object' && address ? address.port : 0, free };
}

const answers = suite('HTTP answers');

answers('come from the route of the path, and of the longest one above it', async () => {
  const { at } = await start();
  assert.is((await ask(at(), '/get?x=1%202')).body, 'got 1 2');
  assert.is((await ask(at(), '/get')).body, 'got nothing');
  assert.is((await ask(at(), '/some/where')).body, 'below: /some/where');
});

answers('have a type that browsers do not guess at, and a length', async () => {
  const { at } = await start();
  const { status, headers } = await ask(at(), '/get');
  assert.is(status, 200);
  assert.is(headers['content-type'], 'text/plain; charset=utf-8');
  assert.is(headers['x-content-type-options'], 'nosniff');
  assert.is(headers['content-length'], '11');
});

answers('to HEAD are those to GET without the body', async () => {
  const { at } = await start();
  const { status, headers, body } = await ask(at(), '/get', { method: 'HEAD' });
  assert.equal([status, headers['content-length'], body], [200, '11', '']);
  assert.is((await ask(at(), '/any', { method: 'PATCH' })).body, 'any PATCH');
});

answers('to another method are 405 and name those that there are', async () => {
  const { at } = await start();
  const { status, headers } = await ask(at(), '/get', { method: 'POST' });
  assert.equal([status, headers.allow], [405, 'GET, HEAD']);
  assert.is((await ask(at(), '/echo')).headers.allow, 'PUT');
});

answers('to a path without a route are 404', async () => {
  const { at } = await start({ routes: routeTable({ '/a': { handle: () => plain('a') } }) });
  for (const path of ['/', '/a/', '/ab', '//a', '/../a', '/%61', '*']) {
    const { status, body } = await ask(at(), path);
    assert.equal([status, body], [404, '404 page not found\n'], path);
  }
});

answers('to the form that proxies get are the same', async () => {
  const { at } = await start();
  assert.is((await ask(at(), 'http://example.org/get?x=y')).body, 'got y');
});

answers('read no more of a body than the route wants', async () => {
  const { at } = await start();
  assert.is((await ask(at(), '/echo', { method: 'PUT', body: '12345678' })).body, '12345678');
  assert.is((await ask(at(), '/echo', { method: 'PUT', body: '123456789' })).status, 413);
  const chunked = { 'transfer-encoding': 'chunked' };
  assert.is((await ask(at(), '/echo', { method: 'PUT', body: 'x'.repeat(100), headers: chunked })).status, 413);
});

answers('to a request with a body that nobody wants end the connection', async () => {
  const { at } = await start();
  const socket = await dial(at());
  socket.write('POST /any HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n');
  const text = await untilClosed(socket);
  assert.match(text, /^HTTP\/1\.1 200 OK\r\n/);
  assert.match(text, /\r\nConnection: close\r\n/);
});

answers('of a route that fails are 500, logged once, and the server goes on', async () => {
  const { at, log } = await start();
  for (let time = 0; time < 3; time++) assert.is((await ask(at(), '/broken')).status, 500);
  assert.is(log.at('error').length, 1);
  assert.is(log.at('error')[0]!.values.path, '/broken');
  assert.is((await ask(at(), '/get')).status, 200);
});

answers('follow each other on one connection', async () => {
  const { at } = await start();
  const socket = await dial(at());
  let text = '';
  socket.on('data', (part: Buffer) => {
    text += part.toString();
  });
  for (const x of ['1', '2']) {
    socket.write(`GET /get?x=${x} HTTP/1.1\r\nHost: a\r\n\r\n`);
    await eventually(`answer ${x}`, () => text.includes(`got ${x}`));
  }
  assert.not.match(text, /Connection: close/);
  socket.destroy();
});

const hostile = suite('HTTP clients that mean no good');

hostile('that never end their headers are cut off, however busy they seem', async () => {
  const { at } = await start({ limits: { headersMs: 100, requestMs: 60_000, checkMs: 20 } });
  const socket = await dial(at());
  socket.write('GET /get HTTP/1.1\r\nHost: a\r\n');
  const drip = setInterval(() => socket.write('X: y\r\n'), 10);
  try {
    assert.match(await untilClosed(socket), /^HTTP\/1\.1 408 /);
  } finally {
    clearInterval(drip);
  }
});

hostile('that say nothing at all are cut off', async () => {
  const { at } = await start({ limits: { headersMs: 100, requestMs: 60_000, checkMs: 20 } });
  await untilClosed(await dial(at()));
});

hostile('that never end a body are cut off', async () => {
  const { at } = await start({
    routes: routeTable({ '/echo': { bodyLimit: 1000, handle: async (request) => plain(await request.body()) } }),
    limits: { headersMs: 100, requestMs: 200, checkMs: 20 },
  });
  const socket = await dial(at());
  socket.write('PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n');
  const drip = setInterval(() => socket.write('x'), 10);
  try {
    await untilClosed(socket);
  } finally {
    clearInterval(drip);
  }
});

hostile('that send no HTTP, or headers without end, are told so and cut off', async () => {
  const { at } = await start();
  const nonsense = await dial(at());
  nonsense.write('\x16\x03\x01 hello\r\n\r\n');
  assert.match(await untilClosed(nonsense), /^HTTP\/1\.1 400 /);
  const large = await dial(at());
  large.write(`GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(10_000)}\r\n\r\n`);
  assert.match(await untilClosed(large), /^HTTP\/1\.1 431 /);
  const noHost = await dial(at());
  noHost.write('GET /get HTTP/1.1\r\n\r\n');
  assert.match(await untilClosed(noHost), /^HTTP\/1\.1 400 /);
});

hostile('that hold all connections keep nobody out: the one that idled longest goes', async () => {
  const { at } = await start({ limits: { connections: 4 } });
  const held: Connection[] = [];
  for (let count = 0; count < 4; count++) held.push(await dial(at()));
  // The first one was last to be of use.
  held[0]!.write('GET /get HTTP/1.1\r\nHost: a\r\n\r\n');
  await new Promise((resolve) => held[0]!.once('data', resolve));
  assert.is((await ask(at(), '/get')).status, 200);
  await untilClosed(held[1]!);
  assert.equal(
    held.map((socket) => socket.destroyed),
    [false, true, false, false],
  );
  held.push(...(await Promise.all(Array.from({ length: 50 }, () => dial(at())))));
  await eventually('no more than four are left', () => held.filter((socket) => !socket.destroyed).length <= 4);
  assert.is((await ask(at(), '/get')).status, 200);
  for (const socket of held) socket.destroy();
});

hostile('that come all at once each make room, before the first is really closed', () => {
  const server = new EventEmitter();
  limitConnections(server as HttpServerOfNode, 2);
  const sockets = Array.from({ length: 5 }, () => Object.assign(new EventEmitter(), { destroyed: false }));
  for (const socket of sockets) {
    const destroy = (): void => {
      socket.destroyed = true;
    };
    server.emit('connection', Object.assign(socket, { destroy }));
  }
  assert.equal(
    sockets.map(({ destroyed }) => destroyed),
    [true, true, true, false, false],
  );
});

hostile('that hold connections with requests under way keep nobody out either', async () => {
  let underWay = 0;
  const never = (): Promise<never> => {
    underWay++;
    return new Promise(() => {});
  };
  const { at } = await start({
    routes: routeTable({ '/never': { handle: never }, '/get': { handle: () => plain('got') } }),
    limits: { connections: 2 },
  });
  const held = await Promise.all([dial(at()), dial(at())]);
  for (const socket of held) socket.write('GET /never HTTP/1.1\r\nHost: a\r\n\r\n');
  await eventually('both requests are under way', () => underWay === 2);
  await eventually(
    'a new one is answered',
    async () => (await ask(at(), '/get').catch(() => undefined))?.status === 200,
  );
  for (const socket of held) socket.destroy();
});

const binding = suite('where HTTP servers listen');

binding('"0.0.0.0" and "::" are every address of both families, any other is just that one', async () => {
  const asked: ListenOptions[] = [];
  const listen = async (_server: Server, options: ListenOptions): Promise<void> => void asked.push(options);
  for (const host of ['0.0.0.0', '::', '127.0.0.1', 'fd00::1']) await start({ target: { host, port: 10256 }, listen });
  assert.equal(asked, [
    { host: '::', port: 10256, ipv6Only: false },
    { host: '::', port: 10256, ipv6Only: false },
    { host: '127.0.0.1', port: 10256 },
    { host: 'fd00::1', port: 10256 },
  ]);
});

binding('every address includes IPv4', async () => {
  const { at } = await start({ target: { host: '::', port: 0 } });
  assert.is((await ask({ host: '127.0.0.1', port: at().port }, '/get')).status, 200);
});

binding('without IPv6 in the kernel every address is every IPv4 address', async () => {
  const asked: ListenOptions[] = [];
  const listen = async (_server: Server, options: ListenOptions): Promise<void> => {
    asked.push(options);
    if (options.host === '::') throw Object.assign(new Error('no IPv6'), { code: 'EAFNOSUPPORT' });
  };
  const { failures } = await start({ target: { host: '::', port: 10256 }, listen });
  assert.equal(asked.at(-1), { host: '0.0.0.0', port: 10256 });
  assert.is(failures.length, 0);
});

binding(
  'an address that is taken is tried again every five seconds, said once, and once more when it works',
  async () => {
    const other = await occupy();
    const { server, clock, log, failures } = await start({ target: { host: '127.0.0.1', port: other.port } });
    assert.is(server.bound(), undefined);
    assert.is(failures.length, 1);
    assert.is(failures[0]!.name, 'health server');
    assert.is(failures[0]!.address, `127.0.0.1:${other.port}`);
    assert.match(failures[0]!.error.message, 'EADDRINUSE');
    for (let attempt = 0; attempt < 3; attempt++) {
      await clock.advance(RETRY_MS);
      await eventually('it waits for the next attempt', () => clock.pending() === 1);
    }
    assert.is(failures.length, 1);
    assert.is(log.at('error').length, 1);
    await other.free();
    await clock.advance(RETRY_MS - 1);
    assert.is(server.bound(), undefined);
    await clock.advance(1);
    await eventually('it listens', () => server.bound() !== undefined);
    assert.is((await ask(server.bound(), '/get')).status, 200);
    assert.is(log.at('info').length, 1);
    assert.is(clock.pending(), 0);
  },
);

binding('with hard fail it is an error that names address, cause and remedy', async () => {
  const other = await occupy();
  const target = { host: '127.0.0.1', port: other.port };
  try {
    await start({ target, hardFail: true });
    assert.unreachable();
  } catch (error) {
    assert.is((error as { code?: string }).code, 'KP_BIND');
    assert.match((error as Error).message, `health server: cannot listen on 127.0.0.1:${other.port}: `);
    assert.match((error as Error).message, 'EADDRINUSE');
    assert.match((error as Error).message, '--healthz-bind-address');
  }
});

binding('nowhere is a place', async () => {
  const { server } = await start({ target: undefined });
  assert.is(server.bound(), undefined);
  await server.rebind(FREE);
  const at = server.bound()!;
  assert.is((await ask(at, '/get')).status, 200);
  await server.rebind(undefined);
  assert.is(server.bound(), undefined);
  assert.is(await refusal(at), 'ECONNREFUSED');
});

binding('moves while it runs, and leaves nothing behind', async () => {
  const { server, at } = await start();
  const before = at();
  const other = await occupy();
  await other.free();
  await server.rebind({ host: '127.0.0.1', port: other.port });
  assert.is(at().port, other.port);
  assert.is((await ask(at(), '/get')).status, 200);
  await eventually('the old port is closed', async () => (await refusal(before)) === 'ECONNREFUSED');
});

binding('told the same again it keeps its connections', async () => {
  const { server, at } = await start();
  const target = at();
  await server.rebind(target);
  const socket = await dial(at());
  await server.rebind({ ...target });
  let text = '';
  socket.on('data', (part: Buffer) => {
    text += part.toString();
  });
  socket.write('GET /get HTTP/1.1\r\nHost: a\r\n\r\n');
  await eventually('the connection still works', () => text.includes('got nothing'));
  socket.destroy();
});

binding('moves from one address of a port to all of them', async () => {
  const { server, at, failures } = await start();
  const { port } = at();
  await server.rebind({ host: '127.0.0.1', port });
  await server.rebind({ host: '0.0.0.0', port });
  assert.equal(at(), { host: '0.0.0.0', port });
  assert.is((await ask(at(), '/get')).status, 200);
  assert.is(failures.length, 0);
});

binding('when the new address is taken it stays where it is until that is free', async () => {
  const other = await occupy();
  const { server, clock, at, failures } = await start();
  const before = at();
  await server.rebind({ host: '127.0.0.1', port: other.port });
  assert.equal(at(), before);
  assert.is((await ask(before, '/get')).status, 200);
  assert.is(failures.length, 1);
  await other.free();
  await clock.advance(RETRY_MS);
  await eventually('it moved', () => server.bound()?.port === other.port);
});

binding('with hard fail a move that fails is an error, and nothing moves or is tried again', async () => {
  const other = await occupy();
  const { server, clock, at } = await start();
  const before = at();
  let code: unknown;
  await server.rebind({ host: '127.0.0.1', port: other.port }, true).catch((error) => {
    code = error.code;
  });
  assert.is(code, 'KP_BIND');
  assert.equal(at(), before);
  assert.is(clock.pending(), 0);
});

binding('told to go back before a retry, it gives the other address up', async () => {
  const other = await occupy();
  const { server, clock, at } = await start();
  const before = at();
  await server.rebind({ host: '127.0.0.1', port: before.port });
  await server.rebind({ host: '127.0.0.1', port: other.port });
  await server.rebind({ host: '127.0.0.1', port: before.port });
  assert.is(clock.pending(), 0);
  await other.free();
  assert.is(at().port, before.port);
});

binding('closes quickly whatever clients do, and refuses from then on', async () => {
  const { server, clock, at } = await start();
  const where = at();
  const idle = await dial(where);
  const busy = await dial(where);
  busy.write('GET /never HTTP/1.1\r\nHost: a\r\n\r\n');
  await ask(where, '/get');
  const closed = server.close();
  await untilClosed(idle);
  assert.is(await refusal(where), 'ECONNREFUSED');
  await clock.advance(300);
  await closed;
  await untilClosed(busy);
});

binding('closed while it waits for its address, it does not listen later', async () => {
  const other = await occupy();
  const { server, clock } = await start({ target: { host: '127.0.0.1', port: other.port } });
  await server.close();
  await other.free();
  await clock.advance(RETRY_MS * 2);
  await server.rebind({ host: '127.0.0.1', port: other.port });
  assert.is(await refusal({ host: '127.0.0.1', port: other.port }), 'ECONNREFUSED');
  assert.is(clock.pending(), 0);
});

for (const each of [answers, hostile, binding]) {
  each.after.each(async () => {
    for (const close of closers.splice(0)) await close().catch(() => {});
  });
  each.run();
}
