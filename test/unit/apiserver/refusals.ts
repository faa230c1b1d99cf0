/** What the tests of kinds share: Services to apply, and refusals as values. */
import type { JsonObject } from '../../apiserver/api/schema.ts';
import { isApiError, type Status } from '../../apiserver/api/status.ts';
import type { TestCluster } from '../../apiserver/cluster.ts';
import { asService, type ServiceObject } from '../../apiserver/kinds/service-types.ts';

export const service = (spec: unknown, metadata: JsonObject = {}, more: JsonObject = {}): JsonObject => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'web', ...metadata },
  spec,
  ...more,
});
export const PORTS = [{ port: 80 }];
export const apply = ({ objects }: TestCluster, spec: unknown, name = 'web'): ServiceObject =>
  asService(objects.apply(service(spec, { name })));

export function refused(action: () => unknown): Status {
  try {
    action();
  } catch (error) {
    if (isApiError(error)) return error.status;
    throw error;
  }
  throw new Error('nothing was refused');
}

export const causes = (status: Status) => status.details?.causes?.map(({ field, reason }) => `${field} ${reason}`);
