/** What clients live through under ipvs while endpoints come and go, as under every backend. */
import { suite } from 'uvu';
import { keptAffinityTest, udpAffinityTest } from '../netns/backend-affinity.ts';
import { changeTests, flipTests } from '../netns/backend-changes.ts';
import { ipvsPlane } from '../netns/backend-ipvs.ts';
import { isolateTests } from '../netns/isolated.ts';
import { onlyInVm } from './inside.ts';

onlyInVm();
await isolateTests(['ipvsadm', 'nftables']);
const test = suite('ipvs changes');
const plane = ipvsPlane();
// For when affinity ends see ipvs-servers: the kernel counts from the end of a client's last connection.
keptAffinityTest(test, plane);
udpAffinityTest(test, plane);
changeTests(test, plane);
flipTests(test, plane);
test.run();
