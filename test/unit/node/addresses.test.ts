import { mock } from 'node:test';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { InterfaceAddress } from '../../../core/model/node-settings.ts';
import { NetlinkError } from '../../../core/netlink/errors.ts';
import type { ChangedLinks } from '../../../core/netlink/route-events.ts';
import type { LinkAddress } from '../../../core/netlink/route-messages.ts';
import { addressesOfInterfaces, addressesOfLinks, openAddressSource } from '../../../core/node/address-source.ts';
import { watchAddresses } from '../../../core/node/addresses.ts';
import { systemClock } from '../../../core/node/clock.ts';

const addresses = suite('addresses of the interfaces');

addresses('they are canonical, without zones, sorted, and each there once', () => {
  const found = addressesOfInterfaces({
    lo: [{ address: '127.0.0.1' }, { address: '::1' }],
    eth0: [{ address: 'fe80::1%eth0' }, { address: 'FE80:0::2' }, { address: 'fe80::2' }, { address: '10.0.0.2' }],
    gone: undefined,
    odd: [{ address: 'nonsense' }],
  });
  assert.equal(found, [
    { interfaceName: 'eth0', ip: '10.0.0.2' },
    { interfaceName: 'eth0', ip: 'fe80::1' },
    { interfaceName: 'eth0', ip: 'fe80::2' },
    { interfaceName: 'lo', ip: '127.0.0.1' },
    { interfaceName: 'lo', ip: '::1' },
  ]);
});

function onLink(linkIndex: number, ip: string, flags = 0): LinkAddress {
  return { linkIndex, ip, flags, family: ip.includes(':') ? 'IPv6' : 'IPv4', prefixLength: 24, scope: 0 };
}

addresses('those of netlink get the names of their links, and those not usable or of no link are left out', () => {
  const TENTATIVE = 0x40;
  const found = addressesOfLinks(
    [
      onLink(2, '10.0.0.2'),
      onLink(1, '127.0.0.1'),
      onLink(2, '10.0.0.2'),
      onLink(2, 'fd00::1', TENTATIVE),
      onLink(2, '::ffff:10.0.0.1'),
      onLink(3, '10.0.0.3'),
      onLink(9, '10.0.0.9'),
    ],
    [
      { index: 1, name: 'lo' },
      { index: 2, name: 'eth0' },
      { index: 3, name: '__proto__' },
    ],
  );
  assert.equal(found, [
    { interfaceName: '__proto__', ip: '10.0.0.3' },
    { interfaceName: 'eth0', ip: '10.0.0.1' },
    { interfaceName: 'eth0', ip: '10.0.0.2' },
    { interfaceName: 'lo', ip: '127.0.0.1' },
  ]);
});

const unavailable = new NetlinkError({ code: 'KP_NETLINK_UNAVAILABLE', text: 'no koffi' });

addresses('without netlink they come from Node.js, which is said once', () => {
  const closed: string[] = [];
  const route = {
    linkIndex: () => undefined,
    links: () => [],
    addresses: (): readonly LinkAddress[] => [],
    close: () => void closed.push('route'),
  };
  const events = { changed: () => new Set<number>(), close: () => void closed.push('events') };
  const refuse = (): never => {
    throw unavailable;
  };
  const cases = [
    { seams: { route: refuse, events: () => events }, closes: [] },
    { seams: { route: () => route, events: refuse }, closes: ['route'] },
    // A sandbox may grant the socket and refuse the listing.
    { seams: { route: () => ({ ...route, addresses: refuse }), events: () => events }, closes: ['events', 'route'] },
  ];
  for (const { seams, closes } of cases) {
    const reasons: unknown[] = [];
    closed.length = 0;
    const source = openAddressSource({ ...seams, onFallback: (error) => reasons.push(error) });
    assert.equal(reasons, [unavailable]);
    assert.equal(closed, closes);
    assert.is(source.changed, undefined);
    assert.ok(Array.isArray(source.list()));
  }
  const source = openAddressSource({ route: () => route, events: () => events, onFallback: assert.unreachable });
  assert.is(source.changed?.(), false);
  source.close();
  assert.equal(closed.slice(-2), ['events', 'route']);
});

addresses('those of kube-ipvs0 are left out, and its events are no change', () => {
  const none = new Set<number>();
  const world = { index: 7 as number | undefined, links: none as ChangedLinks, asked: 0 };
  const excepted: (number | undefined)[] = [];
  const all = [onLink(2, '10.0.0.2'), onLink(7, '10.96.0.1'), onLink(9, '10.96.0.1')];
  const source = openAddressSource({
    route: () => ({
      linkIndex(name) {
        assert.is(name, 'kube-ipvs0');
        world.asked++;
        return world.index;
      },
      links: () => [
        { index: 2, name: 'eth0', flags: 0 },
        { index: world.index ?? 99, name: 'kube-ipvs0', flags: 0 },
      ],
      addresses(except) {
        excepted.push(except);
        // It may have come after its index was asked for.
        return all;
      },
      close: () => undefined,
    }),
    events: () => ({ changed: () => world.links, close: () => undefined }),
    onFallback: assert.unreachable,
  });
  assert.equal(source.list(), eth0('10.0.0.2'));
  assert.equal(excepted, [7, 7], 'the trial and the listing');
  const changed = (links: ChangedLinks): boolean => {
    world.links = links;
    return source.changed!();
  };
  world.asked = 0;
  assert.is(changed(none), false);
  assert.is(changed('any'), true);
  assert.is(changed(new Set([2, 7])), true);
  assert.is(world.asked, 0, 'nothing is asked where there is nothing to tell apart');
  assert.is(changed(new Set([7])), false);
  assert.is(changed(new Set([2])), true);
  // Deleted; its addresses went with it. Then made again.
  world.index = undefined;
  assert.is(changed(new Set([7])), true);
  world.index = 9;
  assert.is(changed(new Set([9])), false);
  assert.is(changed(new Set([7])), true, 'the old index may be any link’s now');
  assert.equal(source.list(), eth0('10.0.0.2'));
});

