/** What IPVS is known to do badly: old connections' entries that send new ones to servers that are gone. */
import { suite } from 'uvu';
import { ipvsPlane } from '../netns/backend-ipvs.ts';
import { rollingTest } from '../netns/backend-rolling.ts';
import { isolateTests } from '../netns/isolated.ts';
import { onlyInVm } from './inside.ts';

onlyInVm();
await isolateTests(['ipvsadm', 'nftables']);
const test = suite('ipvs rolling update');
rollingTest(test, ipvsPlane());
test.run();
