/** What clients live through, in both variants of iptables. */
import { suite } from 'uvu';
import { affinityTests } from './backend-affinity.ts';
import { changeTests } from './backend-changes.ts';
import { guardTests } from './backend-guards.ts';
import { hairpinTest, namelessHairpinTest, trafficTests } from './backend-traffic.ts';
import { iptablesPlane, VARIANTS } from './iptables-scene.ts';
import { isolateTests } from './isolated.ts';

await isolateTests();
const test = suite('iptables traffic');
for (const variant of VARIANTS) {
  const plane = iptablesPlane(variant);
  trafficTests(test, plane);
  for (const hairpin of ['bpf', 'rules']) {
    hairpinTest(test, iptablesPlane(variant, `hairpin=${hairpin}`), ` by ${hairpin}`);
  }
  namelessHairpinTest(test, plane);
  guardTests(test, plane);
  affinityTests(test, plane);
  changeTests(test, plane);
}
test.run();
