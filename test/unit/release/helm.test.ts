/** The chart: the same objects as release/kubernetes, from values. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parse, stringify } from 'yaml';
import { getHelm } from '../../../build/helm.ts';
import { getKubectl } from '../../../build/kubectl.ts';
import { backendNames } from '../../../core/cli/backends.ts';
import { parseCommandLine } from '../../../core/config/command-line.ts';
import { type LoadedConfig, loadConfigText } from '../../../core/config/settings.ts';
import manifest from '../../../package.json' with { type: 'json' };
import { skip } from '../../skip.ts';
import { schemaFaults } from './kubernetes-schema.ts';
import {
  CHART,
  type ConfigMap,
  type DaemonSet,
  find,
  KUBERNETES,
  type Manifest,
  type Probe,
  render,
} from './manifests.ts';

const test = suite('release/helm');
const helm = getHelm();
const kubectl = getKubectl();
const lacking = [helm, kubectl].flatMap((tool) => ('missing' in tool ? [tool.missing] : []));
if ('missing' in helm || 'missing' in kubectl) {
  skip('all of test/unit/release/helm.test.ts', lacking.join('; '));
  process.exit(0);
}

const folder = mkdtempSync(join(tmpdir(), 'helm-test-'));
test.after(() => rmSync(folder, { recursive: true }));
/** The values that have no default. */
const REQUIRED = { apiServer: 'https://api-server.invalid:6443', image: { repository: 'kube-proxy' } };
type Values = Readonly<Record<string, unknown>>;

/** Nothing of the user's own configuration counts. */
const environment = { ...process.env, HELM_CONFIG_HOME: folder, HELM_CACHE_HOME: folder, HELM_DATA_HOME: folder };

function arguments_(verb: readonly string[], values: Values): readonly string[] {
  const file = join(folder, 'values.yaml');
  writeFileSync(file, stringify(values));
  return [...verb, CHART, '--namespace', 'kube-system', '--values', file];
}

function template(values: Values): readonly Manifest[] {
  Object.assign(process.env, environment);
  return render(command, arguments_(['template', 'kube-proxy'], values));
}

function refusal(values: Values): string {
  const args = arguments_(['template', 'kube-proxy'], values);
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8', env: environment });
  assert.is.not(status, 0, 'it was to be refused');
  return stderr;
}

const { command } = helm;
const config = (objects: readonly Manifest[]) =>
  parse(find<ConfigMap>(objects, 'ConfigMap', 'kube-proxy').data['config.conf']!) as Values;
/** As the program understands it. */
function load(objects: readonly Manifest[]): LoadedConfig {
  const text = find<ConfigMap>(objects, 'ConfigMap', 'kube-proxy').data['config.conf']!;
  return loadConfigText(text, 'c', parseCommandLine(['--config=c']), backendNames());
}
const probes = (objects: readonly Manifest[]): readonly (Probe | undefined)[] => {
  const [proxy] = spec(objects).containers;
  return [proxy?.startupProbe, proxy?.livenessProbe, proxy?.readinessProbe];
};
const spec = (objects: readonly Manifest[]) => find<DaemonSet>(objects, 'DaemonSet').spec.template.spec;

/** Without helm's labels; files of a ConfigMap as values, for their comments do not count; mounts in one order. */
function comparable(objects: readonly Manifest[]): ReadonlyMap<string, unknown> {
  const plain = (value: unknown, key: string): unknown => {
    if (Array.isArray(value)) {
      const items = value.map((each) => plain(each, ''));
      const order = (item: unknown): string => String((item as { mountPath?: string }).mountPath);
      return key === 'volumeMounts' ? items.sort((a, b) => (order(a) < order(b) ? -1 : 1)) : items;
    }
    if (typeof value === 'string' && key.endsWith('.conf')) return parse(value);
    if (typeof value !== 'object' || value === null) return value;
    const entries = Object.entries(value).filter(([name]) => !HELM_LABELS.includes(name));
    const kept = entries.map(([name, each]) => [name, plain(each, name)] as const);
    return Object.fromEntries(kept.filter(([name, each]) => name !== 'labels' || Object.keys(Object(each)).length > 0));
  };
  return new Map(objects.map((object) => [object.kind, plain(object, '')]));
}
const HELM_LABELS = ['app.kubernetes.io/managed-by', 'helm.sh/chart'];

