/** The oracle's matrix in both variants of iptables; the second configuration uses the fallbacks of old kernels. */
import { suite } from 'uvu';
import { type ConfigurationName, matrixTest } from './backend-matrix.ts';
import { iptablesPlane, VARIANTS } from './iptables-scene.ts';
import { isolateTests } from './isolated.ts';

await isolateTests();
const test = suite('iptables matrix');
const CASES: readonly (readonly [ConfigurationName, ...options: string[]])[] = [
  ['cluster CIDR'],
  ['interface prefix', 'affinity=recent', 'hairpin=rules'],
  ['not told'],
  ['bridge'],
];
let seed = 20261;
for (const variant of VARIANTS) {
  for (const [configuration, ...options] of CASES) {
    seed++;
    matrixTest(test, { plane: iptablesPlane(variant, ...options), configuration, seed });
  }
}
test.run();
