/**
 * In place of core/node/thread-code.ts: what runs in threads lies in the executable. A built-in backend names its module
 * as others do, by a URL beside its own, which the bundle makes one of the program's (see build/bundle.ts):
 *
 *   kube-proxy:///plugins/NAME/worker.ts ──▶ thread-NAME.cjs
 */
import { getAsset } from 'node:sea';
import { Worker, type WorkerOptions } from 'node:worker_threads';
import { loadAsset } from './load-asset.ts';

export function startWorker(options: WorkerOptions): Worker {
  return new Worker(getAsset('thread.cjs', 'utf8'), { ...options, eval: true });
}

export function isBuiltIn(module: URL): boolean {
  return module.protocol === 'kube-proxy:';
}

export async function importBuiltIn(module: string): Promise<unknown> {
  const [, folder = ''] = /^\/plugins\/(.+)\/worker\.ts$/.exec(new URL(module).pathname) ?? [];
  return loadAsset(`thread-${folder.replaceAll('/', '-')}.cjs`);
}
