/**
 * Random sequences of changes, partial and full mixed, with restarts, failures and crashes among them: whatever happened
 * before, servers, addresses and table are those of a fresh host for the final state.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily } from '../../../core/backend.ts';
import { NetlinkError } from '../../../core/netlink/errors.ts';
import { eachSequence } from '../shared/each-sequence.ts';
import { assertNothingWaits, assertSameState, freshState, kernelState } from './kernel-state.ts';
import { createIPVSModel } from './random-model.ts';
import { newState, type Stage, type StageOptions, stage } from './stage.ts';

const SEQUENCES = 40;
const CHANGES = 12;
const SWEEP_MS = 5_000;
const SCHEDULERS = ['rr', 'wrr', 'lc', 'mh', 'sh'];
const test = suite('ipvs sequences of changes');

/** Until the last of those that wait for connections, of which there are none here. */
async function settled(one: Stage): Promise<Stage> {
  await one.clock.advance(SWEEP_MS);
  return one;
}

test('after every change servers, addresses and table are those of a fresh host', async () => {
  await eachSequence(SEQUENCES, async (random, family, owned) => {
    const settings: StageOptions = { owned, schedulers: SCHEDULERS };
    const model = createIPVSModel(random, family);
    const one = stage(settings);
    await one.sync(model.whole());
    for (let step = 0; step < CHANGES; step++) {
      await one.sync(model.next());
      if (random.chance(0.5)) await settled(one);
      assertSameState(kernelState(one, family), await freshState(model.whole(), settings));
    }
    await settled(one);
    assertNothingWaits(one, family);
    assert.is((await one.sync(model.whole())).operations, 0, 'said again, it is nothing new');
    assert.equal(await one.backend.check(family), { intact: true });
  });
});

test('a restart at any time takes over what there is and writes only what changed meanwhile', async () => {
  await eachSequence(SEQUENCES, async (random, family, owned) => {
    const settings: StageOptions = { owned, schedulers: SCHEDULERS };
    // Of one that lost all of its frontends to others nobody knows the mark.
    const contests = random.chance(0.3);
    const model = createIPVSModel(random, family, { contests });
    const state = newState();
    let one = stage(settings, state);
    await one.sync(model.whole());
    const restart = async (): Promise<number> => {
      await one.backend.close();
      one.nftables.close();
      one = stage(settings, state);
      const { operations } = await one.sync(model.whole());
      assertSameState(kernelState(one, family), await freshState(model.whole(), settings));
      return operations;
    };
    for (let round = 0; round < 4; round++) {
      for (let step = random.below(3); step > 0; step--) await one.sync(model.next());
      await settled(one);
      const before = one.servers(family);
      const operations = await restart();
      if (!contests) assert.is(operations, 0, 'an unchanged model');
      if (!contests) assert.is(one.servers(family), before);
      for (let step = random.below(3); step > 0; step--) model.next();
      await restart();
    }
    await settled(one);
    assertNothingWaits(one, family);
  });
});

const FAULTS = [
  { code: 'KP_NETLINK_OVERRUN', text: 'ENOBUFS' },
  { code: 'KP_NETLINK_REFUSED', errno: 'EPERM', text: 'operation not permitted' },
] as const;

test('what fails, or seems to, is made good by the next full sync', async () => {
  let failures = 0;
  await eachSequence(SEQUENCES, async (random, family, owned) => {
    const settings: StageOptions = { owned, schedulers: SCHEDULERS };
    const model = createIPVSModel(random, family);
    let left = Number.POSITIVE_INFINITY;
    let fail = (_what: string): void => {};
    const one = stage({
      ...settings,
      onCall(what) {
        if (left-- === 0) fail(what);
      },
    });
    await one.sync(model.whole());
    for (let step = 0; step < CHANGES; step++) {
      const change = random.chance(0.2) ? model.whole() : model.next();
      const fault = random.pick(FAULTS);
      const when = fault.code === 'KP_NETLINK_OVERRUN' && random.chance(0.5) ? 'after' : 'before';
      left = random.below(12);
      fail = (what) => {
        if (what === 'commit') one.nftables.failNext(fault, when);
        else if (what.startsWith('ipvs ')) one.ipvs.failNext(fault, when);
        else throw new NetlinkError(fault);
      };
      let failed = false;
      try {
        await one.sync(change);
      } catch (error) {
        assert.match((error as Error).message, fault.text);
        failed = true;
        failures++;
      }
      left = Number.POSITIVE_INFINITY;
      if (!failed) continue;
      assert.is((await one.backend.check(family)).intact, false);
      await one.sync(model.whole());
      assertSameState(kernelState(one, family), await freshState(model.whole(), settings));
      assert.equal(await one.backend.check(family), { intact: true });
    }
    await settled(one);
    assertNothingWaits(one, family);
  });
  assert.ok(failures > SEQUENCES, String(failures));
});

