/**
 * The addresses of a real kernel's interfaces, and the watch on them:
 *
 *   lo (alias) · up0 ⇄ peer0 (veth) · dead0 ⇄ peer1 (veth, the peer is down: no carrier) · never0 (never up)
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openRoute } from '../../core/netlink/route.ts';
import { openAddressEvents } from '../../core/netlink/route-events.ts';
import { IFF_RUNNING, IFF_UP } from '../../core/netlink/route-messages.ts';
import { openAddressSource } from '../../core/node/address-source.ts';
import { type AddressWatch, watchAddresses } from '../../core/node/addresses.ts';
import { isolateTests } from './isolated.ts';

await isolateTests([]);

/** How long a change may take until the test fails; half a second is usual. */
const LIMIT_MS = 15_000;

function ip(...lines: readonly string[]): void {
  execFileSync('ip', ['-force', '-batch', '-'], { input: lines.join('\n') });
}

const has = (watch: AddressWatch, interfaceName: string, address: string): boolean =>
  watch.current().some((found) => found.interfaceName === interfaceName && found.ip === address);

const test = suite('addresses of the kernel');
let told = 0;

async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = Date.now() + LIMIT_MS;
  while (!condition()) {
    if (Date.now() > deadline)
      throw new Error(`not within ${LIMIT_MS} ms: ${what}; ${JSON.stringify(watch.current())}`);
    await sleep(20);
  }
}

ip(
  'link add up0 type veth peer name peer0',
  'link set up0 up',
  'link set peer0 up',
  'link add dead0 type veth peer name peer1',
  'link set dead0 up',
  'link add never0 type veth peer name peer2',
);
const watch = watchAddresses({
  // Only an event can make this list again within LIMIT_MS.
  source: openAddressSource({ onFallback: assert.unreachable }),
  onChange: () => told++,
  onFault: (error) => assert.unreachable(String(error)),
});
await until('IPv6 is ready', () => watch.current().some((a) => a.interfaceName === 'up0' && a.ip.startsWith('fe80')));

test.after(() => watch.stop());

test('links have their flags', () => {
  const route = openRoute();
  const flags = new Map(route.links().map((link) => [link.name, link.flags & (IFF_UP | IFF_RUNNING)]));
  route.close();
  assert.equal([...flags.keys()].sort(), ['dead0', 'lo', 'never0', 'peer0', 'peer1', 'peer2', 'up0']);
  assert.is(flags.get('up0'), IFF_UP | IFF_RUNNING);
  assert.is(flags.get('dead0'), IFF_UP);
  assert.is(flags.get('never0'), 0);
});

test('an address that comes and goes is reported', async () => {
  const before = told;
  ip('addr add 192.0.2.1/24 dev up0');
  await until('the address is there', () => has(watch, 'up0', '192.0.2.1'));
  assert.ok(told > before);
  ip('addr del 192.0.2.1/24 dev up0');
  await until('the address is gone', () => !has(watch, 'up0', '192.0.2.1'));
});

test('an alias on lo is reported', async () => {
  ip('addr add 192.0.2.3/32 dev lo', 'addr add 2001:db8::3/128 dev lo');
  await until('they are there', () => has(watch, 'lo', '192.0.2.3') && has(watch, 'lo', '2001:db8::3'));
  assert.ok(has(watch, 'lo', '127.0.0.1') && has(watch, 'lo', '::1'));
});

test('addresses without carrier, and of an interface that was never up, are reported', async () => {
  ip('addr add 192.0.2.4/24 dev dead0', 'addr add 192.0.2.5/24 dev never0');
  await until('they are there', () => has(watch, 'dead0', '192.0.2.4') && has(watch, 'never0', '192.0.2.5'));
  assert.is(networkInterfaces().dead0, undefined, 'which Node.js does not see');
  // The kernel's own word for an address that it answers on.
  const local = execFileSync('ip', ['route', 'show', 'table', 'local'], { encoding: 'utf8' });
  assert.match(local, /^local 192\.0\.2\.4 dev dead0/m);
  assert.match(local, /^local 192\.0\.2\.5 dev never0/m);
});

