/** What clients live through under ipvs, as under every backend. */
import { suite } from 'uvu';
import { addressTests, clusterIPTests, quietTest } from '../netns/backend-addresses.ts';
import { guardTests } from '../netns/backend-guards.ts';
import { ipvsPlane } from '../netns/backend-ipvs.ts';
import { oddServicesTest } from '../netns/backend-odd-services.ts';
import { hairpinTest, namelessHairpinTest, trafficTests } from '../netns/backend-traffic.ts';
import { isolateTests } from '../netns/isolated.ts';
import { onlyInVm } from './inside.ts';

onlyInVm();
await isolateTests(['ipvsadm', 'nftables']);
const test = suite('ipvs traffic');
const plane = ipvsPlane();
trafficTests(test, plane);
hairpinTest(test, plane);
namelessHairpinTest(test, plane);
guardTests(test, plane);
addressTests(test, plane);
clusterIPTests(test, plane);
quietTest(test, plane);
// The kernel's IPVS sends nothing that comes from 127.0.0.0/8 to another host.
oddServicesTest(test, plane, { localhostNodePorts: false });
test.run();