test('helm lint has nothing to say', () => {
  const { status, stdout, stderr } = spawnSync(command, arguments_(['lint', '--strict'], REQUIRED), {
    encoding: 'utf8',
    env: environment,
  });
  assert.is(status, 0, stdout + stderr);
  assert.not.match(stdout + stderr, /\[(WARNING|ERROR)\]/);
});

test('with its defaults it renders what the kustomize base does, object by object', () => {
  const ours = comparable(template({ ...REQUIRED, image: { repository: 'kube-proxy', tag: 'VERSION' } }));
  const base = comparable(render(kubectl.command, ['kustomize', join(KUBERNETES, 'base')]));
  assert.equal([...ours.keys()].sort(), [...base.keys()].sort());
  for (const [kind, object] of base) assert.equal(ours.get(kind), object, kind);
});

test("its version is the program's, and so is the image by default", () => {
  const { version, appVersion } = parse(readFileSync(join(CHART, 'Chart.yaml'), 'utf8'));
  assert.equal([version, appVersion], [manifest.version, manifest.version]);
  const { containers, initContainers = [] } = spec(template({ ...REQUIRED, image: { repository: 'example.org/k' } }));
  for (const { image } of [...containers, ...initContainers]) assert.is(image, `example.org/k:${manifest.version}`);
});

test("the README's command renders, with its image", () => {
  const [text = ''] = /helm install (?:.*\\\n)*.*/.exec(readFileSync(join(KUBERNETES, 'README.md'), 'utf8')) ?? [];
  const [, , ...args] = text.split(/[\s\\]+/);
  const { status, stdout, stderr } = spawnSync(command, ['template', ...args], {
    cwd: KUBERNETES,
    encoding: 'utf8',
    env: environment,
  });
  assert.is(status, 0, stderr);
  assert.match(stdout, /image: REGISTRY\/kube-proxy:1\.2\.3\n/);
});

test('a digest says which image it is, whatever the tag', () => {
  const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;
  for (const tag of ['', '1.2.3']) {
    const objects = template({ ...REQUIRED, image: { repository: 'example.org/k', tag, digest } });
    const { containers, initContainers = [] } = spec(objects);
    for (const { image } of [...containers, ...initContainers]) assert.is(image, `example.org/k@${digest}`);
  }
});

test('everything at once still fits the schemas of Kubernetes, and the program', async () => {
  const objects = template({
    ...REQUIRED,
    image: { repository: 'example.org/k', tag: '1.2.3', pullPolicy: 'Always' },
    imagePullSecrets: [{ name: 'secret' }],
    backend: 'acme',
    backendOptions: { depth: { of: ['anything', 7] } },
    plugins: { 'acme.mjs': 'export default {};\n' },
    clusterCIDR: '10.244.0.0/16,fd00:10:244::/56',
    config: {
      logging: { verbosity: 2 },
      healthzBindAddress: '0.0.0.0:10999',
      clientConnection: { qps: 20 },
      conntrack: { maxPerCore: 0 },
      oomScoreAdj: 0,
    },
    extraVolumes: [{ name: 'more', hostPath: { path: '/opt/more', type: 'Directory' } }],
    extraVolumeMounts: [{ name: 'more', mountPath: '/opt/more', readOnly: true }],
    capabilities: ['NET_ADMIN'],
    resources: { requests: { cpu: '1', memory: '1Gi' }, limits: { memory: '2Gi' } },
    nodeSelector: { 'kubernetes.io/os': 'linux', pool: 'a' },
    tolerations: [{ key: 'a', operator: 'Exists', effect: 'NoExecute' }],
    affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [] } } },
    podAnnotations: { note: 'x' },
    updateStrategy: { type: 'OnDelete', rollingUpdate: null },
    monitoring: { podMonitor: { enabled: true, interval: '10s', labels: { release: 'prometheus' } } },
  });
  for (const object of objects) {
    if (object.kind === 'PodMonitor') continue;
    assert.equal(await schemaFaults(object), [], `${object.kind} ${object.metadata.name}`);
  }
  const { settings, faults, warnings } = load(objects);
  assert.equal([...faults, ...warnings], []);
  assert.is(settings?.backend, 'acme');
  assert.is(settings?.pluginDir, '/etc/kube-proxy/plugins');
  assert.equal(settings?.backendOptions, { depth: { of: ['anything', 7] } });
  assert.is(settings?.verbosity, 2);
  assert.is(settings?.oomScoreAdj, 0, 'what is false or zero counts, too');
  assert.equal(config(objects).clientConnection, { kubeconfig: '/var/lib/kube-proxy/kubeconfig.conf', qps: 20 });

  const { containers, initContainers = [], volumes = [] } = spec(objects);
  const [proxy] = containers;
  for (const probe of probes(objects)) assert.is(probe?.httpGet.port, 10999);
  assert.equal(proxy?.securityContext?.capabilities, { drop: ['ALL'], add: ['NET_ADMIN'] });
  assert.is(volumes.find(({ name }) => name === 'plugins')?.configMap?.name, 'kube-proxy-plugins');
  assert.equal(
    volumes.find(({ name }) => name === 'more'),
    { name: 'more', hostPath: { path: '/opt/more', type: 'Directory' } },
  );
  for (const { name, volumeMounts = [] } of [proxy!, ...initContainers]) {
    const mounted = volumeMounts.map(({ mountPath }) => mountPath);
    for (const path of ['/etc/kube-proxy/plugins', '/opt/more']) assert.ok(mounted.includes(path), `${name} ${path}`);
  }
  assert.is(find<ConfigMap>(objects, 'ConfigMap', 'kube-proxy-plugins').data['acme.mjs'], 'export default {};\n');
});

