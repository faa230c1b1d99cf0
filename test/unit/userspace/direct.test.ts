/** Without rights: where Services are served, for whom a place is, and what the log says. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Change, NodeView, ServicePort } from '../../../core/backend.ts';
import { loopbackOf, placesOf } from '../../../plugins/userspace/direct.ts';
import { createDirect, type Direct, type DirectOptions } from '../../../plugins/userspace/direct-way.ts';
import type { ListenSpec } from '../../../plugins/userspace/forward/messages.ts';
import { full, many, NODE, NODE6, partial, remote, servicePort } from '../nftables/samples.ts';
import { type FakeClock, fakeClock } from '../sync/fake-clock.ts';
import { type FakeLog, fakeLog } from '../sync/fake-log.ts';
import { stage } from './stage.ts';

const test = suite('userspace direct');
const WEB = servicePort({ cluster: remote('1.0.0.1') });

function at(port: ServicePort, node: NodeView = NODE, family: 'IPv4' | 'IPv6' = 'IPv4'): string[] {
  return placesOf(family, port, node).map(
    ({ protocol, ip, port: number, kind }) => `${protocol} ${ip} ${number} ${kind}`,
  );
}

interface Stand extends Direct {
  readonly clock: FakeClock;
  readonly log: FakeLog;
  readonly told: string[];
  /** "127.96.0.10:80 IPv4 default/web:http/TCP", as last asked for. */
  listens(): string[];
  refuse: (spec: ListenSpec) => string | undefined;
  /** What was asked for so far: "-TCP 127.96.0.10 80 +TCP 127.96.0.11 80 +…". */
  readonly asked: string[];
}

function stand(rest: Partial<DirectOptions> = {}): Stand {
  const log = fakeLog();
  const told: string[] = [];
  const clock = fakeClock();
  const asked: string[] = [];
  const wanted = new Map<string, ListenSpec>();
  const direct = createDirect({
    host: { log: { ...log, enabled: () => false }, clock },
    family: 'IPv4',
    proxyProtocol: false,
    portOffset: 20_000,
    shared: false,
    async tell({ upsert = [], remove = [] }) {
      told.push(...upsert.map(({ key }) => `+${key}`), ...remove.map((key) => `-${key}`));
    },
    async listen({ open = [], close = [] }) {
      asked.push([...close.map((id) => `-${id}`), ...open.map(({ id }) => `+${id}`)].join(' '));
      for (const id of close) wanted.delete(id);
      for (const spec of open) wanted.set(spec.id, spec);
      const addresses = [...wanted.values()].map(({ protocol, ip, port }) => `${protocol} ${ip} ${port}`);
      assert.is(new Set(addresses).size, addresses.length, 'never two on one port');
      const refused = open.flatMap((spec) => {
        const code = stood.refuse(spec);
        return code === undefined
          ? []
          : [[spec.id, { code, message: `${spec.ip} port ${spec.port}: ${code}` }] as const];
      });
      return new Map(refused);
    },
    ...rest,
  });
  const stood: Stand = {
    ...direct,
    log,
    clock,
    told,
    listens: () => [...wanted.values()].map(({ ip, port, serves }) => `${ip}:${port} ${serves?.service}`).sort(),
    refuse: () => undefined,
    asked,
  };
  return stood;
}

function said({ log }: Stand, from = 0): string[] {
  return log.lines.slice(from).map(({ message, values }) => `${message}: ${values.service ?? ''} ${values.at}`);
}

const belowThousand = ({ port }: ListenSpec): string | undefined => (port < 1024 ? 'EACCES' : undefined);

test('a ClusterIP is served on 127.x.y.z, but not where everybody is, nor where nobody can be', () => {
  assert.is(loopbackOf('10.96.0.10'), '127.96.0.10');
  for (const ip of ['10.0.0.1', '10.0.0.0', '10.255.255.255', 'fd00::1']) assert.is(loopbackOf(ip), undefined, ip);
});

test('external addresses are served where the host has them, node ports where they answer', () => {
  const port = servicePort({
    nodePort: 30080,
    externalIPs: ['192.168.60.10', '203.0.113.1'],
    loadBalancerVIPs: ['192.168.50.10', '203.0.113.2'],
  });
  assert.equal(at(port), [
    'TCP 127.96.0.10 80 clusterIP',
    'TCP 192.168.50.10 80 loadBalancerVIP',
    'TCP 192.168.60.10 80 externalIP',
    'TCP 127.0.0.1 30080 nodePort',
    'TCP 192.168.50.10 30080 nodePort',
    'TCP 192.168.60.10 30080 nodePort',
  ]);
  const listed: NodeView = { ...NODE, nodePortAddresses: { match: 'list', addresses: ['192.168.60.10'] } };
  assert.equal(at(port, listed).slice(3), ['TCP 192.168.60.10 30080 nodePort']);
});

