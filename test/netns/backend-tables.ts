/**
 * What clients live through under every backend that keeps a table of nf_tables: nftables, ipvs and userspace. What not
 * all of them can do is called by the tests of those that can.
 */
import type { Test } from 'uvu';
import type { NodeSettings } from '../../core/model/node-settings.ts';
import { addressTests, clusterIPTests, quietTest } from './backend-addresses.ts';
import { guardTests } from './backend-guards.ts';
import { oddServicesTest } from './backend-odd-services.ts';
import type { DataPlane } from './backend-scene.ts';
import { hairpinTest, namelessHairpinTest, trafficTests } from './backend-traffic.ts';

/** `special`: what this data plane cannot do. */
export function tableTests(test: Test, plane: DataPlane, special: Partial<NodeSettings> = {}): void {
  trafficTests(test, plane);
  hairpinTest(test, plane);
  namelessHairpinTest(test, plane);
  guardTests(test, plane);
  addressTests(test, plane);
  clusterIPTests(test, plane);
  quietTest(test, plane);
  oddServicesTest(test, plane, special);
}
