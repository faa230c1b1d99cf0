/** What clients live through under nftables. */
import { suite } from 'uvu';
import { addressTests, clusterIPTests, quietTest } from './backend-addresses.ts';
import { affinityTests, lastingAffinityTests } from './backend-affinity.ts';
import { changeTests, flipTests } from './backend-changes.ts';
import { guardTests, loopbackTest } from './backend-guards.ts';
import { nftablesPlane } from './backend-nftables.ts';
import { oddServicesTest } from './backend-odd-services.ts';
import { hairpinTest, namelessHairpinTest, trafficTests } from './backend-traffic.ts';
import { isolateTests } from './isolated.ts';

await isolateTests(['nftables']);
const test = suite('nftables traffic');
const plane = nftablesPlane();
trafficTests(test, plane);
hairpinTest(test, plane);
namelessHairpinTest(test, plane);
guardTests(test, plane);
loopbackTest(test, plane);
affinityTests(test, plane);
lastingAffinityTests(test, plane);
changeTests(test, plane);
flipTests(test, plane);
addressTests(test, plane);
clusterIPTests(test, plane);
quietTest(test, plane);
oddServicesTest(test, plane);
test.run();
