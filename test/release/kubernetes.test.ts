/**
 * The containers of release/kubernetes, as the manifests have them: with their commands, files, mounts, read-only roots,
 * users and capabilities, against an API server. What is proven is that so little is enough; and that less is not.
 */
import { type ChildProcess, execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { getHelm } from '../../build/helm.ts';
import { getKubectl } from '../../build/kubectl.ts';
import { type Cluster, openCluster, PROXY_USER } from '../cluster/cluster.ts';
import { type Daemon, startProgram } from '../cluster/daemon.ts';
import { isolateClusterTests } from '../cluster/isolated.ts';
import { clusterIP, endpointAt, service, slice } from '../cluster/objects.ts';
import { skip } from '../skip.ts';
import {
  CHART,
  type ConfigMap,
  type DaemonSet,
  find,
  KUBERNETES,
  type Manifest,
  RELEASE,
  render,
} from '../unit/release/manifests.ts';
import { createPod, type Pod } from './pod.ts';

const kubectl = getKubectl();
await isolateClusterTests(['iptables', 'nftables']);
const test = suite('the manifests of release/kubernetes, running');
const problem = obstacle();
if (problem !== undefined) {
  skip('all of test/release/kubernetes.test.ts', problem);
  process.exit(0);
}
const cluster: Cluster = await openCluster();
const { client, namespace, nodeName } = cluster;
const server = cluster.server!;
const [family] = cluster.families;
const serviceAccount = server.serviceAccountFolder(server.tokens.issue(PROXY_USER));
const SERVERS = { healthz: { host: '127.0.0.1', port: 10256 }, metrics: { host: '127.0.0.1', port: 10249 } };
const BACKENDS = ['iptables', 'nftables'] as const;
/** linux/capability.h */
const CAP_NET_ADMIN = 1n << 12n;
const CAP_NET_RAW = 1n << 13n;

const pods: Pod[] = [];
const daemons: Daemon[] = [];
test.after.each(async () => {
  for (const daemon of daemons.splice(0)) await daemon.stop();
  for (const pod of pods.splice(0)) pod.remove();
  flush();
});
test.after(() => cluster.close());

function obstacle(): string | undefined {
  if (process.env.KUBECONFIG) return 'a pod of ours would need a token of that cluster';
  if ('missing' in kubectl) return kubectl.missing;
  const { status, stderr } = spawnSync('mount', ['-t', 'proc', 'proc', '/proc'], { encoding: 'utf8' });
  return status === 0 ? undefined : `this host does not let mount: ${stderr.trim()}`;
}

/** With the one thing that an operator must set. */
function configMaps(folder: string): Record<string, Record<string, string>> {
  return configMapsOf(rendered(folder));
}

function configMapsOf(objects: readonly Manifest[]): Record<string, Record<string, string>> {
  const maps = objects.filter((object): object is ConfigMap => object.kind === 'ConfigMap');
  return Object.fromEntries(
    maps.map(({ metadata, data }) => {
      const kubeconfig = data['kubeconfig.conf']?.replace('https://api-server.invalid:6443', server.url);
      return [metadata.name, { ...data, ...(kubeconfig === undefined ? {} : { 'kubeconfig.conf': kubeconfig }) }];
    }),
  );
}

function rendered(folder: string) {
  if ('missing' in kubectl) throw new Error(kubectl.missing);
  return render(kubectl.command, ['kustomize', join(KUBERNETES, folder)]);
}

function podOf(folder: string): Pod {
  return podFrom(rendered(folder));
}

function podFrom(objects: readonly Manifest[]): Pod {
  const pod = createPod({
    object: find<DaemonSet>(objects, 'DaemonSet'),
    configMaps: configMapsOf(objects),
    nodeName,
    serviceAccount,
    env: { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(server.port) },
  });
  pods.push(pod);
  return pod;
}

/** What it wrote, once it ended. */
async function complete(pod: Pod, container: string): Promise<string> {
  const child = pod.start(container, { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout!, child.stderr!]) stream.setEncoding('utf8').on('data', (part) => (text += part));
  const [status] = await once(child, 'close');
  assert.is(status, 0, text);
  return text;
}

interface Running extends Daemon {
  readonly pid: number;
  untilEnd(): Promise<void>;
}

function run(pod: Pod, container: string, capabilities?: readonly string[]): Running {
  const children: ChildProcess[] = [];
  const daemon = startProgram([], SERVERS, {
    spawn(_command, _args, options) {
      const child = pod.start(container, options, capabilities);
      children.push(child);
      return child;
    },
  });
  daemons.push(daemon);
  const [child] = children;
  const ended = once(child!, 'close');
  return Object.assign(daemon, { pid: child!.pid!, untilEnd: async () => void (await ended) });
}

const log = (daemon: Daemon): string => daemon.lines.map(({ msg }) => msg).join('\n');
const complaints = (daemon: Daemon): readonly string[] =>
  log(daemon)
    .split('\n')
    .filter((line) => !/^I\d/.test(line));

/** A line of /proc/PID/status, its first number. */
function status(pid: number, name: string): bigint {
  const [, word = ''] = new RegExp(`^${name}:\\s*(\\w+)`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return BigInt(name.startsWith('Cap') ? `0x${word}` : word);
}

const parameter = (name: string): string => readFileSync(`/proc/sys/net/${name}`, 'utf8').trim();
const output = (command: string, ...args: readonly string[]): string =>
  execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });

