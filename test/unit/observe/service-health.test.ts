import { readdirSync, readlinkSync } from 'node:fs';
import type { ListenOptions, Server, Socket } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Change, IPFamily } from '../../../core/backend.ts';
import {
  createServiceHealth,
  type ListenFailure,
  RETRY_MS,
  type ServiceHealth,
} from '../../../core/observe/service-health.ts';
import { CONNECTION_MS, MOST_CONNECTIONS } from '../../../core/observe/service-health-connections.ts';
import { type FakeClock, fakeClock, settle } from '../sync/fake-clock.ts';
import { type FakeLog, fakeLog } from '../sync/fake-log.ts';
import { ask, dial, eventually, refusal, untilClosed } from './ask.ts';
import { change, servicePort } from './changes.ts';

interface Where {
  readonly host: string;
  readonly port: number;
}

interface Stage {
  readonly health: ServiceHealth;
  readonly clock: FakeClock;
  readonly log: FakeLog;
  readonly failures: ListenFailure[];
  /** Ports that are somebody else's, "host:port" or just "port". */
  readonly taken: Set<string>;
  /** What was asked for and is open, "host:port", and where it really is. */
  readonly open: Map<string, Where>;
  /** Attempts so far. */
  attempts(): number;
  /** Resolves in the very moment in which this attempt is under way. */
  begun(attempt: number): Promise<void>;
  proxyHealthy: boolean;
  apply(...changes: readonly Change[]): Promise<void>;
  at(port?: number, host?: string): Where;
}

const stages: Stage[] = [];

/** Real sockets on free ports of loopback, under the names of those that were asked for. */
function start(): Stage {
  const clock = fakeClock();
  const log = fakeLog();
  const failures: ListenFailure[] = [];
  const taken = new Set<string>();
  const open = new Map<string, Where>();
  /** From the attempt on, as in the kernel. */
  const claimed = new Set<string>();
  let attempts = 0;

  async function listen(server: Server, { host, port, ipv6Only }: ListenOptions): Promise<void> {
    const wanted = `${host}:${port}`;
    attempts++;
    assert.is(ipv6Only, host?.includes(':') ?? false, 'IPv6 listeners leave IPv4 alone');
    if (taken.has(wanted) || taken.has(String(port)) || claimed.has(wanted)) {
      throw Object.assign(new Error(`listen EADDRINUSE: ${wanted}`), { code: 'EADDRINUSE' });
    }
    claimed.add(wanted);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen({ host: '127.0.0.1', port: 0 }, resolve);
    });
    const address = server.address();
    open.set(wanted, { host: '127.0.0.1', port: typeof address === 'object' && address ? address.port : 0 });
    // The port is free as soon as it is asked to close.
    const close = server.close.bind(server);
    server.close = (done) => {
      claimed.delete(wanted);
      open.delete(wanted);
      return close(done);
    };
  }

  const stage: Stage = {
    health: createServiceHealth({
      log,
      clock,
      healthy: () => stage.proxyHealthy,
      onListenFailure: (failure) => void failures.push(failure),
      listen,
    }),
    clock,
    log,
    failures,
    taken,
    open,
    attempts: () => attempts,
    async begun(attempt) {
      for (let turns = 0; attempts < attempt; turns++) {
        if (turns > 100_000) throw new Error(`there was no attempt ${attempt}`);
        await (turns < 100 ? undefined : settle());
      }
    },
    proxyHealthy: true,
    async apply(...changes) {
      for (const each of changes) stage.health.applied(each);
      await stage.health.settled();
    },
    at(port = 32_000, host = '0.0.0.0') {
      const where = open.get(`${host}:${port}`);
      if (!where) throw new Error(`${host}:${port} is not open: ${[...open.keys()].join(' ')}`);
      return where;
    },
  };
  stages.push(stage);
  return stage;
}

const sockets = (): number =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
    } catch {
      return false;
    }
  }).length;

const ports = suite('healthCheckNodePorts');

