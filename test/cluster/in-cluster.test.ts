/**
 * The ways in which a pod of a DaemonSet finds its API server. The paths are those of every cluster, and therefore
 * made in private namespaces, where a new file system covers what this host has there.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { skip } from '../skip.ts';
import { KUBEADM } from '../unit/config/files.ts';
import { type Cluster, openCluster, PROXY_USER } from './cluster.ts';
import { type Daemon, startDaemon, startProgram } from './daemon.ts';
import { isolateClusterTests } from './isolated.ts';
import { clusterIP, endpointAt, service, slice } from './objects.ts';

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';
const CONFIG = '/var/lib/kube-proxy';
/** As in kubeadm's ConfigMap, beside config.conf. */
const KUBECONFIG = (server: string) => `apiVersion: v1
kind: Config
clusters:
- cluster:
    certificate-authority: ${SERVICE_ACCOUNT}/ca.crt
    server: ${server}
  name: default
contexts:
- context:
    cluster: default
    namespace: default
    user: default
  name: default
current-context: default
users:
- name: default
  user:
    tokenFile: ${SERVICE_ACCOUNT}/token
`;

await isolateClusterTests();
const test = suite('in a pod of the cluster');
const cluster: Cluster = await openCluster();
const { client, namespace, nodeName, server } = cluster;
const [family] = cluster.families;
let daemon: Daemon | undefined;

// The private /run is where /var/run leads; if not, nothing is to be written there.
if (realpathSync('/var/run') !== '/run') throw new Error('/var/run is not /run on this host; it cannot be covered');
if (server !== undefined) {
  mkdirSync(dirname(SERVICE_ACCOUNT), { recursive: true });
  cpSync(server.serviceAccountFolder(server.tokens.issue(PROXY_USER)), SERVICE_ACCOUNT, { recursive: true });
}
execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', dirname(CONFIG)]);
mkdirSync(CONFIG);

test.after.each(async () => void (await daemon?.stop()));
test.after(() => cluster.close());

async function untilServed(running: Daemon, name: string): Promise<void> {
  const web = await client.create(service(namespace, name));
  await client.create(slice(web, { family, endpoints: [endpointAt(family, 1)] }));
  await running.until('served', () => running.served.port(family, namespace, `${name}/TCP`)?.cluster.length === 1);
}

const asPod = 'without a kubeconfig, the service account and the environment of a pod are enough';
if (server === undefined) skip(asPod, 'a kube-apiserver alone gives no token to a service account');
else {
  test(asPod, async () => {
    const env = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(server.port) };
    daemon = await startDaemon({ kubeconfig: '', nodeName, env });
    await daemon.ready();
    await untilServed(daemon, 'as-pod');
  });
}

test("kubeadm's ConfigMap and command line work as they are", async () => {
  writeFileSync(join(CONFIG, 'config.conf'), KUBEADM);
  const kubeconfig = server === undefined ? readFileSync(cluster.kubeconfig, 'utf8') : KUBECONFIG(server.url);
  writeFileSync(join(CONFIG, 'kubeconfig.conf'), kubeconfig);
  const servers = { healthz: { host: '127.0.0.1', port: 10_256 }, metrics: { host: '127.0.0.1', port: 10_249 } };
  daemon = startProgram([`--config=${CONFIG}/config.conf`, `--hostname-override=${nodeName}`], servers);
  await daemon.ready();
  assert.is((await daemon.metricsServer('/proxyMode')).body, 'iptables');
  await daemon.until('/healthz', async () => (await daemon!.health('/healthz')).status === 200);
  const web = await client.create(service(namespace, 'kubeadm', { ipFamilyPolicy: 'SingleStack' }));
  await client.create(slice(web, { family, endpoints: [endpointAt(family, 1)] }));
  const command = family === 'IPv4' ? 'iptables-save' : 'ip6tables-save';
  const rules = () => execFileSync(command, ['-t', 'nat'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  const address = clusterIP(web, family);
  await daemon.until(
    'rules for it',
    () => rules().includes(`-d ${address}/`) && rules().includes(endpointAt(family, 1).addresses[0]!),
  );
});

test.run();
