import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Change } from '../../../core/backend.ts';
import { createUDPFrontends, type Search, type UDPFrontends } from '../../../core/node/conntrack-frontends.ts';
import { servicePort, view } from '../model/samples.ts';
import { A, B, dns, endpoints, flow, full, NODE, partial, VIP } from './conntrack-samples.ts';

const test = suite('UDP flows that are stale');
const ELSEWHERE = '198.51.100.1:53';
const NODE_PORT = '192.168.50.10:30053';

/** After these changes, all but the last of which were searched for. */
function after(...changes: readonly Change[]): { readonly frontends: UDPFrontends; readonly search: Search } {
  const frontends = createUDPFrontends();
  for (const [index, change] of changes.entries()) {
    frontends.apply(change);
    if (index < changes.length - 1) frontends.take();
  }
  const search = frontends.take();
  if (search === undefined) throw new Error('nothing moved');
  return { frontends, search };
}

/** As the codec asks. */
function stale(search: Search, destination: string, answerer?: string): boolean {
  const one = flow(destination, answerer);
  return search.hasPort(one.destinationPort) && search.isStale(one);
}

function nothingMoves(...changes: readonly Change[]): void {
  const frontends = createUDPFrontends();
  for (const change of changes.slice(0, -1)) frontends.apply(change);
  frontends.take();
  frontends.apply(changes.at(-1)!);
  assert.not(frontends.moved());
  assert.is(frontends.take(), undefined);
}

// When to look ---------------------------------------------------------------------------------------------------------

test('changes of TCP and SCTP move nothing, not even when full', () => {
  nothingMoves(full([servicePort()]));
  nothingMoves(full([dns([A])]), partial([servicePort()]), partial([], ['shop/web:http/TCP']));
  nothingMoves(full([]), partial([servicePort({ key: 'x/y/SCTP', protocol: 'SCTP' })]));
});

test('a change of a UDP service port that lets the same flows live moves nothing', () => {
  const node = view({ zone: 'other' });
  nothingMoves(full([dns([A, B])]), partial([dns([A, B], { affinitySeconds: 5 })]));
  nothingMoves(full([dns([A, B])]), partial([dns([A, B], { local: endpoints(A) })]));
  nothingMoves(full([dns([A, B])]), partial([dns([A], { keepsFlowsUDP: endpoints(B) })]));
  nothingMoves(full([dns([A])]), partial([], [], node));
});

test('each full change has every frontend looked at, for nobody knows what happened before it', () => {
  for (const changes of [[full([dns([A])])], [full([dns([A])]), full([dns([A])])]]) {
    const { search } = after(...changes);
    assert.ok(search.untranslated);
    assert.ok(stale(search, VIP, B));
    assert.ok(stale(search, VIP), 'untranslated');
    assert.not(stale(search, VIP, A));
  }
});

test('translated flows are all that is needed while endpoints come and go, and one port if there is one', () => {
  const { search } = after(full([dns([A, B])]), partial([dns([A])]));
  assert.equal([search.untranslated, search.onlyPort], [false, 53]);
  assert.ok(after(full([]), partial([dns([A])])).search.untranslated, 'new');
  assert.ok(after(full([dns([])]), partial([dns([A])])).search.untranslated, 'without endpoints before');
  const wider = after(full([dns([A])]), partial([dns([A], { externalIPs: ['203.0.113.1'] })])).search;
  assert.equal([wider.untranslated, wider.onlyPort], [true, 53]);
  const ported = after(full([dns([A])]), partial([dns([B], { nodePort: 30053 })])).search;
  assert.is(ported.onlyPort, 0);
});

// What is stale ----------------------------------------------------------------------------------------------------------

test('a flow to an endpoint that left is stale, those to the others are not', () => {
  const { search } = after(full([dns([A, B])]), partial([dns([B])]));
  assert.ok(stale(search, VIP, A));
  assert.not(stale(search, VIP, B));
  assert.ok(stale(search, VIP, '10.244.1.2:53'), 'the endpoint with another port');
});

test('a service port that lost its last endpoint lets go of every flow', () => {
  const { search } = after(full([dns([A])]), partial([dns([])]));
  assert.ok(stale(search, VIP, A));
});

test('endpoints of the local list and those that merely serve keep their flows', () => {
  const { search } = after(
    full([dns(['10.244.1.9:53'])]),
    partial([dns([], { local: endpoints(A), keepsFlowsUDP: endpoints(B) })]),
  );
  assert.not(stale(search, VIP, A));
  assert.not(stale(search, VIP, B));
  assert.ok(stale(search, VIP, '10.244.1.9:53'));
});

test('a frontend that came takes over what was not translated to it', () => {
  const { search } = after(full([]), partial([dns([A], { loadBalancerVIPs: ['203.0.113.2'] })]));
  for (const frontend of [VIP, '203.0.113.2:53']) {
    assert.ok(stale(search, frontend));
    assert.not(stale(search, frontend, A));
  }
});