ports('answer any path and method with what this node has of their Service', async () => {
  const { apply, at } = start();
  await apply(change([servicePort('web', ['10.0.0.1', '10.0.0.2'])]));
  const answer = await ask(at(), '/what/ever?x', { method: 'POST', body: 'hello' });
  assert.is(answer.status, 200);
  assert.is(answer.headers['content-type'], 'application/json');
  assert.is(answer.headers['x-content-type-options'], 'nosniff');
  assert.is(answer.headers['x-load-balancing-endpoint-weight'], '2');
  assert.is(
    answer.body,
    '{\n\t"service": {\n\t\t"namespace": "default",\n\t\t"name": "web"\n\t},\n' +
      '\t"localEndpoints": 2,\n\t"serviceProxyHealthy": true\n}',
  );
  const head = await ask(at(), '/', { method: 'HEAD' });
  assert.equal([head.status, head.body], [200, '']);
});

ports('follow the endpoints and the proxy’s health without being opened again', async () => {
  const stage = start();
  const { apply, at } = stage;
  await apply(change([servicePort('web', [])]));
  const where = at();
  assert.is((await ask(where, '/')).status, 503);
  await apply(change([servicePort('web', ['10.0.0.1'])]));
  assert.is((await ask(where, '/')).status, 200);
  stage.proxyHealthy = false;
  const sick = await ask(where, '/');
  assert.is(sick.status, 503);
  assert.is(sick.headers['x-load-balancing-endpoint-weight'], '1');
  assert.match(sick.body, '"serviceProxyHealthy": false');
  assert.is(stage.attempts(), 1);
});

ports('IPv4 and IPv6 have their own listeners and their own endpoints', async () => {
  const { apply, at, health } = start();
  await apply(change([servicePort('web', ['10.0.0.1'])]), change([servicePort('web', [])], { family: 'IPv6' }));
  assert.is((await ask(at(), '/')).status, 200);
  assert.is((await ask(at(32_000, '::'), '/')).status, 503);
  assert.equal(health.counts(), { open: 2, failed: 0 });
});

ports('a Service that goes takes its port along: connections are refused', async () => {
  const { apply, at, open } = start();
  await apply(change([servicePort('web', ['10.0.0.1'])]));
  const where = at();
  const waiting = await dial(where);
  await apply(change([], { remove: ['default/web/TCP'] }));
  assert.is(open.size, 0);
  assert.is(await untilClosed(waiting), '');
  assert.is(await refusal(where), 'ECONNREFUSED');
});

ports('another port is opened and the old one closed in one go, also when Services trade theirs', async () => {
  const { apply, at, failures } = start();
  const a = servicePort('a', ['10.0.0.1']);
  const b = servicePort('b', ['10.0.0.1'], { healthCheckNodePort: 32_001 });
  await apply(change([a, b]));
  await apply(
    change([
      { ...a, healthCheckNodePort: 32_001 },
      { ...b, healthCheckNodePort: 32_000 },
    ]),
  );
  assert.match((await ask(at(32_000), '/')).body, '"name": "b"');
  assert.match((await ask(at(32_001), '/')).body, '"name": "a"');
  assert.is(failures.length, 0);
});

ports('a full change closes what it lacks and leaves open what it has', async () => {
  const { apply, at, open, attempts } = start();
  await apply(change([servicePort('a', []), servicePort('b', [], { healthCheckNodePort: 32_001 })]));
  const where = at(32_001);
  await apply(change([servicePort('b', [], { healthCheckNodePort: 32_001 })], { full: true }));
  assert.equal([...open.keys()], ['0.0.0.0:32001']);
  assert.equal(at(32_001), where);
  assert.is(attempts(), 2);
});

ports('are opened on the node port addresses where these are a list, and follow it', async () => {
  const { apply, open, attempts } = start();
  const on = (...addresses: string[]): Change =>
    change(attempts() === 0 ? [servicePort('web', ['10.0.0.1'])] : [], {
      nodePortAddresses: { match: 'list', addresses },
    });
  await apply(on('127.0.0.1', '192.0.2.1', '192.0.2.2'));
  assert.equal([...open.keys()], ['192.0.2.1:32000', '192.0.2.2:32000']);
  const kept = open.get('192.0.2.2:32000');
  await apply(on('192.0.2.2', '192.0.2.3'));
  assert.equal([...open.keys()].toSorted(), ['192.0.2.2:32000', '192.0.2.3:32000']);
  assert.is(open.get('192.0.2.2:32000'), kept);
  await apply(on());
  assert.is(open.size, 0);
  await apply(on('192.0.2.9'));
  assert.equal([...open.keys()], ['192.0.2.9:32000']);
});

