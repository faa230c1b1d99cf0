/**
 * The stage of a soak, inside private namespaces: a small world of which the node gets the proxy, and the API server
 * out here in this process, a link of its own away:
 *
 *   this process: API server 192.168.70.1 ──soak0═══api0── 192.168.70.2 node: kube-proxy, its metrics, its health
 *   (its namespace is the one outside of the world)              └─ pods, client, another node: see netns/world.ts
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ApiServer, startApiServer } from '../apiserver/server.ts';
import { createWorld, type World } from '../netns/world.ts';
import { exec } from '../netns/world-commands.ts';
import { NODE_NAME } from '../netns/world-topology.ts';
import { type Access, createAccess } from './access.ts';
import { type BackendName, type Configuration, createConfiguration } from './configuration.ts';
import { createDaemon, type Daemon } from './daemon.ts';
import { type Kernel, kernelOf } from './kernel.ts';
import { ENDPOINT_PORTS } from './random-slice.ts';

export interface Stage {
  readonly world: World;
  readonly server: ApiServer;
  readonly access: Access;
  readonly configuration: Configuration;
  readonly daemon: Daemon;
  readonly kernel: Kernel;
  /** All that the proxy logged. */
  readonly logFile: string;
  blackhole(on: boolean): Promise<void>;
  /** Ends the proxy and the world; `keepLog` leaves the log's folder where it is. */
  close(keepLog: boolean): Promise<void>;
}

/** Of Debian packages. */
export const SOAK_PACKAGES = ['iptables', 'nftables', 'ipset', 'openssl'] as const;

const [SERVER_IP, NODE_IP] = ['192.168.70.1', '192.168.70.2'];
const [METRICS_PORT, HEALTHZ_PORT] = [10249, 10256];
/** What the world routes to the node is larger: ranges come and go. */
const SERVICE_CIDRS = ['10.96.0.0/16', 'fd00:10:96::/112'];
/** Often, so that resuming from a bookmark happens. */
const BOOKMARKS_MS = 10_000;

export async function openStage(backend: BackendName, now: () => number): Promise<Stage> {
  const folder = mkdtempSync(join(tmpdir(), 'kube-proxy-soak-'));
  let logWanted = false;
  const removeFolder = (): void => {
    if (!logWanted) rmSync(folder, { recursive: true, force: true });
  };
  // However this process ends.
  process.once('exit', removeFolder);
  const opened: (() => Promise<void>)[] = [];
  const closeAll = async (): Promise<void> => {
    for (const close of opened.splice(0).reverse()) await close();
  };
  try {
    const world = await createWorld();
    opened.push(() => world.close());
    await linkToNode();
    for (const port of ENDPOINT_PORTS) await world.servePods({ port });

    const server = await startApiServer({
      host: SERVER_IP,
      folder,
      serviceCIDRs: SERVICE_CIDRS,
      bookmarkMilliseconds: BOOKMARKS_MS,
    });
    opened.push(() => server.stop());
    const access = createAccess(server, folder, SERVER_IP);
    const configFile = join(folder, 'config.yaml');
    const metricsAt = { host: NODE_IP, port: METRICS_PORT };
    const healthzAt = { host: NODE_IP, port: HEALTHZ_PORT };
    const { kubeconfig } = access;
    const configuration = createConfiguration({ path: configFile, backend, kubeconfig, metricsAt, healthzAt });
    const logFile = join(folder, 'kube-proxy.log');
    const daemon = createDaemon({ world, configFile, metricsAt, healthzAt, logFile, now });
    opened.push(() => daemon.stop('SIGTERM'));
    return {
      world,
      server,
      access,
      configuration,
      daemon,
      kernel: kernelOf(backend, world),
      logFile,
      blackhole,
      async close(keepLog) {
        logWanted = keepLog;
        await closeAll();
        process.off('exit', removeFolder);
        removeFolder();
      },
    };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

async function linkToNode(): Promise<void> {
  const ip = (line: string) => exec('ip', line.split(' '));
  await ip(`link add name soak0 type veth peer name api0 netns ${NODE_NAME}`);
  await ip(`addr add ${SERVER_IP}/30 dev soak0`);
  await ip('link set soak0 up');
  await ip(`-n ${NODE_NAME} addr add ${NODE_IP}/30 dev api0`);
  await ip(`-n ${NODE_NAME} link set api0 up`);
}

/** Out here, so that neither the node's interfaces nor its rules show any of it. */
async function blackhole(on: boolean): Promise<void> {
  const act = on ? '-I' : '-D';
  for (const rule of ['INPUT -i soak0 -j DROP', 'OUTPUT -o soak0 -j DROP']) {
    await exec('iptables-nft', [act, ...rule.split(' ')]);
  }
}
