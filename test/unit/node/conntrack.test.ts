import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Conntrack, FlowIdentity, SelectOptions } from '../../../core/netlink/conntrack.ts';
import { NetlinkError } from '../../../core/netlink/errors.ts';
import { type ConntrackPass, createConntrackReconciler } from '../../../core/node/conntrack.ts';
import type { Flow } from '../../../core/node/conntrack-frontends.ts';
import { servicePort } from '../model/samples.ts';
import { fakeClock, settle } from '../sync/fake-clock.ts';
import { fakeLog } from '../sync/fake-log.ts';
import { A, B, dns, flow, full, partial, VIP } from './conntrack-samples.ts';

const test = suite('conntrack reconciliation');

interface Kernel {
  flows: Flow[];
  readonly selects: SelectOptions[];
  opened: number;
  closed: number;
  /** Called inside each select. */
  during: () => Promise<unknown>;
  complete: () => boolean;
}

function scene() {
  const kernel: Kernel = {
    flows: [],
    selects: [],
    opened: 0,
    closed: 0,
    during: async () => undefined,
    complete: () => true,
  };
  const known = new Map<FlowIdentity, Flow>();
  const open = (pause: () => Promise<void>): Conntrack => {
    kernel.opened++;
    return {
      async select(options) {
        kernel.selects.push(options);
        await kernel.during();
        await pause();
        const picked = kernel.flows
          .filter((one) => options.port(one.destinationPort) && options.pick(one))
          .map((one) => {
            const identity: FlowIdentity = { family: options.family, tuple: new Uint8Array(8) };
            known.set(identity, one);
            return identity;
          });
        return { picked, complete: kernel.complete() };
      },
      async delete(identities) {
        await pause();
        const gone = new Set(identities.map((identity) => known.get(identity)));
        kernel.flows = kernel.flows.filter((one) => !gone.has(one));
        return gone.size;
      },
      close: () => void kernel.closed++,
    };
  };
  const log = fakeLog();
  const clock = fakeClock();
  const passes: ConntrackPass[] = [];
  const reconciler = createConntrackReconciler({ log, clock, open, onPass: (pass) => passes.push(pass) });
  return { kernel, log, clock, passes, reconciler };
}

test('after a change the stale flows are deleted, and it is told how many', async () => {
  const { kernel, log, passes, reconciler } = scene();
  kernel.flows = [flow(VIP, A), flow(VIP, B), flow('198.51.100.1:53', B)];
  reconciler.synced(full([dns([A])]));
  assert.is(kernel.opened, 0, 'not before the sync is over');
  await reconciler.settled();
  assert.equal(kernel.flows, [flow(VIP, A), flow('198.51.100.1:53', B)]);
  assert.equal(passes, [{ family: 'IPv4', durationSeconds: 0, deleted: 1 }]);
  const [line] = log.at('info');
  assert.is(line?.message, 'Stale UDP flows were deleted from conntrack');
  assert.equal([line?.values.family, line?.values.deleted], ['IPv4', 1]);
  assert.equal([kernel.opened, kernel.closed], [1, 1]);
});

test('a change without UDP does nothing at all', async () => {
  const { kernel, reconciler } = scene();
  reconciler.synced(full([servicePort()]));
  reconciler.synced(partial([servicePort({ port: 81 })]));
  await reconciler.settled();
  assert.is(kernel.opened, 0);
});

test('what moves during a pass waits for the next, of which there is one, and families do not wait for each other', async () => {
  const { kernel, reconciler } = scene();
  const { promise, resolve } = Promise.withResolvers<void>();
  kernel.during = () => promise;
  reconciler.synced(full([dns([A])]));
  await settle();
  await settle();
  for (const endpoint of [B, A, B]) reconciler.synced(partial([dns([endpoint])]));
  reconciler.synced({ ...full([dns([A])]), family: 'IPv6' });
  await settle();
  await settle();
  assert.equal(
    kernel.selects.map(({ family }) => family),
    ['IPv4', 'IPv6'],
  );
  resolve();
  await reconciler.settled();
  assert.equal(
    kernel.selects.map(({ family }) => family),
    ['IPv4', 'IPv6', 'IPv4'],
  );
});