test('in IPv6 there is no address for a ClusterIP, nor node ports on link-local ones', () => {
  const node = { ...NODE6, addresses: ['::1', 'fd00:50::10', 'fe80::1'] };
  assert.equal(at(servicePort({ clusterIP: 'fd00:10:96::a', nodePort: 30080 }), node, 'IPv6'), [
    'TCP fd00:50::10 30080 nodePort',
  ]);
});

test('what would be refused has no place: no endpoints, a policy that leaves none, SCTP', () => {
  const none = { cluster: [], local: [], hasEndpoints: false };
  assert.equal(at(servicePort({ nodePort: 30080, ...none })), []);
  assert.equal(at(servicePort({ internalPolicy: 'Local', cluster: remote('1.0.0.1') })), []);
  assert.equal(at(servicePort({ protocol: 'SCTP' })), []);
  // Those inside use all endpoints.
  assert.is(at(servicePort({ nodePort: 30080, externalPolicy: 'Local', cluster: remote('1.0.0.1') })).length, 4);
});

test('the engines know a service port before it is listened on, and forget it after', async () => {
  const one = stand();
  const { operations } = await one.sync(full([WEB]));
  assert.ok(operations > 0);
  assert.equal(one.told, [`+IPv4 ${WEB.key}`]);
  assert.equal(one.listens(), [`127.96.0.10:80 IPv4 ${WEB.key}`]);
  assert.equal(said(one), ['A Service is reachable: default/web:http tcp 127.96.0.10 80']);
  await one.sync(partial([], [WEB.key]));
  assert.equal([one.told.at(-1), one.listens()], [`-IPv4 ${WEB.key}`, []]);
  assert.match(said(one)[1]!, 'no longer reachable here');
  assert.equal(one.totals(), { services: 0, listeners: 0 });
});

test('an endpoint that comes is told, and nothing is said; what is the same does nothing', async () => {
  const one = stand();
  await one.sync(full([WEB]));
  const more = { ...WEB, cluster: remote('1.0.0.1', '1.0.0.2') };
  await one.sync(partial([more]));
  assert.is(one.told.length, 2);
  assert.is(one.log.lines.length, 1);
  assert.equal(await one.sync(partial([more])), { changed: [], operations: 0 });
  assert.is(one.asked.length, 1);
  assert.equal(await one.sync(full([more])), { changed: [], operations: 0 });
});

test('two ClusterIPs that end alike: the smaller key has the place, the other one when that goes', async () => {
  const [first, second] = [
    servicePort({ name: 'aa', clusterIP: '10.96.0.10' }),
    servicePort({ name: 'bb', clusterIP: '172.96.0.10' }),
  ];
  const one = stand();
  await one.sync(full([second, first]));
  assert.equal(one.listens(), [`127.96.0.10:80 IPv4 ${first.key}`]);
  await one.sync(partial([], [first.key]));
  assert.equal(one.listens(), [`127.96.0.10:80 IPv4 ${second.key}`]);
  assert.is(said(one).at(-1), 'A Service is reachable: default/bb:http tcp 127.96.0.10 80');
});

test('who loses a place to a Service that comes is told with a warning', async () => {
  const one = stand();
  await one.sync(full([servicePort({ name: 'bb', clusterIP: '172.96.0.10' })]));
  await one.sync(partial([servicePort({ name: 'aa', clusterIP: '10.96.0.10' })]));
  assert.equal(
    one.log.at('warn').map(({ message, values }) => [message, values.service, values.insteadOf]),
    [['A Service is reachable in place of another', 'default/aa:http', 'default/bb:http']],
  );
});

test('a Service without endpoints is told of, and one that is gone by its name', async () => {
  const one = stand();
  const none = servicePort({ cluster: [], hasEndpoints: false });
  await one.sync(full([none]));
  assert.is(one.log.at('info').at(-1)?.values.addresses, '10.96.0.10 (no endpoints)');
  await one.sync(partial([WEB]));
  await one.sync(partial([none]));
  const gone = one.log.at('info').filter(({ message }) => message.includes('no longer reachable'));
  assert.equal(
    gone.map(({ values }) => values),
    [{ service: 'default/web:http', at: 'tcp 127.96.0.10 80' }],
  );
});