test('its notes say where to look, and what was forgotten', () => {
  const notes = (values: Values): string => {
    const args = arguments_(['install', '--dry-run=client', 'kube-proxy'], { ...REQUIRED, ...values });
    const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', env: environment });
    assert.is(status, 0, stderr);
    return stdout.slice(stdout.indexOf('NOTES:'));
  };
  assert.match(notes({}), /kubectl -n kube-system logs -l k8s-app=kube-proxy/);
  assert.match(notes({}), /clusterCIDR is not set/);
  assert.not.match(notes({ clusterCIDR: '10.244.0.0/16' }), /clusterCIDR is not set/);
  assert.not.match(notes({ config: { detectLocalMode: 'NodeCIDR' } }), /clusterCIDR is not set/);
  assert.not.match(notes({ config: { clusterCIDR: '10.244.0.0/16' } }), /clusterCIDR is not set/);
  assert.match(notes({}), /kube-proxy:.* with the backend iptables\./);
  assert.match(notes({ config: { mode: 'nftables' } }), /with the backend nftables\./);
  assert.match(notes({ backend: 'nftables', config: { backend: 'acme' } }), /with the backend acme\./);
  assert.not.match(notes({}), /There is no/);
  assert.match(notes({ config: { healthzBindAddress: '0' } }), /no health server, hence no probe/);
  const monitoring = { podMonitor: { enabled: true } };
  assert.match(notes({ monitoring, config: { metricsBindAddress: '0' } }), /no metrics server, hence no PodMonitor/);
});

for (const address of [
  '',
  '10.0.0.1',
  '0.0.0.0',
  '0.0.0.0:1',
  '127.0.0.1:10999',
  '::1',
  '::',
  '[::]:77',
  '[fd00::1]:78',
]) {
  test(`healthzBindAddress ${JSON.stringify(address)}: probes ask where the program listens`, async () => {
    const objects = template({ ...REQUIRED, config: { healthzBindAddress: address } });
    assert.equal(await schemaFaults(find(objects, 'DaemonSet')), []);
    const { settings, faults } = load(objects);
    assert.equal(faults, []);
    const { host, port } = settings!.healthz!;
    const isEverywhere = host === '0.0.0.0' || host === '::';
    for (const probe of probes(objects)) {
      assert.is(probe?.httpGet.port, port);
      assert.is(probe?.httpGet.host, isEverywhere ? undefined : host);
    }
  });
}

test('where there is no server, nobody is to ask it', () => {
  const objects = template({
    ...REQUIRED,
    config: { healthzBindAddress: '0', metricsBindAddress: '0' },
    monitoring: { podMonitor: { enabled: true } },
  });
  assert.equal([load(objects).settings?.healthz, load(objects).settings?.metrics], [undefined, undefined]);
  assert.equal(probes(objects), [undefined, undefined, undefined]);
  assert.is((spec(objects).containers[0] as unknown as Values).ports, undefined);
  assert.not.ok(objects.some(({ kind }) => kind === 'PodMonitor'));
});