ports('that cannot be opened are told once, and tried again every 15 s and with every change', async () => {
  const { apply, clock, taken, failures, log, health, attempts, at } = start();
  taken.add('32000');
  await apply(change([servicePort('web', ['10.0.0.1'])]));
  assert.equal(health.counts(), { open: 0, failed: 1 });
  assert.is(failures.length, 1);
  const { namespace, name, family, port, error } = failures[0]!;
  assert.equal([namespace, name, family, port], ['default', 'web', 'IPv4', 32_000]);
  assert.match(error.message, 'EADDRINUSE');

  await clock.advance(RETRY_MS);
  await health.settled();
  assert.is(attempts(), 2);
  await apply(change([servicePort('other', [], { healthCheckNodePort: 0 })]));
  assert.is(attempts(), 3);
  await apply(change([servicePort('web', [])]));
  assert.is(attempts(), 4);
  assert.is(failures.length, 1);
  assert.is(log.at('error').length, 1);

  taken.clear();
  await clock.advance(RETRY_MS);
  await health.settled();
  assert.equal(health.counts(), { open: 1, failed: 0 });
  assert.is((await ask(at(), '/')).status, 503);
  assert.is(log.at('info').length, 1);
  await clock.advance(RETRY_MS);
  assert.is(attempts(), 5);
});

ports('that fail again after they worked are told again', async () => {
  const { apply, taken, failures } = start();
  const web = servicePort('web', ['10.0.0.1']);
  taken.add('32000');
  await apply(change([web]));
  await apply(change([{ ...web, healthCheckNodePort: 32_001 }]));
  await apply(change([web]));
  assert.is(failures.length, 2);
});

ports('of which one address is taken are closed on the others, too', async () => {
  const { apply, taken, open, health } = start();
  taken.add('192.0.2.2:32000');
  const list = change([servicePort('web', ['10.0.0.1'])], {
    nodePortAddresses: { match: 'list', addresses: ['192.0.2.1', '192.0.2.2'] },
  });
  await apply(list);
  assert.is(open.size, 0);
  assert.equal(health.counts(), { open: 0, failed: 1 });
  taken.clear();
  await apply(list);
  assert.is(open.size, 2);
});

ports('of a failing listener of failures harm nothing', async () => {
  const log = fakeLog();
  const health = createServiceHealth({
    log,
    clock: fakeClock(),
    healthy: () => true,
    onListenFailure() {
      throw new Error('no sink');
    },
    listen: async () => {
      throw new Error('taken');
    },
  });
  health.applied(change([servicePort('web', [])]));
  await health.settled();
  assert.is(log.at('error').length, 2);
  await health.stop();
});

ports('of a Service that goes while they are being opened are not left open', async () => {
  const { apply, health, open, begun } = start();
  health.applied(change([servicePort('web', [])]));
  await begun(1);
  health.applied(change([], { remove: ['default/web/TCP'] }));
  health.applied(change([servicePort('web', [], { healthCheckNodePort: 32_005 })]));
  await begun(2);
  health.applied(change([servicePort('web', [], { healthCheckNodePort: 32_006 })]));
  await apply();
  assert.equal([...open.keys()], ['0.0.0.0:32006']);
});

ports('that one Service gives up while it still opens them are another’s at once', async () => {
  const { apply, health, at, failures, begun } = start();
  health.applied(change([servicePort('a', ['10.0.0.1'])]));
  await begun(1);
  health.applied(change([servicePort('b', ['10.0.0.1'])], { remove: ['default/a/TCP'] }));
  await apply();
  assert.match((await ask(at(), '/')).body, '"name": "b"');
  assert.is(failures.length, 0);
});

ports('of families that are no longer programmed are closed', async () => {
  const { apply, health, open } = start();
  const both: readonly IPFamily[] = ['IPv4', 'IPv6'];
  await apply(...both.map((family) => change([servicePort('web', [])], { family })));
  health.keepFamilies(['IPv6']);
  await health.settled();
  assert.equal([...open.keys()], [':::32000']);
  await apply(change([servicePort('web', [])], { full: true }));
  assert.is(open.size, 2);
});

