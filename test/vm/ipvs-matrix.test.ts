/** The oracle's matrix under ipvs; every second configuration comes about by changes, not by a first load. */
import { suite } from 'uvu';
import { ipvsPlane } from '../netns/backend-ipvs.ts';
import { CONFIGURATIONS, type ConfigurationName, matrixTest } from '../netns/backend-matrix.ts';
import { isolateTests } from '../netns/isolated.ts';
import { onlyInVm } from './inside.ts';

onlyInVm();
await isolateTests(['ipvsadm', 'nftables']);
const test = suite('ipvs matrix');
for (const [index, configuration] of (Object.keys(CONFIGURATIONS) as ConfigurationName[]).entries()) {
  matrixTest(test, {
    plane: ipvsPlane(),
    configuration,
    seed: 40261 + index,
    changed: index % 2 === 0,
    // The processor is emulated.
    services: 60,
    // The kernel's IPVS sends nothing that comes from 127.0.0.0/8 to another host.
    settings: { localhostNodePorts: false },
  });
}
test.run();
