/** What `check` notices, and that the full sync after it mends. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Change, IPVSStep } from '../../../core/backend.ts';
import { createFakeIPVS } from '../../../core/netlink/ipvs-fake.ts';
import { endpoints, full, many, partial, remote, servicePort } from '../nftables/samples.ts';
import { type Stage, stage } from './stage.ts';

const test = suite('ipvs checks');
const VIP = '203.0.113.1';
const SERVER = { protocol: 'TCP', ip: VIP, port: 80, scheduler: 'rr', persistenceSeconds: 0 } as const;
const WEB = servicePort({
  externalIPs: [VIP],
  externalPolicy: 'Local',
  cluster: remote('1.0.0.1', '1.0.0.2'),
  local: endpoints('1.0.0.2'),
});

async function reason(one: Stage): Promise<string> {
  const answer = await one.backend.check('IPv4');
  return answer.intact ? '' : answer.reason;
}

/** As somebody else, who gets no record in `done`. */
function vandal(one: Stage, ...steps: readonly IPVSStep[]): Promise<unknown> {
  return createFakeIPVS(one.state.ipvs).apply(steps);
}

const link = (one: Stage) => one.links.dummyLink('kube-ipvs0');
const DAMAGES: Readonly<Record<string, readonly [(one: Stage) => unknown, RegExp]>> = {
  'an address that is gone': [(one) => link(one).change({ remove: [VIP] }), /kube-ipvs0 has lost 203\.0\.113\.1/],
  'the interface, gone': [(one) => link(one).delete(), /the interface kube-ipvs0 is gone/],
  'a virtual server that is gone': [
    (one) => vandal(one, { do: 'delete virtual server', server: SERVER }),
    /virtual server 203\.0\.113\.1 tcp 80 is gone/,
  ],
  'the virtual server of a mark, gone': [
    (one) => vandal(one, { do: 'delete virtual server', server: { mark: 0x4b500001, family: 'IPv4' } }),
    /virtual server mark 1263534081 is gone/,
  ],
  'another scheduler': [
    (one) => vandal(one, { do: 'set virtual server', server: { ...SERVER, scheduler: 'wlc' } }),
    /203\.0\.113\.1 tcp 80 is another/,
  ],
  'session affinity': [
    (one) => vandal(one, { do: 'set virtual server', server: { ...SERVER, persistenceSeconds: 60 } }),
    /203\.0\.113\.1 tcp 80 is another/,
  ],
  'a real server that is gone': [
    (one) => vandal(one, { do: 'delete real server', server: SERVER, real: { ip: '1.0.0.2', port: 8080 } }),
    /203\.0\.113\.1 tcp 80: real server 1\.0\.0\.2 8080 is missing/,
  ],
  'another weight': [
    (one) => vandal(one, { do: 'set real server', server: SERVER, real: { ip: '1.0.0.2', port: 8080, weight: 9 } }),
    /1\.0\.0\.2 8080 is another/,
  ],
  'a real server too many': [
    (one) => vandal(one, { do: 'add real server', server: SERVER, real: { ip: '6.6.6.6', port: 8080, weight: 1 } }),
    /6\.6\.6\.6 8080 is not wanted/,
  ],
  'the table, gone': [(one) => one.state.tables.tables.delete('ip kube-ipvs'), /the table is gone/],
};

for (const [damage, [vandalise, noticed]] of Object.entries(DAMAGES)) {
  test(`notices ${damage}; the sync after it mends that, also with another change`, async () => {
    const moved = { ...WEB, cluster: remote('1.0.0.3'), local: remote('1.0.0.3') };
    for (const [before, change] of [
      [WEB, full([WEB])],
      [WEB, full([moved])],
      [WEB, full([])],
    ] as readonly (readonly [typeof WEB, Change])[]) {
      const one = stage();
      await one.sync(full([before]));
      assert.equal(await one.backend.check('IPv4'), { intact: true });
      await vandalise(one);
      assert.match(await reason(one), noticed);
      assert.match(await reason(one), noticed, 'until it is mended');
      await one.sync(change);
      await one.clock.advance(5_000);
      const fresh = stage();
      await fresh.sync(change);
      assert.equal([one.servers(), one.addresses()], [fresh.servers(), fresh.addresses()]);
      assert.is(one.nftables.dump(), fresh.nftables.dump());
      assert.equal(await one.backend.check('IPv4'), { intact: true });
    }
  });
}

test('before the first sync, and after one that failed, it is not intact', async () => {
  const one = stage();
  assert.match(await reason(one), /not looked at yet/);
  await one.sync(full([WEB]));
  one.ipvs.failNext({ code: 'KP_NETLINK_OVERRUN', text: 'ENOBUFS' });
  await one.sync(partial([{ ...WEB, cluster: remote('1.0.0.9') }])).then(
    () => assert.unreachable(),
    () => undefined,
  );
  assert.match(await reason(one), /the last sync failed/);
});

test('real servers are looked at in turn, some at each check, each in the end, and again', async () => {
  const one = stage();
  await one.sync(full(many(120)));
  for (let round = 0; round < 2; round++) {
    const last = { protocol: 'TCP', ip: '10.96.0.120', port: 80 } as const;
    await vandal(one, { do: 'delete real server', server: last, real: { ip: '10.244.1.11', port: 8080 } });
    const found = [await reason(one), await reason(one), await reason(one)];
    assert.equal(found.slice(0, 2), ['', '']);
    assert.match(found[2]!, /10\.96\.0\.120 tcp 80: real server 10\.244\.1\.11 8080 is missing/);
    await one.sync(full(many(120)));
    assert.equal(await one.backend.check('IPv4'), { intact: true });
    // The turn that this began goes on to its end.
    await one.backend.check('IPv4');
    await one.backend.check('IPv4');
  }
});

test('the turn goes on past a virtual server that is gone, from the beginning', async () => {
  const one = stage();
  await one.sync(full(many(60)));
  await one.backend.check('IPv4');
  await one.sync(partial([], [many(60)[49]!.key]));
  await one.backend.check('IPv4');
  const first = { protocol: 'TCP', ip: '10.96.0.1', port: 80 } as const;
  await vandal(one, { do: 'delete real server', server: first, real: { ip: '10.244.1.11', port: 8080 } });
  assert.match(await reason(one), /10\.96\.0\.1 tcp 80/);
});

test('without ownership of the table a check notices what somebody did to it', async () => {
  const one = stage({ owned: false });
  await one.sync(full([WEB]));
  assert.equal(await one.backend.check('IPv4'), { intact: true });
  await one.nftables.commit({
    family: 'ip',
    table: 'kube-ipvs',
    operations: [{ do: 'flush chain', chain: 'services' }],
  });
  assert.match(await reason(one), /services/);
  await one.sync(full([WEB]));
  assert.equal(await one.backend.check('IPv4'), { intact: true });
});

test('what waits for its end, and what others have, is no difference', async () => {
  const one = stage();
  await one.sync(full([WEB]));
  await one.sync(partial([{ ...WEB, cluster: remote('1.0.0.2') }]));
  await vandal(one, { do: 'add virtual server', server: { ...SERVER, ip: '198.51.100.1' } });
  await link(one).change({ add: ['198.51.100.77'] });
  assert.equal(await one.backend.check('IPv4'), { intact: true });
});

test.run();
