import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { slowness } from '../../netns/slow.ts';

const test = suite('slowness of the machine');

test('is 1 unless told otherwise', () => {
  assert.is(slowness(undefined), 1);
  assert.is(slowness('6'), 6);
  assert.is(slowness('1.5'), 1.5);
});

test('is refused when it is no number, or would make tests impatient', () => {
  for (const text of ['', 'x', '0', '0.5', '-3', '1e9', 'NaN']) {
    assert.throws(() => slowness(text), 'KUBE_PROXY_TEST_SLOW');
  }
});

test.run();