test('passes take a fifth of the time at most', async () => {
  const { kernel, reconciler, clock } = scene();
  kernel.during = () => clock.advance(100);
  reconciler.synced(full([dns([A])]));
  await reconciler.settled();
  kernel.during = async () => undefined;
  reconciler.synced(partial([dns([B])]));
  await clock.advance(399);
  assert.is(kernel.selects.length, 1);
  await clock.advance(1);
  await reconciler.settled();
  assert.is(kernel.selects.length, 2);
});

test('an interrupted dump is repeated, but not for ever', async () => {
  const { kernel, reconciler, log } = scene();
  kernel.complete = () => kernel.selects.length >= 2;
  reconciler.synced(full([dns([A])]));
  await reconciler.settled();
  assert.is(kernel.selects.length, 2);
  kernel.complete = () => false;
  reconciler.synced(full([dns([A])]));
  await reconciler.settled();
  assert.is(kernel.selects.length, 2 + 4);
  assert.equal(log.at('warn'), []);
});

test('a failure is one warning with a remedy, repeated quietly, made good after the next sync, and then told', async () => {
  const { kernel, reconciler, log } = scene();
  const denied = new NetlinkError({
    code: 'KP_NETLINK_REFUSED',
    operation: 'conntrack dump',
    errno: 'EPERM',
    text: 'not permitted',
    remedy: 'needs CAP_NET_ADMIN',
  });
  kernel.during = () => Promise.reject(denied);
  kernel.flows = [flow(VIP, A)];
  reconciler.synced(full([dns([A])]));
  await reconciler.settled();
  reconciler.synced(partial([], ['shop/dns/UDP']));
  await reconciler.settled();
  assert.is(log.at('warn').length, 1);
  assert.match(String(log.at('warn')[0]?.values.error), /EPERM .*needs CAP_NET_ADMIN/);
  assert.is(log.at('v2').length, 1);
  assert.is(kernel.selects.length, 2, 'not before the next sync');
  kernel.during = async () => undefined;
  reconciler.synced(partial([servicePort()]));
  await reconciler.settled();
  assert.equal(kernel.flows, []);
  assert.ok(log.at('info').some(({ message }) => message === 'UDP flows in conntrack are kept right again'));
  assert.is(kernel.opened, kernel.closed);
  kernel.during = () => Promise.reject(new Error('odd'));
  reconciler.synced(full([dns([A])]));
  await reconciler.settled();
  assert.match(String(log.at('warn')[1]?.values.remedy), /conntrack -D/);
});

test('a socket that cannot be had is a failure like any other', async () => {
  const log = fakeLog();
  const reconciler = createConntrackReconciler({
    log,
    open: () => {
      throw new NetlinkError({ code: 'KP_NETLINK_UNAVAILABLE', text: 'no netlink' });
    },
  });
  reconciler.synced(full([dns([A])]));
  await reconciler.settled();
  assert.is(log.at('warn').length, 1);
});

test('stop ends a pass at its next pause and starts none', async () => {
  const { kernel, reconciler, clock, log } = scene();
  kernel.flows = [flow(VIP, B)];
  const { promise, resolve } = Promise.withResolvers<void>();
  kernel.during = () => promise;
  reconciler.synced(full([dns([A])]));
  await settle();
  await settle();
  const stopping = reconciler.stop();
  resolve();
  await stopping;
  assert.is(kernel.flows.length, 1);
  assert.is(kernel.opened, kernel.closed);
  reconciler.synced(partial([dns([B])]));
  await reconciler.settled();
  assert.is(kernel.opened, 1);
  assert.equal([log.lines.length, clock.pending()], [0, 0]);
});

test('stop does not wait for a pass that is due later', async () => {
  const { kernel, reconciler, clock } = scene();
  kernel.during = () => clock.advance(100);
  reconciler.synced(full([dns([A])]));
  await reconciler.settled();
  reconciler.synced(partial([dns([B])]));
  await reconciler.stop();
  assert.equal([kernel.opened, clock.pending()], [1, 0]);
});

test.run();
