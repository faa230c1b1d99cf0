import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromLocalPod, randomly } from '../../../plugins/iptables/rule-text.ts';

const test = suite('iptables rule text');

test('a probability is printed as C prints what the kernel keeps, halves to even included', () => {
  assert.is(randomly(1 / 2), '-m statistic --mode random --probability 0.50000000000');
  assert.is(randomly(1 / 3), '-m statistic --mode random --probability 0.33333333349');
  // Exactly ...0625 at the twelfth decimal; toFixed() says ...063.
  assert.is(randomly(1 / 4096), '-m statistic --mode random --probability 0.00024414062');
  assert.is(randomly(1 / 5000), '-m statistic --mode random --probability 0.00020000013');
});

test('a prefix of an interface name is marked as one, unless it is as long as a name can be', () => {
  assert.is(fromLocalPod({ kind: 'interfacePrefix', prefix: 'veth' }), '-i veth+');
  assert.is(fromLocalPod({ kind: 'interfacePrefix', prefix: 'abcdefghijklmno' }), '-i abcdefghijklmno');
  assert.is(fromLocalPod({ kind: 'interface', name: 'cni0' }), '-i cni0');
  assert.is(fromLocalPod({ kind: 'none' }), undefined);
});

test.run();
