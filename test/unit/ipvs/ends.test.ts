/** Endpoints that go, over the whole backend: timers, restarts, failures. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ServicePort } from '../../../core/backend.ts';
import { WEIGHT_ANNOTATION } from '../../../plugins/ipvs/balance.ts';
import { endpoint, full, partial, remote, servicePort } from '../nftables/samples.ts';
import { newState, type Stage, stage } from './stage.ts';

const test = suite('ipvs graceful ends');
const [GONE, STAYS] = ['1.0.0.1', '1.0.0.2'];
const SERVER = { protocol: 'TCP', ip: '10.96.0.10', port: 80 } as const;
const WEIGHTED = { annotations: { [WEIGHT_ANNOTATION]: '3' } };
const BOTH = servicePort({ cluster: remote(GONE, STAYS), ...WEIGHTED });
const ONE = servicePort({ cluster: remote(STAYS), ...WEIGHTED });
const SWEEP_MS = 5_000;

/** "1.0.0.1=0", of the ClusterIP. */
function weights({ state }: Stage): string[] {
  const found = [...state.ipvs.servers.values()].find(({ server }) => 'ip' in server && server.ip === SERVER.ip);
  return [...(found?.reals.values() ?? [])].map(({ ip, weight }) => `${ip}=${weight}`).sort();
}

function connect(one: Stage, active: number, ip = GONE): void {
  one.ipvs.connect(SERVER, { ip, port: 8080 }, { active });
}

async function begun(state = newState()): Promise<Stage> {
  const one = stage({ options: { graceSeconds: 60 } }, state);
  await one.sync(full([BOTH]));
  connect(one, 2);
  await one.sync(partial([ONE]));
  return one;
}

test('weight 0 at once; deleted when the last connection has ended', async () => {
  const one = await begun();
  assert.equal(weights(one), [`${GONE}=0`, `${STAYS}=3`]);
  await one.clock.advance(SWEEP_MS * 3);
  assert.equal(weights(one), [`${GONE}=0`, `${STAYS}=3`]);
  connect(one, 0);
  await one.clock.advance(SWEEP_MS);
  assert.equal(weights(one), [`${STAYS}=3`]);
  assert.is(one.clock.pending(), 0, 'nothing is looked at any more');
});

test('deleted at the end of its grace whatever connections it has', async () => {
  const one = await begun();
  await one.clock.advance(59_000);
  assert.equal(weights(one), [`${GONE}=0`, `${STAYS}=3`]);
  await one.clock.advance(SWEEP_MS + 1_000);
  assert.equal(weights(one), [`${STAYS}=3`]);
});

test('one that comes back has its weight at once, also in a full sync', async () => {
  for (const change of [partial([BOTH]), full([BOTH])]) {
    const one = await begun();
    await one.sync(change);
    assert.equal(weights(one), [`${GONE}=3`, `${STAYS}=3`]);
    await one.clock.advance(90_000);
    assert.equal(weights(one), [`${GONE}=3`, `${STAYS}=3`]);
  }
});

test('after a restart in the middle weights are right, it waits again, and is deleted in the end', async () => {
  const state = newState();
  const one = await begun(state);
  await one.backend.close();
  one.nftables.close();
  assert.is(one.clock.pending(), 0, 'closing cancels the timer');
  const two = stage({ options: { graceSeconds: 60 } }, state);
  assert.is((await two.sync(full([ONE]))).operations, 0);
  assert.equal(weights(two), [`${GONE}=0`, `${STAYS}=3`]);
  assert.equal(await two.backend.check('IPv4'), { intact: true });
  await two.clock.advance(50_000);
  assert.equal(weights(two), [`${GONE}=0`, `${STAYS}=3`]);
  connect(two, 0);
  await two.clock.advance(SWEEP_MS);
  assert.equal(weights(two), [`${STAYS}=3`]);
});

test('after a restart one that is wanted again has its weight', async () => {
  const state = newState();
  const one = await begun(state);
  await one.backend.close();
  one.nftables.close();
  const two = stage({}, state);
  await two.sync(full([BOTH]));
  assert.equal(weights(two), [`${GONE}=3`, `${STAYS}=3`]);
  await two.clock.advance(SWEEP_MS * 2);
  assert.equal(weights(two), [`${GONE}=3`, `${STAYS}=3`]);
});

test('UDP goes at once; what may keep its flows has weight 0 until the model lets go of it', async () => {
  const udp = (rest: Partial<ServicePort>): ServicePort => servicePort({ protocol: 'UDP', ...rest });
  const one = stage();
  await one.sync(full([udp({ cluster: remote(GONE, STAYS, '1.0.0.3') })]));
  const keepsFlowsUDP = [endpoint(GONE, { isLocal: false, ready: false })];
  await one.sync(partial([udp({ cluster: remote(STAYS), keepsFlowsUDP })]));
  assert.equal(weights(one), [`${GONE}=0`, `${STAYS}=1`]);
  assert.is(one.clock.pending(), 0);
  assert.equal(await one.backend.check('IPv4'), { intact: true });
  await one.sync(partial([udp({ cluster: remote(STAYS) })]));
  assert.equal(weights(one), [`${STAYS}=1`]);
});

test('a Service that goes takes its virtual server and who waits there with it', async () => {
  const one = await begun();
  await one.sync(partial([], [ONE.key]));
  assert.is(one.servers(), '');
  await one.clock.advance(SWEEP_MS);
  assert.is(one.clock.pending(), 0);
  await one.sync(partial([BOTH]));
  assert.equal(weights(one), [`${GONE}=3`, `${STAYS}=3`]);
});

test('a look that fails asks for a full sync, which waits on', async () => {
  const one = await begun();
  connect(one, 0);
  one.ipvs.failNext({ code: 'KP_NETLINK_OVERRUN', text: 'ENOBUFS' });
  await one.clock.advance(SWEEP_MS);
  assert.is(one.requests.length, 1);
  assert.is(one.log.at('warn').length, 1);
  assert.is((await one.backend.check('IPv4')).intact, false);
  await one.sync(full([ONE]));
  await one.clock.advance(SWEEP_MS);
  assert.equal(weights(one), [`${STAYS}=3`]);
  assert.equal(await one.backend.check('IPv4'), { intact: true });
});

test('a sync that fails does not stop the looking', async () => {
  const one = stage({ options: { graceSeconds: 60 } });
  await one.sync(full([BOTH]));
  const bad = servicePort({ name: 'bad', clusterIP: '10.96.0.66', cluster: remote('224.0.0.1') });
  for (const change of [partial([ONE, bad]), full([ONE, bad])]) {
    await one.sync(change).then(
      () => assert.unreachable(),
      () => undefined,
    );
  }
  assert.equal(weights(one), [`${GONE}=0`, `${STAYS}=3`]);
  await one.clock.advance(SWEEP_MS);
  assert.equal(weights(one), [`${STAYS}=3`]);
});

test('closing leaves no timer, and what a look began ends with it', async () => {
  const one = await begun();
  connect(one, 0);
  await one.backend.close();
  await one.clock.advance(SWEEP_MS * 2);
  assert.equal([weights(one), one.clock.pending()], [[`${GONE}=0`, `${STAYS}=3`], 0]);
});

test.run();