const nftFamily = family === 'IPv4' ? 'ip' : 'ip6';
const RULES = {
  nftables: () => output('nft', 'list', 'ruleset', nftFamily),
  iptables: () => output(family === 'IPv4' ? 'iptables-save' : 'ip6tables-save', '-t', 'nat').replace(/^#.*/gm, ''),
};

function flush(): void {
  output('nft', 'flush', 'ruleset');
}

async function createWeb(name: string): Promise<string> {
  const web = await client.create(service(namespace, name, { ipFamilyPolicy: 'SingleStack' }));
  await client.create(slice(web, { family, endpoints: [endpointAt(family, 1)] }));
  return clusterIP(web, family);
}

// First, in namespaces where nobody has set anything yet.
for (const backend of BACKENDS) {
  test(`${backend}: without the init container the kernel parameters stay, and the node is not ready`, async () => {
    assert.is(parameter('ipv4/conf/all/route_localnet'), '0');
    const daemon = run(podOf(`overlays/${backend}`), 'kube-proxy');
    await daemon.says('which one', ({ msg }) => /route_localnet is \\"0\\" and cannot be set/.test(msg));
    assert.is((await daemon.health('/readyz')).status, 503);
    assert.is(parameter('ipv4/conf/all/route_localnet'), '0');
  });
}

for (const backend of BACKENDS) {
  test(`${backend}: after the init container its capabilities are enough, and it complains about nothing`, async () => {
    const pod = podOf(`overlays/${backend}`);
    const ip = await createWeb(`least-${backend}`);
    const before = RULES[backend]();
    assert.match(await complete(pod, 'init'), /Initialized/);
    assert.is(parameter('ipv4/conf/all/route_localnet'), '1');
    assert.is(RULES[backend](), before, 'the init container programs nothing');

    const daemon = run(pod, 'kube-proxy');
    await daemon.ready();
    assert.ok(RULES[backend]().includes(ip), RULES[backend]());
    assert.is((await daemon.health('/readyz')).status, 200);
    assert.is((await daemon.health('/livez')).status, 200);
    assert.is((await daemon.metricsServer('/proxyMode')).body, backend);
    assert.is(status(daemon.pid, 'CapEff'), CAP_NET_ADMIN | CAP_NET_RAW);
    assert.is(status(daemon.pid, 'CapBnd'), CAP_NET_ADMIN | CAP_NET_RAW);
    assert.is(status(daemon.pid, 'NoNewPrivs'), 1n);
    assert.equal(complaints(daemon), []);
    assert.is(await daemon.stop(), 0);
    assert.ok(RULES[backend]().includes(ip), 'rules outlive the pod');
  });

  test(`${backend}: without NET_ADMIN it ends and says what is missing`, async () => {
    const pod = podOf(`overlays/${backend}`);
    await complete(pod, 'init');
    const daemon = run(pod, 'kube-proxy', ['NET_RAW']);
    await daemon.untilEnd();
    assert.match(log(daemon), /CAP_NET_ADMIN/);
    assert.is(await daemon.stop(), 1);
  });
}

test('iptables: without NET_RAW it lacks IP sets and the other variant of iptables', async () => {
  const pod = podOf('overlays/iptables');
  await complete(pod, 'init');
  const daemon = run(pod, 'kube-proxy', ['NET_ADMIN']);
  await daemon.ready();
  assert.match(complaints(daemon).join('\n'), /Can't open socket to ipset/);
  assert.match(complaints(daemon).join('\n'), /Rules in the other variant of iptables may be left/);
});

test('an edit of the ConfigMap has another backend take over, within the same capabilities', async () => {
  const pod = podOf('overlays/iptables');
  const ip = await createWeb('switched');
  await complete(pod, 'init');
  const daemon = run(pod, 'kube-proxy');
  await daemon.ready();
  assert.ok(RULES.iptables().includes(ip));
  const files = configMaps('overlays/iptables')['kube-proxy']!;
  pod.editConfigMap('kube-proxy', {
    ...files,
    'config.conf': files['config.conf']!.replace('mode: iptables', 'mode: nftables'),
  });
  await daemon.until('rules of the new one', () => RULES.nftables().includes(`table ${nftFamily} kube-services`));
  await daemon.until('none of the old one', () => !/KUBE-SVC|KUBE-SERVICES/.test(RULES.iptables()));
  assert.ok(RULES.nftables().includes(ip));
  assert.is((await daemon.metricsServer('/proxyMode')).body, 'nftables');
  assert.equal(complaints(daemon), []);
});

test('a migration back goes on once the last line that the document looks for names iptables', async () => {
  const page = readFileSync(join(KUBERNETES, '..', 'docs', 'migration.md'), 'utf8');
  const [, pattern = ''] = /kubectl -n kube-system logs \$POD \| grep '([^']+)' \| tail -n 1/.exec(page) ?? [];
  assert.match(page, 'last line must say `backend="iptables"`');
  const pod = podOf('overlays/nftables');
  const ip = await createWeb('back');
  await complete(pod, 'init');
  const daemon = run(pod, 'kube-proxy');
  const last = () =>
    log(daemon)
      .split('\n')
      .findLast((line) => line.includes(pattern)) ?? '';
  await daemon.ready();
  assert.match(last(), /backend="nftables"/);
  const files = configMaps('overlays/nftables')['kube-proxy']!;
  pod.editConfigMap('kube-proxy', {
    ...files,
    'config.conf': files['config.conf']!.replace('mode: nftables', 'mode: iptables'),
  });
  await daemon.until('the line', () => last().includes('backend="iptables"'));
  assert.ok(RULES.iptables().includes(ip), 'the new rules are complete then');
  await daemon.until('none of the old ones', () => !RULES.nftables().includes('kube-services'));
  assert.equal(complaints(daemon), []);
});

