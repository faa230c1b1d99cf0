/** In place of core/cli/sdk-types.ts where no file lies beside the program. */
import { getAsset } from 'node:sea';

export async function sdkTypes(): Promise<string> {
  return getAsset('kube-proxy.d.ts', 'utf8');
}
