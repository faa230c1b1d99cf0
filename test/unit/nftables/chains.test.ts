/** Which chains exist, in an order in which the kernel takes them. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily, NftStatement } from '../../../core/backend.ts';
import { createPlanner } from '../../../plugins/nftables/plan.ts';
import { seeded } from '../model/random.ts';
import { createRandomModel } from './random-model.ts';
import { endpoints, full, many, NODE6, servicePort } from './samples.ts';

const test = suite('nftables chains');

function leadsTo(statements: readonly NftStatement[]): string[] {
  return statements.flatMap((step) => ('chain' in step ? [step.chain] : []));
}

test('a chain comes after those that its rules lead to, whatever there is', () => {
  for (let seed = 1; seed <= 60; seed++) {
    const family: IPFamily = seed % 2 === 0 ? 'IPv4' : 'IPv6';
    const model = createRandomModel(seeded(seed), family);
    const planner = createPlanner({ family, comments: true });
    planner.adopt(model.whole(), undefined);
    for (let step = 0; step < 6; step++) planner.apply(model.next());
    const { inner, hooks } = planner.chains();
    const seen = new Set<string>();
    for (const { name, rules } of [...inner, ...hooks]) {
      for (const { statements } of rules) {
        for (const chain of leadsTo(statements)) assert.ok(seen.has(chain), `seed ${seed}: ${name} leads to ${chain}`);
      }
      assert.ok(!seen.has(name), `${name} twice`);
      seen.add(name);
    }
    assert.ok(inner.every(({ hook }) => hook === undefined) && hooks.every(({ hook }) => hook !== undefined));
  }
});

test('the number of chains does not depend on the number of Services, but on how different they are', () => {
  const size = (count: number): number => {
    const planner = createPlanner({ family: 'IPv4', comments: false });
    planner.adopt(full(many(count, { affinitySeconds: 60 })), undefined);
    const { inner, hooks } = planner.chains();
    return inner.length + hooks.length;
  };
  assert.is(size(10), size(2000));
});

test('new chains of a change come after those that they lead to, and old ones before', () => {
  const planner = createPlanner({ family: 'IPv4', comments: false });
  planner.adopt(full([]), undefined);
  const port = servicePort({
    externalPolicy: 'Local',
    affinitySeconds: 60,
    nodePort: 30080,
    cluster: endpoints('1.0.0.1', '1.0.0.2', '1.0.0.3'),
    local: endpoints('1.0.0.1', '1.0.0.2'),
  });
  const added = planner.apply(full([port])).newChains.map(({ name }) => name);
  const order = ['nodeport-lb-1', 'nodeport-lb-3', 'nodeport-affinity-3', 'nodeport-policy-local-affinity-3'];
  assert.equal(
    added.filter((name) => order.includes(name)),
    order,
  );
  assert.ok(added.includes('nodeport-local-affinity-2') && added.includes('nodeport-record-60'));
  const removed = planner.apply(full([])).oldChains;
  assert.equal(
    removed.filter((name) => order.includes(name)),
    order.toReversed(),
  );
  assert.equal([...removed].sort(), [...added].sort());
});

test('IPv6 guards no loopback addresses, since node ports never answer there', () => {
  const planner = createPlanner({ family: 'IPv6', comments: false });
  planner.adopt(full([], NODE6, 'IPv6'), undefined);
  const input = planner.chains().hooks.find(({ name }) => name === 'filter-input');
  assert.equal(input?.rules ?? [], []);
});

test.run();