test('a port that may not be bound is tried portOffset higher, once', async () => {
  const one = stand();
  one.refuse = belowThousand;
  await one.sync(full([WEB]));
  assert.equal(one.listens(), [`127.96.0.10:20080 IPv4 ${WEB.key}`]);
  assert.equal(said(one), ['A Service is reachable: default/web:http tcp 127.96.0.10 20080']);
  one.refuse = () => 'EACCES';
  await one.sync(full([WEB]));
  assert.equal(one.listens(), [`127.96.0.10:20080 IPv4 ${WEB.key}`]);
  assert.match(said(one).at(-1)!, /cannot be served here.* 20080/);
});

test('without portOffset it is told, with another fault as well, and tried again with the next full change', async () => {
  for (const [code, portOffset, remedy] of [
    ['EACCES', 0, /portOffset is 0; choose another/],
    ['EADDRINUSE', 20_000, /perhaps on all addresses; it is tried again/],
  ] as const) {
    const one = stand({ portOffset });
    one.refuse = () => code;
    await one.sync(full([WEB]));
    assert.equal(said(one), ['A Service cannot be served here: default/web:http tcp 127.96.0.10 80']);
    const reason = String(one.log.at('warn')[0]!.values.reason);
    assert.ok(reason.startsWith(`127.96.0.10 port 80: ${code}, `));
    assert.match(reason, remedy);
    assert.equal(one.totals(), { services: 1, listeners: 0 });
    await one.sync(full([WEB]));
    assert.is(one.log.lines.length, 1, 'it was said');
    one.refuse = () => undefined;
    await one.sync(full([WEB]));
    assert.is(said(one).at(-1), 'A Service is reachable: default/web:http tcp 127.96.0.10 80');
    assert.equal(one.totals(), { services: 1, listeners: 1 });
  }
});

test('a place of its own comes before one that was moved there: never two Services on one port', async () => {
  const high = servicePort({ name: 'high', port: 20_080 });
  const places = (one: Stand): string[] => one.listens().map((text) => text.split(' ')[0]!);
  const [before, after] = [stand(), stand()];
  for (const one of [before, after]) one.refuse = belowThousand;
  await before.sync(full([WEB, high]));
  await after.sync(full([WEB]));
  await after.sync(partial([high]));
  for (const one of [before, after]) {
    assert.equal(one.listens(), [`127.96.0.10:20080 IPv4 ${high.key}`, `127.96.0.10:80 IPv4 ${WEB.key}`]);
    assert.ok(said(one).includes('A Service cannot be served here: default/web:http tcp 127.96.0.10 80'));
    await one.sync(partial([], [high.key]));
    assert.equal(places(one), ['127.96.0.10:20080']);
    assert.is(said(one).at(-1), 'A Service is reachable: default/web:http tcp 127.96.0.10 20080');
  }
});

test('a place that is gone holds no port any more, nor does it come back by another one’s doing', async () => {
  const high = servicePort({ name: 'high', port: 20_080 });
  const one = stand();
  one.refuse = belowThousand;
  await one.sync(full([WEB]));
  await one.sync(partial([], [WEB.key]));
  await one.sync(partial([high]));
  assert.equal(one.listens(), [`127.96.0.10:20080 IPv4 ${high.key}`]);
  await one.sync(full([WEB]));
  await one.sync(partial([high], [WEB.key]));
  assert.equal(one.listens(), [`127.96.0.10:20080 IPv4 ${high.key}`], 'both in one change');
  one.refuse = () => undefined;
  await one.sync(partial([WEB]));
  assert.equal(one.listens(), [`127.96.0.10:20080 IPv4 ${high.key}`, `127.96.0.10:80 IPv4 ${WEB.key}`]);
});

test('a place that comes back begins at its own port, and two that go together are both gone', async () => {
  const high = servicePort({ name: 'high', port: 20_080 });
  const one = stand();
  one.refuse = belowThousand;
  await one.sync(full([WEB]));
  await one.sync(partial([], [WEB.key]));
  one.refuse = () => undefined;
  await one.sync(partial([WEB]));
  assert.equal(one.listens(), [`127.96.0.10:80 IPv4 ${WEB.key}`]);
  await one.sync(partial([], [WEB.key]));
  one.refuse = belowThousand;
  await one.sync(partial([WEB, high]));
  await one.sync(partial([], [high.key, WEB.key]));
  assert.is(one.asked.at(-1), '-TCP 127.96.0.10 20080 -TCP 127.96.0.10 80');
  assert.equal(one.listens(), []);
});

