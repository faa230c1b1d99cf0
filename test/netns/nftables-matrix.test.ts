/** The oracle's matrix under nftables; every second configuration comes about by changes, not by a first load. */
import { suite } from 'uvu';
import { CONFIGURATIONS, type ConfigurationName, matrixTest } from './backend-matrix.ts';
import { nftablesPlane } from './backend-nftables.ts';
import { isolateTests } from './isolated.ts';

await isolateTests(['nftables']);
const test = suite('nftables matrix');
for (const [index, configuration] of (Object.keys(CONFIGURATIONS) as ConfigurationName[]).entries()) {
  matrixTest(test, { plane: nftablesPlane(), configuration, seed: 30261 + index, changed: index % 2 === 0 });
}
test.run();
