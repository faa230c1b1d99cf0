/** The types that `plugin new` writes beside a new backend. The packed program has them inside, and no file beside it. */
import { readFile } from 'node:fs/promises';

export async function sdkTypes(): Promise<string> {
  return await readFile(new URL('../../release/sdk/kube-proxy.d.ts', import.meta.url), 'utf8');
}