test('an address that the host gains is listened on, and one that it loses is not', async () => {
  const one = stand();
  const port = servicePort({ nodePort: 30080, externalIPs: ['203.0.113.1'] });
  await one.sync(full([port]));
  const before = one.listens();
  const richer = { ...NODE, addresses: [...NODE.addresses, '203.0.113.1'] };
  await one.sync(partial([], [], richer));
  const gained = one.listens().filter((text) => !before.includes(text));
  assert.equal(
    gained.map((text) => text.split(' ')[0]),
    ['203.0.113.1:30080', '203.0.113.1:80'],
  );
  await one.sync(partial([], [], NODE));
  assert.equal(one.listens(), before);
  assert.is(one.told.length, 1);
});

test('what is served nowhere is told once, with the reason, and again when that is another', async () => {
  const one = stand();
  const told = (): unknown[] =>
    one.log.lines
      .filter(({ message }) => message.includes('not served here'))
      .map(({ values }) => [values.service, values.addresses]);
  const port = servicePort({
    cluster: remote('1.0.0.1'),
    externalIPs: ['203.0.113.7', '192.168.50.10'],
    loadBalancerVIPs: ['203.0.113.8'],
  });
  const alike = servicePort({ name: 'zz', clusterIP: '172.96.0.10', cluster: remote('1.0.0.1') });
  await one.sync(full([port, alike]));
  await one.sync(partial([{ ...port, cluster: remote('1.0.0.2') }]));
  assert.equal(told(), [
    ['default/web:http', '203.0.113.8 (no interface here has it), 203.0.113.7 (no interface here has it)'],
    ['default/zz:http', '127.96.0.10 port 80 (default/web:http has it)'],
  ]);
  await one.sync(partial([], [], { ...NODE, addresses: [...NODE.addresses, '203.0.113.8'] }));
  assert.equal(told().slice(2), [['default/web:http', '203.0.113.7 (no interface here has it)']]);
  const six = stand({ family: 'IPv6' });
  const port6 = servicePort({ clusterIP: 'fd00:10:96::a', cluster: remote('fd00::1') });
  await six.sync(full([port6], NODE6));
  assert.is(six.log.at('info')[0]?.values.addresses, 'fd00:10:96::a (an IPv6 ClusterIP)');
});

test('pods that could only be told by interface are told of, once', async () => {
  const one = stand();
  const node = { ...NODE, localDetector: { kind: 'interfacePrefix', prefix: 'cali' } } as const;
  await one.sync(full([WEB], node));
  await one.sync(partial([], [], { ...node }));
  assert.equal(
    one.log.at('warn').map(({ message }) => message.includes('are not told by interface')),
    [true],
  );
  const none = stand();
  await none.sync(full([WEB], { ...NODE, localDetector: { kind: 'none' } }));
  assert.equal(none.log.at('warn'), []);
});

test('many places at once are one line of the log, a warning if some cannot be', async () => {
  const one = stand({ portOffset: 0 });
  await one.sync(full(many(30)));
  one.refuse = ({ ip }) => (ip === '127.96.0.40' ? 'EADDRINUSE' : undefined);
  await one.sync(full(many(60)));
  assert.equal(
    one.log.lines.map(({ level, message }) => `${level}: ${message}`),
    ['info: Services are reachable; -v=2 shows where', 'warn: Not all Services can be served here; -v=2 shows which'],
  );
  const { places, notServed, reason } = one.log.lines[1]!.values;
  assert.equal([places, notServed, reason], [60, 1, '127.96.0.40 port 80: EADDRINUSE']);
});

test('a fresh thread is told every service port that there is', async () => {
  const one = stand();
  await one.sync(
    full([WEB, servicePort({ name: 'empty', clusterIP: '10.96.0.11', cluster: [], hasEndpoints: false })]),
  );
  await one.sync(partial([servicePort({ name: 'sctp', protocol: 'SCTP', clusterIP: '10.96.0.12' })]));
  assert.equal((one.snapshot().upsert ?? []).map(({ key }) => key).sort(), [
    'IPv4 default/empty:http/TCP',
    `IPv4 ${WEB.key}`,
  ]);
});