for (const [what, changes, gone] of [
  ['Service', [full([dns([A])]), partial([], ['shop/dns/UDP'])], VIP],
  ['Service, noticed by a full change,', [full([dns([A])]), full([])], VIP],
  ['external IP', [full([dns([A], { externalIPs: ['203.0.113.1'] })]), partial([dns([A])])], '203.0.113.1:53'],
  ['VIP', [full([dns([A], { loadBalancerVIPs: ['203.0.113.1'] })]), partial([dns([A])])], '203.0.113.1:53'],
  ['node port', [full([dns([A], { nodePort: 30053 })]), partial([dns([A])])], NODE_PORT],
  ['port', [full([dns([A], { port: 54 })]), partial([dns([A])])], '10.96.0.10:54'],
] as const) {
  test(`a ${what} that went away lets go of the flows to its former endpoints, and of no others`, () => {
    const { search } = after(...changes);
    assert.ok(stale(search, gone, A));
    assert.not(stale(search, gone), 'untranslated is right now');
    assert.not(stale(search, gone, '10.9.9.9:1'), 'translated by someone else');
  });
}

test('an untranslated flow stays when its destination was an endpoint of itself and is no frontend any more', () => {
  const { search } = after(full([dns([VIP, A])]), partial([], ['shop/dns/UDP']));
  assert.not(stale(search, VIP, VIP));
  assert.ok(stale(search, VIP, A));
});

test('former endpoints are all since the last search, not only the latest', () => {
  const frontends = createUDPFrontends();
  frontends.apply(full([dns([A])]));
  frontends.take();
  frontends.apply(partial([dns([B])]));
  frontends.apply(partial([], ['shop/dns/UDP']));
  const search = frontends.take()!;
  assert.ok(stale(search, VIP, A));
  assert.ok(stale(search, VIP, B));
});

test('flows that have nothing to do with a change are left alone', () => {
  const api = dns([A], { name: 'api', key: 'shop/api/UDP', clusterIP: '10.96.0.11' });
  const { search } = after(full([dns([A, B]), api]), partial([dns([B])]));
  assert.not(stale(search, ELSEWHERE, '10.9.9.9:1'));
  assert.not(stale(search, ELSEWHERE));
  assert.not(stale(search, '10.96.0.11:53', B), 'of another Service that did not move');
});

// Node ports -------------------------------------------------------------------------------------------------------------

test('node ports count on the addresses that accept them, and on those alone', () => {
  const { search } = after(full([dns([A], { nodePort: 30053 })]));
  for (const address of ['192.168.50.10', '192.168.60.10', '127.0.0.1', '127.0.0.9']) {
    assert.ok(stale(search, `${address}:30053`), address);
    assert.not(stale(search, `${address}:30053`, A), address);
  }
  assert.not(stale(search, '192.168.50.20:30053'), 'a node port of another node');
  const some = view({ nodePortAddresses: { match: 'list', addresses: ['192.168.50.10'] } });
  const listed = after(full([dns([A], { nodePort: 30053 })], some)).search;
  assert.ok(stale(listed, NODE_PORT));
  assert.not(stale(listed, '192.168.60.10:30053'));
});

test('an address of the node that comes is looked at, and one that goes lets go', () => {
  const small = view({ addresses: ['127.0.0.1', '192.168.50.10'] });
  const port = dns([A], { nodePort: 30053 });
  const came = after(full([port], small), partial([], [], NODE)).search;
  assert.ok(came.untranslated);
  assert.ok(stale(came, '192.168.60.10:30053'));
  assert.not(stale(came, VIP, B), 'other frontends did not move');
  const went = after(full([port], NODE), partial([], [], small)).search;
  assert.not(went.untranslated);
  assert.ok(stale(went, '192.168.60.10:30053', A));
  assert.not(stale(went, NODE_PORT, A));
  nothingMoves(full([dns([A])], small), partial([], [], NODE));
});

// Claims -----------------------------------------------------------------------------------------------------------------

test('of two that claim a frontend the owner counts, and when it goes the next', () => {
  const shared = { externalIPs: ['203.0.113.1'] };
  const first = dns([A], { ...shared, name: 'a', key: 'shop/a/UDP', clusterIP: '10.96.0.1' });
  const second = dns([B], { ...shared, name: 'b', key: 'shop/b/UDP', clusterIP: '10.96.0.2' });
  const both = after(full([second, first])).search;
  assert.not(stale(both, '203.0.113.1:53', A));
  assert.ok(stale(both, '203.0.113.1:53', B));
  const one = after(full([second, first]), partial([], ['shop/a/UDP'])).search;
  assert.ok(stale(one, '203.0.113.1:53', A));
  assert.not(stale(one, '203.0.113.1:53', B));
});

test('an exact address beats a node port', () => {
  const nodePort = dns([A], { nodePort: 30053 });
  const exact = dns([B], {
    name: 'x',
    key: 'shop/x/UDP',
    clusterIP: '10.96.0.2',
    port: 30053,
    externalIPs: ['192.168.50.10'],
  });
  const { search } = after(full([nodePort]), partial([exact]));
  assert.ok(stale(search, NODE_PORT, A));
  assert.not(stale(search, NODE_PORT, B));
  const back = after(full([nodePort, exact]), partial([], ['shop/x/UDP'])).search;
  assert.ok(stale(back, NODE_PORT, B));
  assert.not(stale(back, NODE_PORT, A));
});

