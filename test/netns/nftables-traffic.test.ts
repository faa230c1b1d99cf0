/** What clients live through under nftables. */
import { suite } from 'uvu';
import { affinityTests, lastingAffinityTests } from './backend-affinity.ts';
import { changeTests, flipTests } from './backend-changes.ts';
import { loopbackTest } from './backend-guards.ts';
import { nftablesPlane } from './backend-nftables.ts';
import { tableTests } from './backend-tables.ts';
import { isolateTests } from './isolated.ts';

await isolateTests(['nftables']);
const test = suite('nftables traffic');
const plane = nftablesPlane();
tableTests(test, plane);
loopbackTest(test, plane);
affinityTests(test, plane);
lastingAffinityTests(test, plane);
changeTests(test, plane);
flipTests(test, plane);
test.run();
