/**
 * First line of the test files here that send packets: like netns/isolated.ts, with a way left open to a real cluster.
 * Its API server is out of reach from the private namespaces, so the process that waits outside carries bytes to it:
 *
 *   outer process: relay  FOLDER/api.sock ──▶ the server        FOLDER/kubeconfig: whole, without files that it names
 *   inner process: finds FOLDER in its environment (cluster.ts does)
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { insideIsolation } from '../../build/isolate.ts';
import { isolateTests } from '../netns/isolated.ts';
import { skip } from '../skip.ts';
import { type Access, readAccess, writeAccess } from './kubeconfig.ts';
import { startRelay } from './relay.ts';

const MARK = 'KUBE_PROXY_TEST_WAY_TO_CLUSTER';

/** What the outer process left for the inner one; undefined when there is no real cluster. */
export function wayToCluster(): { readonly socket: string; readonly kubeconfig: string } | undefined {
  const folder = insideIsolation() ? process.env[MARK] : undefined;
  return folder === undefined
    ? undefined
    : { socket: join(folder, 'api.sock'), kubeconfig: join(folder, 'kubeconfig') };
}

/** Returns inside private namespaces only. */
export async function isolateClusterTests(packages?: readonly string[]): Promise<void> {
  const { KUBECONFIG } = process.env;
  if (!insideIsolation() && KUBECONFIG) await openWay(KUBECONFIG);
  await isolateTests(packages);
}

async function openWay(kubeconfig: string): Promise<void> {
  const access = readAccess(kubeconfig);
  const problem = obstacle(access);
  if (problem !== undefined) {
    skip(`all of ${relative(process.cwd(), process.argv[1] ?? '')}`, problem);
    process.exit(0);
  }
  const folder = mkdtempSync(join(tmpdir(), 'way-to-cluster-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  writeAccess(folder, 'kubeconfig', access);
  await startRelay({ path: join(folder, 'api.sock') }, placeOf(access));
  process.env[MARK] = folder;
}

function obstacle({ user, cluster }: Access): string | undefined {
  if (user.exec !== undefined || user['auth-provider'] !== undefined) {
    return 'the kubeconfig gets its credentials from a plugin, which may need the network that is not there';
  }
  if (cluster['proxy-url'] !== undefined) return 'the kubeconfig reaches the server by a proxy';
  return undefined;
}

export function placeOf({ server }: Access): { readonly host: string; readonly port: number } {
  const standard = server.protocol === 'https:' ? 443 : 80;
  return { host: server.hostname.replace(/^\[|\]$/g, ''), port: Number(server.port) || standard };
}
