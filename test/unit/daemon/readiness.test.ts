import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createReadiness } from '../../../core/daemon/readiness.ts';

const test = suite('readiness');

function scene(failuresUntilHopeless?: number) {
  const told: unknown[] = [];
  const readiness = createReadiness({
    families: ['IPv4', 'IPv6'],
    onReady: (counts) => told.push(counts),
    onHopeless: (family) => told.push(`hopeless ${family}`),
    ...(failuresUntilHopeless === undefined ? {} : { failuresUntilHopeless }),
  });
  return { readiness, told };
}

test('it is ready when every family has been programmed, and says so once', () => {
  const { readiness, told } = scene();
  readiness.synced('IPv4', 3);
  assert.equal([readiness.ready(), told], [false, []]);
  readiness.synced('IPv6', 1);
  readiness.synced('IPv4', 4);
  assert.equal([readiness.ready(), told], [true, [{ IPv4: 3, IPv6: 1 }]]);
});

test('a family that never succeeds is hopeless after some failures, said once', () => {
  const { readiness, told } = scene(2);
  readiness.synced('IPv6', 0);
  readiness.failed('IPv4');
  assert.equal(told, []);
  readiness.failed('IPv4');
  readiness.failed('IPv4');
  assert.equal([readiness.ready(), told], [false, ['hopeless IPv4']]);
});

test('failures after a success are not hopeless', () => {
  const { readiness, told } = scene(1);
  readiness.synced('IPv4', 0);
  readiness.failed('IPv4');
  assert.equal(told, []);
});

test.run();
