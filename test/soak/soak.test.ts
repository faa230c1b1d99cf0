/** A few seconds of the soak, so that what `npm run soak` does for minutes is known to work, and to notice. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createCluster } from '../apiserver/cluster.ts';
import type { KubeObject } from '../apiserver/kinds/kind.ts';
import { isolateTests } from '../netns/isolated.ts';
import { planTopology } from '../netns/world-topology.ts';
import { seeded } from '../unit/model/random.ts';
import { currentTruth } from './agreement.ts';
import { createChurn } from './churn.ts';
import { planIncidents } from './plan.ts';
import { soak } from './soak.ts';
import { SOAK_PACKAGES } from './stage.ts';

await isolateTests(SOAK_PACKAGES);
const test = suite('soak');

const SEED = 4;
/** Of the iptables backend's acts. */
const FLUSH_SERVICES = 2;
const KINDS = ['Service', 'EndpointSlice', 'Node', 'ServiceCIDR'] as const;

/** What the churn made of a cluster, without what differs by nature. */
function clusterAfter(steps: number, seed: number): readonly unknown[] {
  const { objects } = createCluster({ serviceCIDRs: ['10.96.0.0/16', 'fd00:10:96::/112'] });
  const churn = createChurn(objects, 40, { random: seeded(seed), addresses: planTopology(), now: () => new Date(0) });
  churn.populate();
  for (let step = 0; step < steps; step++) churn.step(true);
  const { made, refused } = churn.counts();
  assert.ok(made > steps && refused < made / 50, `${made} writes, ${refused} refused`);
  return KINDS.flatMap((kind) => objects.list(kind)).map(({ metadata, ...rest }: KubeObject) => {
    const { name, namespace, labels } = metadata;
    return { ...rest, metadata: { name, namespace, labels } };
  });
}

test('the same seed makes the same cluster and the same faults, another one others', () => {
  assert.equal(clusterAfter(500, SEED), clusterAfter(500, SEED));
  assert.not.equal(clusterAfter(500, SEED), clusterAfter(500, SEED + 1));
  const plan = (seed: number) => planIncidents(9000, 50, seeded(seed));
  assert.equal(plan(SEED), plan(SEED));
  assert.not.equal(plan(SEED), plan(SEED + 1));
});

test('faults of every kind come in three minutes, in order, inside the time, and the proxy is left to live in the end', () => {
  const steps = 9000;
  const incidents = planIncidents(steps, 50, seeded(SEED));
  const kinds = new Set(incidents.map(({ fault }) => fault.kind));
  for (const kind of [
    'answers',
    'streams',
    'half-open',
    'compaction',
    'server restart',
    'stalled handshakes',
    'blackhole',
    'token',
    'server certificate',
    'client certificate',
    'configuration',
    'vandalism',
    'proxy restart',
  ] as const) {
    assert.ok(kinds.has(kind), kind);
  }
  for (const [at, { begin, end, fault }] of incidents.entries()) {
    assert.ok(begin >= (incidents[at - 1]?.begin ?? 0) && end >= begin && end < steps);
    if (fault.kind === 'proxy restart') assert.ok(begin < steps / 2);
  }
});

test('some seconds of churn and faults end in agreement, and a rule that is missing then is noticed', async () => {
  const print = (line: string): void => console.log(`# ${line}`);
  let noticed: readonly string[] = [];
  const differences = await soak(
    {
      minutes: 0.08,
      backend: 'iptables',
      services: 40,
      seed: SEED,
      changesPerSecond: 50,
      reportEverySeconds: 2,
      sample: 40,
    },
    {
      print,
      signal: new AbortController().signal,
      async atEnd(stage, compare) {
        const truth = await currentTruth(stage);
        const { namespace, name } = truth.families.IPv4.ports[0]!;
        // Nobody is there to repair the one, or to be told of the other.
        await stage.daemon.stop('SIGTERM');
        await stage.kernel.vandalize(FLUSH_SERVICES);
        stage.server.objects.delete('Service', namespace, name);
        noticed = (await compare(truth)).differences;
      },
    },
  );
  assert.equal(differences, [], `seed ${SEED}`);
  for (const part of ['numbers', 'store', 'packets', 'kernel']) {
    assert.ok(
      noticed.some((line) => line.startsWith(`${part}: `)),
      `${part} among ${noticed.join(', ')}`,
    );
  }
});

test.run();