ports('are all closed at the end, whoever is connected, and stay closed', async () => {
  const { apply, at, health, open, clock, taken } = start();
  taken.add('32001');
  await apply(change([servicePort('a', []), servicePort('b', [], { healthCheckNodePort: 32_001 })]));
  const where = at();
  const waiting = await dial(where);
  await health.stop();
  await untilClosed(waiting);
  assert.is(await refusal(where), 'ECONNREFUSED');
  taken.clear();
  await clock.advance(CONNECTION_MS);
  assert.is(clock.pending(), 0, 'nothing is tried again');
  health.applied(change([servicePort('c', [])]));
  await settle();
  assert.is(open.size, 0);
});

ports('come and go by the hundred and leave no socket and no timer behind', async () => {
  const { apply, at, health, clock, open, failures } = start();
  const before = sockets();
  const many = (round: number): Change =>
    change(
      Array.from({ length: 300 }, (_, at) =>
        servicePort(`s${at}`, ['10.0.0.1'], { healthCheckNodePort: 20_000 + ((at + round * 37) % 600) }),
      ),
      { full: true },
    );
  for (let round = 0; round < 10; round++) {
    await apply(many(round));
    assert.is(open.size, 300);
    await eventually('one socket for each is left', () => sockets() <= before + 300);
    assert.match((await ask(at(20_000 + ((5 + round * 37) % 600)), '/')).body, '"name": "s5"');
  }
  await apply(change([], { full: true }));
  await eventually('all sockets are closed', () => sockets() <= before);
  assert.equal(health.counts(), { open: 0, failed: 0 });
  assert.is(failures.length, 0);
  await clock.advance(CONNECTION_MS);
  assert.is(clock.pending(), 0);
});

const hostile = suite('clients of healthCheckNodePorts that mean no good');

hostile('are cut off after ten seconds, whatever they send', async () => {
  const { apply, at, clock } = start();
  await apply(change([servicePort('web', ['10.0.0.1'])]));
  const silent = await dial(at());
  const busy = await dial(at());
  busy.write('GET / HTTP/1.1\r\nHost: a\r\n');
  const drip = setInterval(() => busy.write('X: y\r\n'), 5);
  try {
    await eventually('both are accepted', async () => {
      await settle();
      return clock.pending() > 0;
    });
    await clock.advance(CONNECTION_MS - 1);
    const late = await dial(at());
    // Accepted after it, so that it has been accepted, too.
    assert.is((await ask(at(), '/')).status, 200);
    assert.is(silent.closed || busy.closed, false);
    await clock.advance(1);
    await Promise.all([untilClosed(silent), untilClosed(busy)]);
    assert.is(late.closed, false);
    await clock.advance(CONNECTION_MS);
    await untilClosed(late);
  } finally {
    clearInterval(drip);
  }
});

hostile('keep nobody out: of too many the oldest goes', async () => {
  const { apply, at } = start();
  await apply(change([servicePort('web', ['10.0.0.1'])]));
  const held: Socket[] = [];
  for (let count = 0; count < MOST_CONNECTIONS; count++) held.push(await dial(at()));
  assert.is((await ask(at(), '/')).status, 200);
  await untilClosed(held[0]!);
  assert.is(held.at(-1)!.closed, false);
  for (const socket of held) socket.destroy();
});

hostile('get one answer for each connection, and none for what is no HTTP', async () => {
  const { apply, at } = start();
  await apply(change([servicePort('web', ['10.0.0.1'])]));
  const twice = await dial(at());
  twice.write('GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n');
  const text = await untilClosed(twice);
  assert.is(text.match(/HTTP\/1\.1 200/g)?.length, 1);
  assert.match(text, /\r\nConnection: close\r\n/);
  const nonsense = await dial(at());
  nonsense.write('hello\r\n\r\n');
  assert.match(await untilClosed(nonsense), /^HTTP\/1\.1 400 /);
  const large = await dial(at());
  large.write(`GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`);
  assert.match(await untilClosed(large), /^HTTP\/1\.1 431 /);
});

for (const each of [ports, hostile]) {
  each.after.each(async () => {
    for (const stage of stages.splice(0)) await stage.health.stop();
  });
  each.run();
}
