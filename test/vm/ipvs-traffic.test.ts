/** What clients live through under ipvs, as under every backend. */
import { suite } from 'uvu';
import { ipvsPlane } from '../netns/backend-ipvs.ts';
import { tableTests } from '../netns/backend-tables.ts';
import { isolateTests } from '../netns/isolated.ts';
import { onlyInVm } from './inside.ts';

onlyInVm();
await isolateTests(['ipvsadm', 'nftables']);
const test = suite('ipvs traffic');
// The kernel's IPVS sends nothing that comes from 127.0.0.0/8 to another host.
tableTests(test, ipvsPlane(), { localhostNodePorts: false });
test.run();
