/** The userspace backend as a data plane under test: its table, and who forwards. */
import { listTable } from './backend-nftables.ts';
import { choice, type DataPlane } from './backend-scene.ts';

export const TABLE = 'kube-userspace';

/** `options`: as in --backend-option. */
export function userspacePlane(...options: readonly string[]): DataPlane {
  return {
    title: ['userspace', ...options].join(' '),
    ...choice('userspace', options),
    hidesSources: true,
    lacks: ['SCTP'],
    rules: (world, family = 'IPv4') => listTable(world, family, TABLE),
  };
}