const eth0 = (...ips: readonly string[]): readonly InterfaceAddress[] =>
  ips.map((ip) => ({ interfaceName: 'eth0', ip }));

/** A watch over a source that the test commands, in a time that it commands too. */
function watched({ eventful }: { readonly eventful: boolean }) {
  mock.timers.enable({ apis: ['setInterval'] });
  const world = { now: eth0('10.0.0.1'), event: false, broken: false, deaf: false };
  const seen = { told: 0, listed: 0, faults: 0, closed: 0 };
  const watch = watchAddresses({
    source: {
      list() {
        seen.listed++;
        if (world.broken) throw new Error('no listing');
        return [...world.now];
      },
      ...(eventful && {
        changed() {
          if (world.deaf) throw new Error('no events');
          const { event } = world;
          world.event = false;
          return event;
        },
      }),
      close: () => seen.closed++,
    },
    onChange: () => seen.told++,
    onFault: () => seen.faults++,
  });
  return { world, seen, watch, pass: (ms: number) => mock.timers.tick(ms) };
}

addresses.after.each(() => mock.timers.reset());

addresses('who watches is told when they differ, and only then', () => {
  const { world, seen, watch, pass } = watched({ eventful: false });
  assert.equal(watch.current(), world.now, 'known at once');
  pass(4000);
  assert.is(seen.told, 0);
  world.now = eth0('10.0.0.1', '10.0.0.2');
  pass(2000);
  assert.is(seen.told, 1);
  assert.is(watch.current().length, 2);
  pass(4000);
  watch.stop();
  world.now = [];
  pass(100_000);
  assert.equal(seen, { told: 1, listed: 6, faults: 0, closed: 1 });
});

addresses('with events, they are listed at once after one, else every 30 seconds', () => {
  const { world, seen, watch, pass } = watched({ eventful: true });
  pass(20_000);
  assert.is(seen.listed, 1);
  world.now = eth0('10.0.0.2');
  world.event = true;
  pass(500);
  assert.equal(watch.current(), world.now);
  assert.equal(seen, { told: 1, listed: 2, faults: 0, closed: 0 });
  pass(29_500);
  assert.is(seen.listed, 2);
  world.now = eth0('10.0.0.3'); // Of which no event came.
  pass(500);
  assert.equal(seen, { told: 2, listed: 3, faults: 0, closed: 0 });
  watch.stop();
});

addresses('an event without a difference tells nobody', () => {
  const { world, seen, watch, pass } = watched({ eventful: true });
  world.event = true;
  pass(1000);
  assert.equal(seen, { told: 0, listed: 2, faults: 0, closed: 0 });
  watch.stop();
});

addresses('when they cannot be listed the last ones stay, that is said once, and they are asked for again', () => {
  const { world, seen, watch, pass } = watched({ eventful: true });
  world.broken = true;
  world.event = true;
  world.now = eth0('10.0.0.2');
  pass(10_500);
  assert.is(seen.faults, 1);
  assert.is(seen.listed, 1 + 6, 'at once, then every two seconds');
  assert.equal(watch.current(), eth0('10.0.0.1'));
  world.broken = false;
  pass(2000);
  assert.equal(watch.current(), world.now);
  assert.is(seen.told, 1);
  world.broken = true;
  world.event = true;
  pass(500);
  assert.is(seen.faults, 2, 'a new fault');
  watch.stop();
});

addresses('when events fail they are listed once events work again', () => {
  const { world, seen, watch, pass } = watched({ eventful: true });
  world.deaf = true;
  world.now = eth0('10.0.0.2');
  pass(10_000);
  assert.is(seen.faults, 1);
  world.deaf = false;
  pass(2000);
  assert.equal(watch.current(), world.now);
  watch.stop();
});

const clock = suite('clock');
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

clock('a callback comes once, after its time, and not when cancelled', async () => {
  const calls: string[] = [];
  const began = systemClock.now();
  const cancel = systemClock.after(10, () => calls.push('cancelled'));
  systemClock.after(20, () => calls.push('after'));
  cancel();
  await pause(60);
  assert.equal(calls, ['after']);
  assert.ok(systemClock.now() - began >= 20);
});

clock('a time longer than a timer of the runtime can last does not fire at once', async () => {
  let fired = false;
  const cancel = systemClock.after(2 ** 33, () => {
    fired = true;
  });
  await pause(20);
  cancel();
  assert.is(fired, false);
});

addresses.run();
clock.run();