/** Names of virtual servers that nothing in the table says are ours. */
function offRecord(one: Stage, family: IPFamily): string[] {
  const table = family === 'IPv4' ? 'ip' : 'ip6';
  const keys = (set: string) => new Set(one.elements(set, table).map((row) => row.replace(/ → .*/, '')));
  const [services, nodePorts, nodePortIPs, addresses] = ['services', 'nodeports', 'nodeport-ips', 'addresses'].map(
    keys,
  );
  return [...one.state.ipvs.servers.values()].flatMap(({ server }) => {
    if ('mark' in server) return [];
    const { ip, port } = server;
    const protocol = server.protocol.toLowerCase();
    const isNodePort = nodePorts!.has(`${protocol} ${port}`) && nodePortIPs!.has(ip);
    const name = `${ip} ${protocol} ${port}`;
    return services!.has(name) || isNodePort || addresses!.has(ip) ? [] : [name];
  });
}

test('at every moment each virtual server is on record in the table, and each address of the interface', async () => {
  let looks = 0;
  await eachSequence(SEQUENCES, async (random, family, owned) => {
    const model = createIPVSModel(random, family);
    const state = newState();
    let one: Stage | undefined;
    let isLive = false;
    const onCall = (what: string): void => {
      if (one === undefined || !isLive) return;
      looks++;
      assert.equal(offRecord(one, family), [], what);
      const recorded = one.elements('addresses', family === 'IPv4' ? 'ip' : 'ip6');
      const lost = one.addresses(family).filter((ip) => !recorded.includes(ip));
      assert.equal(lost, [], what);
    };
    for (let round = 0; round < 2; round++) {
      one = stage({ owned, schedulers: SCHEDULERS, onCall }, state);
      await one.sync(model.whole());
      isLive = true;
      for (let step = 0; step < CHANGES / 2; step++) await one.sync(model.next());
      one.nftables.close();
      model.next();
    }
  });
  assert.ok(looks > SEQUENCES * CHANGES, String(looks));
});

test('after a crash at any point the next process finds all that is ours and mends it, whatever changed meanwhile', async () => {
  let crashes = 0;
  await eachSequence(SEQUENCES, async (random, family, owned) => {
    const model = createIPVSModel(random, family);
    const state = newState();
    for (let round = 0; round < 6; round++) {
      let left = random.below(40);
      const onCall = (): void => {
        if (left-- <= 0) throw new Error('crash');
      };
      const one = stage({ owned, schedulers: SCHEDULERS, onCall }, state);
      try {
        await one.sync(model.whole());
        for (let step = 0; step < 4; step++) await one.sync(model.next());
      } catch (error) {
        assert.match((error as Error).message, 'crash');
        crashes++;
      }
      await one.backend.close();
      one.nftables.close();
      if (random.chance(0.5)) for (let step = 0; step < 6; step++) model.next();
      if (random.chance(0.5)) continue;
      const next = stage({ owned, schedulers: SCHEDULERS }, state);
      await next.sync(model.whole());
      assertSameState(kernelState(next, family), await freshState(model.whole(), { owned, schedulers: SCHEDULERS }));
      await settled(next);
      assertNothingWaits(next, family);
      await next.backend.close();
      next.nftables.close();
    }
  });
  assert.ok(crashes > SEQUENCES, String(crashes));
});

test.run();
