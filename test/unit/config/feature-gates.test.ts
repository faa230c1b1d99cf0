import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { effectiveGates, GATES } from '../../../core/config/feature-gates.ts';

const test = suite('feature gates');

test('without a word each has its default', () => {
  const { gates, faults, unknown } = effectiveGates({});
  assert.equal(Object.keys(gates), Object.keys(GATES));
  assert.equal([faults, unknown], [[], []]);
  for (const [name, { byDefault }] of Object.entries(GATES)) assert.is(gates[name], byDefault, name);
  for (const name of ['AllowServiceExternalIPs', 'PreferSameTrafficDistribution', 'MultiCIDRServiceAllocator']) {
    assert.is(gates[name], true, name);
  }
});

test('AllAlpha and AllBeta stand for their stage, and a gate by its name wins', () => {
  assert.is(effectiveGates({ AllAlpha: true }).gates.LoggingAlphaOptions, true);
  assert.is(effectiveGates({ AllAlpha: true, LoggingAlphaOptions: false }).gates.LoggingAlphaOptions, false);
  assert.is(effectiveGates({ AllAlpha: true }).gates.ComponentFlagz, true);
  const noBeta = effectiveGates({ AllBeta: false }).gates;
  assert.equal([noBeta.ComponentFlagz, noBeta.ComponentStatusz, noBeta.AllBeta], [false, false, false]);
  assert.equal([noBeta.AllowServiceExternalIPs, noBeta.TopologyAwareHints], [true, true], 'neither is beta');
  assert.is(effectiveGates({ AllBeta: true, ComponentFlagz: false }).gates.ComponentFlagz, false);
});

test('a locked gate may be named, but not changed', () => {
  assert.equal(effectiveGates({ MultiCIDRServiceAllocator: true }).faults, []);
  const { gates, faults } = effectiveGates({ MultiCIDRServiceAllocator: false });
  assert.equal(faults, [
    { name: 'MultiCIDRServiceAllocator', what: 'cannot be false any more, it is true for good; leave it out' },
  ]);
  assert.is(gates.MultiCIDRServiceAllocator, true);
});

test('one that is not known is told, and has no effect', () => {
  const { gates, unknown } = effectiveGates({ Future: true, constructor: true });
  assert.equal(
    unknown.map(({ name }) => name),
    ['Future', 'constructor'],
  );
  assert.equal(Object.keys(gates), Object.keys(GATES));
});

test.run();
