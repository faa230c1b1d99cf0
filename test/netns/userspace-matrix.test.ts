/** The oracle's matrix under userspace, redirected; every second configuration comes about by changes. */
import { suite } from 'uvu';
import { CONFIGURATIONS, type ConfigurationName, matrixTest } from './backend-matrix.ts';
import { userspacePlane } from './backend-userspace.ts';
import { isolateTests } from './isolated.ts';

await isolateTests(['nftables']);
const test = suite('userspace matrix');
for (const [index, configuration] of (Object.keys(CONFIGURATIONS) as ConfigurationName[]).entries()) {
  matrixTest(test, { plane: userspacePlane(), configuration, seed: 50261 + index, changed: index % 2 === 0 });
}
test.run();