test("an edit of conntrack's timeouts is refused until the pod is restarted", async () => {
  const pod = podOf('overlays/nftables');
  await complete(pod, 'init');
  const daemon = run(pod, 'kube-proxy');
  await daemon.ready();
  const files = configMaps('overlays/nftables')['kube-proxy']!;
  const text = `${files['config.conf']}conntrack:\n  tcpCloseWaitTimeout: 31m\n`;
  pod.editConfigMap('kube-proxy', { ...files, 'config.conf': text });
  const configz = async () => JSON.parse((await daemon.metricsServer('/configz')).body)['kube-proxy.io'];
  await daemon.until('refused', async () => (await configz()).inForce === false);
  assert.match((await configz()).error, /nf_conntrack_tcp_timeout_close_wait .* cannot be set/);
  assert.is(await daemon.stop(), 0);

  await complete(pod, 'init');
  assert.is(parameter('netfilter/nf_conntrack_tcp_timeout_close_wait'), '1860');
  const again = run(pod, 'kube-proxy');
  await again.ready();
  assert.equal(complaints(again), []);
});

const ofLegacy = 'on a node whose kubelet uses iptables-legacy it does, too, and cleanup/ takes it all away again';
const legacy = spawnSync('iptables-legacy', ['-t', 'mangle', '-N', 'KUBE-IPTABLES-HINT'], { encoding: 'utf8' });
if (legacy.status !== 0) skip(ofLegacy, legacy.error?.message ?? legacy.stderr);
else {
  execFileSync('iptables-legacy', ['-t', 'mangle', '-X', 'KUBE-IPTABLES-HINT']);
  test(ofLegacy, async () => {
    execFileSync('iptables-legacy', ['-t', 'mangle', '-N', 'KUBE-IPTABLES-HINT']);
    const rules = () => output('iptables-legacy-save') + output('ip6tables-legacy-save');
    const pod = podOf('overlays/iptables');
    const ip = await createWeb('legacy');
    await complete(pod, 'init');
    const daemon = run(pod, 'kube-proxy');
    await daemon.ready();
    assert.ok(rules().includes(ip), rules());
    assert.equal(complaints(daemon), []);
    assert.is(await daemon.stop(), 0);

    const cleaning = podOf('cleanup');
    assert.match(await complete(cleaning, 'cleanup'), /iptables: cleaned up/);
    assert.not.ok(rules().includes(ip), rules());
    const waiting = run(cleaning, 'done');
    await waiting.ready();
    assert.is(status(waiting.pid, 'CapEff'), 0n);
    for (const line of complaints(waiting)) assert.match(line, /There are no manifests yet/);
  });
}