test('a PodMonitor is for the port that the configuration gives', () => {
  const objects = template({
    ...REQUIRED,
    config: { metricsBindAddress: '0.0.0.0' },
    monitoring: { podMonitor: { enabled: true } },
  });
  assert.equal((spec(objects).containers[0] as unknown as Values).ports, [
    { name: 'metrics', containerPort: load(objects).settings?.metrics?.port, hostPort: 10249 },
  ]);
});

test('each backend that stands for itself is taken, built-in modes under the name that other programs read', () => {
  for (const backend of ['iptables', 'ipvs', 'nftables']) {
    assert.is(config(template({ ...REQUIRED, backend })).mode, backend);
    assert.is(config(template({ ...REQUIRED, backend })).backend, undefined);
  }
  assert.is(config(template({ ...REQUIRED, backend: 'userspace' })).backend, 'userspace');
  const backendOptions = { command: '/opt/services.py' };
  assert.is(config(template({ ...REQUIRED, backend: 'exec', backendOptions })).backend, 'exec');
});

test('metrics are opened to the network, and a port for them declared, only for a PodMonitor', () => {
  const closed = template(REQUIRED);
  assert.is(config(closed).metricsBindAddress, '127.0.0.1:10249');
  assert.not.ok(closed.some(({ kind }) => kind === 'PodMonitor'));
  const open = template({ ...REQUIRED, monitoring: { podMonitor: { enabled: true } } });
  assert.is(config(open).metricsBindAddress, '0.0.0.0:10249');
  assert.equal((spec(open).containers[0] as unknown as Values).ports, [
    { name: 'metrics', containerPort: 10249, hostPort: 10249 },
  ]);
  const monitor = find<Manifest & { readonly spec: Values }>(open, 'PodMonitor');
  assert.equal(monitor.spec, {
    jobLabel: 'k8s-app',
    selector: { matchLabels: { 'k8s-app': 'kube-proxy' } },
    podMetricsEndpoints: [{ port: 'metrics', path: '/metrics', interval: '30s' }],
  });
});

test('other code of a plugin takes new pods; another option does not', () => {
  const annotations = (values: Values) =>
    JSON.stringify(find<DaemonSet>(template({ ...REQUIRED, ...values }), 'DaemonSet').spec.template.metadata);
  const before = annotations({ plugins: { 'a.js': 'one' } });
  assert.is(annotations({ plugins: { 'a.js': 'one' }, backendOptions: { x: 'y' } }), before);
  assert.is.not(annotations({ plugins: { 'a.js': 'two' } }), before);
});

for (const [what, values, said] of [
  [
    'no API server',
    { ...REQUIRED, apiServer: '' },
    /apiServer: kube-proxy cannot reach the API server through a Service/,
  ],
  ['no image', { apiServer: REQUIRED.apiServer }, /image\.repository: there is no public image/],
  ['a digest that is none', { ...REQUIRED, image: { repository: 'k', digest: 'sha256:0' } }, /digest/],
  ['one name for all nodes', { ...REQUIRED, config: { hostnameOverride: '' } }, /config\.hostnameOverride: cannot be/],
  ['a program that nobody names', { ...REQUIRED, backend: 'exec' }, /backendOptions\.command: the backend exec/],
  ['the same said otherwise', { ...REQUIRED, config: { backend: 'exec' } }, /backendOptions\.command/],
  ['an address that is a number', { ...REQUIRED, config: { healthzBindAddress: 0 } }, /healthzBindAddress/],
  ['a misspelt value', { ...REQUIRED, clusterCidr: '10.0.0.0/8' }, /clusterCidr/],
  ['a misspelt value inside', { ...REQUIRED, monitoring: { podMonitor: { enable: true } } }, /enable/],
  ['an address that is no URL', { ...REQUIRED, apiServer: '10.0.0.1:6443' }, /apiServer/],
  ['a text that would become another line', { ...REQUIRED, apiServer: 'https://a\n    x: y' }, /apiServer/],
  ['a backend that cannot be one', { ...REQUIRED, backend: 'My Backend' }, /backend/],
  ['a plugin file that is none', { ...REQUIRED, plugins: { 'a.py': 'x' } }, /a\.py/],
] as const satisfies readonly (readonly [string, Values, RegExp])[]) {
  test(`it refuses ${what}`, () => assert.match(refusal(values), said));
}

test.run();