test('what somebody else has is tried again every ten seconds, alone, until it is free', async () => {
  const other = servicePort({ name: 'other', clusterIP: '10.96.0.11' });
  const one = stand();
  one.refuse = ({ ip }) => (ip === '127.96.0.10' ? 'EADDRINUSE' : undefined);
  await one.sync(full([WEB, other]));
  await one.clock.advance(9_999);
  await one.sync(partial([{ ...WEB, cluster: remote('1.0.0.2') }]));
  await one.sync(partial([], [other.key]));
  assert.equal(one.asked, ['+TCP 127.96.0.10 80 +TCP 127.96.0.11 80', '-TCP 127.96.0.11 80']);
  await one.clock.advance(1);
  await one.clock.advance(10_000);
  one.refuse = () => undefined;
  const lines = one.log.lines.length;
  await one.clock.advance(9_999);
  assert.equal(one.asked.slice(2), ['+TCP 127.96.0.10 80', '+TCP 127.96.0.10 80']);
  assert.is(one.log.lines.length, lines);
  await one.clock.advance(1);
  assert.equal(said(one, lines), ['A Service is reachable: default/web:http tcp 127.96.0.10 80']);
  assert.equal(one.totals(), { services: 1, listeners: 1 });
  assert.is(one.clock.pending(), 0);
});

test('nothing is tried again once it is gone, or all is closed', async () => {
  const one = stand();
  one.refuse = () => 'EADDRINUSE';
  await one.sync(full([WEB]));
  assert.is(one.clock.pending(), 1);
  await one.sync(partial([], [WEB.key]));
  assert.is(one.clock.pending(), 0);
  await one.sync(partial([WEB]));
  one.close();
  assert.is(one.clock.pending(), 0);
});

test('a try that falls due during a change waits for its end', async () => {
  const hold = Promise.withResolvers<void>();
  const told: string[] = [];
  const tell: DirectOptions['tell'] = async ({ upsert = [] }) => {
    told.push(...upsert.map(({ key }) => key));
    if (told.length > 1) await hold.promise;
  };
  const one = stand({ tell });
  one.refuse = () => 'EADDRINUSE';
  await one.sync(full([WEB]));
  const change = one.sync(partial([servicePort({ name: 'other', clusterIP: '10.96.0.11' })]));
  await one.clock.advance(10_000);
  assert.equal([told.length, one.asked.length], [2, 1]);
  hold.resolve();
  await change;
  await one.clock.advance(0);
  assert.equal(one.asked.slice(1), ['+TCP 127.96.0.11 80', '+TCP 127.96.0.10 80 +TCP 127.96.0.11 80']);
  assert.is(one.clock.pending(), 1);
});

test('at a full change a listener that was lost since is noticed, and moves where it may not be bound any more', async () => {
  const one = stand();
  await one.sync(full([WEB]));
  one.refuse = belowThousand;
  await one.sync(full([WEB]));
  assert.equal(one.listens(), [`127.96.0.10:20080 IPv4 ${WEB.key}`]);
  assert.is(said(one).at(-1), 'A Service is reachable: default/web:http tcp 127.96.0.10 20080');
});

test('of 10,000 places a change names its own alone, and one of endpoints none', async () => {
  const one = stage({ way: 'direct' });
  const ports = many(10_000, { nodePort: 0 });
  const { totals } = await one.sync(full(ports));
  assert.is(totals?.listeners, 10_000);
  const told = async (change: Change): Promise<string> => {
    const before = one.threads.all.map((thread) => thread.told.length);
    await one.sync(change);
    const [first, second] = one.threads.all.map((thread, index) => thread.told.slice(before[index]).join('; '));
    assert.is(first, second);
    return first!;
  };
  const web = ports[76]!;
  assert.is(await told(partial([{ ...web, cluster: remote('1.0.0.9') }])), `+IPv4 ${web.key}`);
  assert.is(
    await told(partial([{ ...web, port: 81 }])),
    `+IPv4 ${web.key}; close TCP 127.96.0.77 80, open TCP 127.96.0.77 81`,
  );
  assert.is(await told(partial([], [web.key])), `close TCP 127.96.0.77 81; -IPv4 ${web.key}`);
  const moved = { ...ports[77]!, externalIPs: ['192.168.60.10'] };
  assert.is(await told(partial([moved])), `+IPv4 ${moved.key}; open TCP 192.168.60.10 80`);
});

test('a change without keys of ours changes nothing', async () => {
  const one = stand();
  const change: Change = partial([], ['default/unknown/TCP']);
  await one.sync(full([]));
  assert.equal(await one.sync(change), { changed: [], operations: 0 });
});

test.run();