test('dry-run: as nobody and without any capability it says what would be served', async () => {
  const ip = await createWeb('tried');
  const before = RULES.iptables() + RULES.nftables();
  const daemon = run(podOf('overlays/dry-run'), 'kube-proxy');
  await daemon.ready();
  await daemon.until('the Service', () => log(daemon).includes(ip));
  assert.is(status(daemon.pid, 'CapEff'), 0n);
  assert.is(status(daemon.pid, 'Uid'), 65534n);
  assert.is(RULES.iptables() + RULES.nftables(), before);
  assert.equal(complaints(daemon), []);
});

for (const [folder, name, capabilities] of [
  ['overlays/plugin', 'kube-proxy', CAP_NET_ADMIN | CAP_NET_RAW],
  ['overlays/plugin-trial', 'kube-proxy-plugin-trial', 0n],
] as const) {
  test(`${folder}: a backend from a ConfigMap, with its options, followed live`, async () => {
    const ip = await createWeb(name === 'kube-proxy' ? 'for-plugin' : 'for-trial');
    const pod = podOf(folder);
    const files = configMaps(folder)[name]!;
    if (name === 'kube-proxy') assert.match(await complete(pod, 'init'), /Initialized.* backend="example"/);
    const daemon = run(pod, 'kube-proxy');
    await daemon.ready();
    assert.is((await daemon.metricsServer('/proxyMode')).body, 'example');
    assert.is((await daemon.health('/readyz')).status, 200);
    assert.is(status(daemon.pid, 'CapEff'), capabilities);
    assert.not.ok(log(daemon).includes(ip), 'the namespace is not among those of the options');
    pod.editConfigMap(name, {
      ...files,
      'config.conf': files['config.conf']!.replace('- default', `- ${namespace}`),
    });
    await daemon.says('its Service', ({ msg }) => msg.includes(ip));
    assert.equal(complaints(daemon), []);
  });
}

const helm = getHelm();
const ofChart = 'the chart: a program that extraVolumes bring is the backend, in both containers';
if ('missing' in helm) skip(ofChart, helm.missing);
else {
  test(ofChart, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'programs-'));
    try {
      const programs = join(folder, 'programs');
      mkdirSync(programs);
      copyFileSync(join(RELEASE, 'sdk', 'exec', 'keep-state.sh'), join(programs, 'keep-state.sh'));
      chmodSync(join(programs, 'keep-state.sh'), 0o755);
      const values = {
        image: { repository: 'kube-proxy' },
        apiServer: 'https://api-server.invalid:6443',
        backend: 'exec',
        backendOptions: { command: '/opt/programs/keep-state.sh', args: ['/tmp/desired'] },
        extraVolumes: [{ name: 'programs', hostPath: { path: programs } }],
        extraVolumeMounts: [{ name: 'programs', mountPath: '/opt/programs', readOnly: true }],
      };
      const flags = Object.entries(values).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
      const args = ['template', 'kube-proxy', CHART, ...flags.flatMap((flag) => ['--set-json', flag])];
      const pod = podFrom(render(helm.command, args));
      const ip = await createWeb('for-program');
      assert.match(await complete(pod, 'init'), /Initialized.* backend="exec"/);
      const daemon = run(pod, 'kube-proxy');
      await daemon.ready();
      assert.is((await daemon.metricsServer('/proxyMode')).body, 'exec');
      const state = () => readFileSync(`/proc/${daemon.pid}/root/tmp/desired/${family}.json`, 'utf8');
      await daemon.until('the Service', () => state().includes(ip));
      assert.equal(complaints(daemon), []);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}

test.run();