// Searches and time --------------------------------------------------------------------------------------------------------

test('a search judges with what is known when it is asked: a new endpoint may have flows already', () => {
  const { frontends, search } = after(full([dns([A])]));
  frontends.apply(partial([dns([A, B])]));
  assert.not(stale(search, VIP, B));
  assert.ok(frontends.moved(), 'and the change has its own search');
});

test('a search that could not be made is part of the next', () => {
  const frontends = createUDPFrontends();
  frontends.apply(full([]));
  frontends.apply(partial([dns([A])]));
  frontends.take();
  frontends.giveBack();
  frontends.giveBack();
  assert.ok(frontends.moved());
  frontends.apply(partial([], ['shop/dns/UDP']));
  const search = frontends.take()!;
  assert.ok(search.untranslated);
  assert.ok(stale(search, VIP, A));
  assert.not(frontends.moved());
});

test('while searches fail, what is remembered stays bounded, and then everything is looked at', () => {
  const frontends = createUDPFrontends();
  frontends.apply(full([dns([A])]));
  frontends.take();
  for (let round = 0; round < 21_000; round++) frontends.apply(partial([dns([round % 2 === 0 ? B : A])]));
  frontends.take();
  frontends.giveBack();
  const search = frontends.take()!;
  assert.ok(search.untranslated);
  assert.not(stale(search, VIP, A));
  assert.ok(stale(search, VIP, B));
});

test('a change costs what it holds, whatever else there is', () => {
  const frontends = createUDPFrontends();
  const many = Array.from({ length: 20_000 }, (_, index) =>
    dns([A], { key: `shop/s${index}/UDP`, clusterIP: `10.97.${index >> 8}.${index & 255}` }),
  );
  frontends.apply(full(many));
  frontends.take();
  let touched = 0;
  const watched = new Proxy(dns([B], { key: 'shop/s7/UDP', clusterIP: '10.97.0.7' }), {
    get(target, field, receiver) {
      touched++;
      return Reflect.get(target, field, receiver);
    },
  });
  frontends.apply(partial([watched]));
  assert.ok(touched < 100, `${touched} reads`);
  const search = frontends.take()!;
  assert.ok(stale(search, '10.97.0.7:53', A));
  assert.not(stale(search, '10.97.0.8:53', B), 'only what moved is looked at');
});

// A backend that answers in the endpoints' stead ------------------------------------------------------------------------

const PROXY = '192.168.50.10:40001';
const [PROXY_IP, PROXY_PORT] = ['192.168.50.10', 40_001] as const;
const other = dns([B], { key: 'kube-system/other/UDP', name: 'other', clusterIP: '10.96.0.99' });
const ANSWERS = [{ ip: PROXY_IP, port: PROXY_PORT }];

function proxied(...changes: readonly Change[]): UDPFrontends {
  const frontends = createUDPFrontends();
  for (const [index, change] of changes.entries()) {
    frontends.apply(change, ANSWERS);
    if (index < changes.length - 1) frontends.take();
  }
  return frontends;
}

test('flows that lead to a backend which answers itself are right, and those that lead past it to endpoints are not', () => {
  const search = proxied(full([dns([A])])).take()!;
  assert.not(stale(search, VIP, PROXY));
  assert.ok(stale(search, VIP, A));
  assert.ok(stale(search, VIP), 'untranslated');
});

test('endpoints behind it come and go without a flow being looked at, until none is left', () => {
  assert.not(proxied(full([dns([A, B])]), partial([dns([B])])).moved());
  const empty = proxied(full([dns([A])]), partial([dns([])])).take()!;
  assert.ok(stale(empty, VIP, PROXY));
});

test('flows that it answered for a Service which is gone are stale', () => {
  const [port] = [dns([A])];
  const search = proxied(full([port]), partial([], [port.key])).take()!;
  assert.ok(stale(search, VIP, PROXY));
  assert.not(stale(search, ELSEWHERE, PROXY));
});

test('a Service that is gone with the change of the backend leaves no flow, whoever translated it', () => {
  for (const [before, now] of [
    [undefined, ANSWERS],
    [ANSWERS, undefined],
    [ANSWERS, [{ ip: PROXY_IP, port: PROXY_PORT + 1 }]],
  ] as const) {
    const frontends = createUDPFrontends();
    frontends.apply(full([dns([A]), other]), before);
    frontends.take();
    frontends.apply(full([other]), now);
    const search = frontends.take()!;
    assert.ok(stale(search, VIP, before === undefined ? A : PROXY));
    assert.not(stale(search, VIP, B), 'what never led there');
  }
});

test('once it answers elsewhere, what leads to where it did is stale', () => {
  const frontends = proxied(full([dns([A])]));
  frontends.take();
  frontends.apply(partial([]), [{ ip: PROXY_IP, port: PROXY_PORT + 1 }]);
  assert.ok(stale(frontends.take()!, VIP, PROXY));
});

test.run();