test('of a point-to-point link the near address is reported', async () => {
  ip('addr add 192.0.2.8 peer 192.0.2.9 dev up0', 'addr add 2001:db8::8 peer 2001:db8::9 dev up0 nodad');
  await until('they are there', () => has(watch, 'up0', '192.0.2.8') && has(watch, 'up0', '2001:db8::8'));
  assert.not.ok(has(watch, 'up0', '192.0.2.9') || has(watch, 'up0', '2001:db8::9'));
});

test('an IPv6 address is reported when it is no longer tentative', async () => {
  // Without carrier it stays tentative; a later IPv4 address proves that the watch has looked.
  ip('addr add 2001:db8::a/64 dev dead0', 'addr add 192.0.2.10/24 dev dead0');
  await until('the watch has looked', () => has(watch, 'dead0', '192.0.2.10'));
  const route = openRoute();
  assert.ok(route.addresses().some((address) => address.ip === '2001:db8::a'));
  route.close();
  assert.not.ok(has(watch, 'dead0', '2001:db8::a'));
  ip('link set peer1 up');
  await until('it is no longer tentative', () => has(watch, 'dead0', '2001:db8::a'));
});

test('addresses of an interface that is removed go with it', async () => {
  ip('link del dead0');
  await until('they are gone', () => !watch.current().some(({ interfaceName }) => interfaceName === 'dead0'));
});

test('addresses of kube-ipvs0 are nobody’s business, also when it was deleted and made again', async () => {
  const source = openAddressSource({ onFallback: assert.unreachable });
  const before = source.list();
  const settled = () => {
    while (source.changed!());
  };
  const route = openRoute();
  assert.is(route.linkIndex('kube-ipvs0'), undefined);
  for (const round of [1, 2]) {
    ip('link add kube-ipvs0 type veth peer name ipvs-peer'); // Not every test kernel has dummy interfaces.
    settled();
    ip(`addr add 10.96.0.${round}/32 dev kube-ipvs0`, `addr add fd00:96::${round}/128 dev kube-ipvs0 nodad`);
    assert.is(source.changed!(), false);
    const index = route.linkIndex('kube-ipvs0');
    assert.is(index, route.links().find(({ name }) => name === 'kube-ipvs0')?.index);
    assert.ok(route.addresses().some(({ ip }) => ip === `10.96.0.${round}`));
    assert.not.ok(route.addresses(index).some(({ linkIndex }) => linkIndex === index));
    assert.equal(source.list(), before);
    ip('addr flush dev kube-ipvs0');
    assert.is(source.changed!(), false);
    ip(`addr add 10.96.0.${round}/32 dev kube-ipvs0`, 'addr add 192.0.2.77/32 dev never0');
    assert.is(source.changed!(), true, 'another link changed, too');
    assert.is(source.list().length, before.length + 1);
    ip('addr del 192.0.2.77/32 dev never0', 'link del kube-ipvs0');
    assert.is(source.changed!(), true);
  }
  assert.equal(source.list(), before);
  route.close();
  source.close();
});

test('after more events than the socket holds there is a change, then silence, then events again', () => {
  const events = openAddressEvents();
  const add = Array.from({ length: 4000 }, (_, n) => `addr add 198.18.${n >> 8}.${n & 255}/32 dev never0`);
  ip(...add);
  // Read without reading: /proc counts what the kernel dropped.
  const drops = readFileSync('/proc/net/netlink', 'utf8')
    .split('\n')
    .map((line) => Number(line.trim().split(/\s+/)[8]));
  assert.ok(
    drops.some((count) => count > 0),
    'the kernel dropped events',
  );
  assert.is(events.changed(), 'any');
  while (events.changed() === 'any');
  ip('addr flush dev never0');
  assert.not.equal(events.changed(), new Set());
  events.close();
});

test.run();
