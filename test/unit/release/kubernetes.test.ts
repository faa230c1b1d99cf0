/** What release/kubernetes renders to: valid for the API server, and fitting this program. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parse, stringify } from 'yaml';
import { getKubectl } from '../../../build/kubectl.ts';
import { backendNames } from '../../../core/cli/backends.ts';
import { parseCommandLine } from '../../../core/config/command-line.ts';
import { type LoadedConfig, loadConfigText } from '../../../core/config/settings.ts';
import { healthRoutes } from '../../../core/observe/http-health.ts';
import { endpointSlices, node, serviceCIDRs, services } from '../../../core/source/api/resource.ts';
import type { Rule } from '../../apiserver/http/auth.ts';
import { PROXY_RULES } from '../../cluster/cluster.ts';
import { skip } from '../../skip.ts';
import { schemaFaults } from './kubernetes-schema.ts';
import {
  type ClusterRoleBinding,
  type ConfigMap,
  type Container,
  type DaemonSet,
  find,
  KUBERNETES,
  type Manifest,
  parseManifests,
  render,
} from './manifests.ts';

const test = suite('release/kubernetes');
const kubectl = getKubectl();
const OVERLAYS = readdirSync(join(KUBERNETES, 'overlays')).map((name) => `overlays/${name}`);
/** That make this the kube-proxy of a cluster. */
const KERNEL = ['base', 'overlays/iptables', 'overlays/ipvs', 'overlays/nftables', 'overlays/userspace'];
const SERVING = [...KERNEL, 'overlays/plugin'];
/** Next to a kube-proxy that serves. */
const TRIALS = ['overlays/dry-run', 'overlays/plugin-trial'];
const PROXIES = ['base', ...OVERLAYS];

/** ClusterRole system:node-proxier of Kubernetes 1.36. */
const NODE_PROXIER: readonly Omit<Rule, 'subject'>[] = [
  { verbs: ['list', 'watch'], groups: [''], resources: ['endpoints', 'services'] },
  { verbs: ['get', 'list', 'watch'], groups: [''], resources: ['nodes'] },
  { verbs: ['create', 'patch', 'update'], groups: ['', 'events.k8s.io'], resources: ['events'] },
  { verbs: ['list', 'watch'], groups: ['discovery.k8s.io'], resources: ['endpointslices'] },
  { verbs: ['list', 'watch'], groups: ['networking.k8s.io'], resources: ['servicecidrs'] },
];

const texts = new Map<string, readonly Manifest[]>();

function rendered(folder: string): readonly Manifest[] {
  if ('missing' in kubectl) throw new Error(kubectl.missing);
  const known = texts.get(folder) ?? render(kubectl.command, ['kustomize', join(KUBERNETES, folder)]);
  texts.set(folder, known);
  return known;
}

const daemonSet = (folder: string): DaemonSet => find<DaemonSet>(rendered(folder), 'DaemonSet');
const proxyOf = (folder: string): Container => daemonSet(folder).spec.template.spec.containers[0]!;
const configMap = (folder: string): ConfigMap => {
  const { volumes = [] } = daemonSet(folder).spec.template.spec;
  const name = volumes.find((volume) => volume.name === 'kube-proxy')?.configMap?.name ?? '';
  return find<ConfigMap>(rendered(folder), 'ConfigMap', name);
};

function loaded(folder: string): LoadedConfig {
  const [, ...args] = proxyOf(folder).command;
  const line = parseCommandLine(args.map((word) => word.replace('$(NODE_NAME)', 'node-1')));
  assert.equal(line.faults, []);
  return loadConfigText(configMap(folder).data['config.conf']!, 'config.conf', line, backendNames());
}

function grants(rules: readonly Omit<Rule, 'subject'>[], verb: string, group: string, resource: string): boolean {
  return rules.some(
    ({ verbs, groups, resources }) => verbs.includes(verb) && groups.includes(group) && resources.includes(resource),
  );
}

if ('missing' in kubectl) {
  skip('all of test/unit/release/kubernetes.test.ts', kubectl.missing);
  process.exit(0);
}
const { command } = kubectl;

for (const folder of [...PROXIES, 'cleanup']) {
  test(`${folder}: every object fits the schemas of Kubernetes`, async () => {
    const objects = rendered(folder);
    assert.ok(objects.length > 0);
    for (const object of objects)
      assert.equal(await schemaFaults(object), [], `${object.kind} ${object.metadata.name}`);
  });

  test(`${folder}: everything that is mounted is there, and nothing else`, () => {
    const { containers, initContainers = [], volumes = [] } = daemonSet(folder).spec.template.spec;
    const mounted = [...containers, ...initContainers].flatMap(({ volumeMounts = [] }) => volumeMounts);
    assert.equal([...new Set(mounted.map(({ name }) => name))].sort(), volumes.map(({ name }) => name).sort());
    for (const { configMap: source } of volumes)
      if (source) find<ConfigMap>(rendered(folder), 'ConfigMap', source.name);
  });

  test(`${folder}: selects the pods that it makes, on every node of Linux`, () => {
    const { selector, template } = daemonSet(folder).spec;
    for (const [name, value] of Object.entries(selector.matchLabels)) assert.is(template.metadata.labels[name], value);
    assert.equal(template.spec.tolerations, [{ operator: 'Exists' }]);
    assert.is(daemonSet(folder).metadata.namespace, 'kube-system');
  });

  test(`${folder}: no container keeps what it does not need`, () => {
    const { containers, initContainers = [], securityContext } = daemonSet(folder).spec.template.spec;
    assert.equal(securityContext?.seccompProfile, { type: 'RuntimeDefault' });
    for (const { name, securityContext: own, volumeMounts } of [...containers, ...initContainers]) {
      assert.is(own?.readOnlyRootFilesystem, true, name);
      assert.ok(
        volumeMounts?.some(({ mountPath, readOnly }) => mountPath === '/tmp' && !readOnly),
        `${name} has no place for its native library`,
      );
      if (name === 'init') continue;
      assert.is(own?.privileged, undefined, name);
      assert.is(own?.allowPrivilegeEscalation, false, name);
      assert.equal(own?.capabilities?.drop, ['ALL'], name);
    }
  });
}

test('a misspelt field, a missing one and a wrong type are found', async () => {
  const broken = async (change: (text: string) => string) => {
    const text = stringify(daemonSet('base'));
    assert.is.not(change(text), text);
    return schemaFaults(parseManifests(change(text))[0]);
  };
  assert.equal(await broken((text) => text.replace('tolerations:', 'tolerationz:')), [
    'spec.template.spec.tolerationz: unknown field of V1PodSpec',
  ]);
  assert.equal(await broken((text) => text.replace(/mountPath: \/tmp\n/, 'mountpath: /tmp\n')), [
    'spec.template.spec.containers[0].volumeMounts[2].mountPath: is required',
    'spec.template.spec.containers[0].volumeMounts[2].mountpath: unknown field of V1VolumeMount',
  ]);
  assert.equal(await broken((text) => text.replace('hostNetwork: true', 'hostNetwork: "yes"')), [
    'spec.template.spec.hostNetwork: "yes" is no boolean',
  ]);
  assert.equal(await broken((text) => text.replace('FileOrCreate', 'FileorCreate')), [
    'spec.template.spec.volumes[1].hostPath.type: "FileorCreate" is none of DirectoryOrCreate, Directory, ' +
      'FileOrCreate, File, Socket',
  ]);
  assert.equal(await broken((text) => text.replace('kind: DaemonSet', 'kind: DaemonSets')), [
    'there is no DaemonSets in apps/v1',
  ]);
  assert.equal(await broken((text) => text.replace('runAsUser: 0', 'runAsUser: 0.5')), [
    'spec.template.spec.securityContext.runAsUser: 0.5 is no int64',
  ]);
});

for (const folder of PROXIES) {
  test(`${folder}: the program accepts its configuration without a fault or a warning`, () => {
    const { settings, faults, warnings } = loaded(folder);
    assert.equal(faults, []);
    assert.equal(warnings, []);
    assert.ok(settings);
    assert.is(settings.node.nodeName, 'node-1');
    if (settings.source.kind !== 'api') throw new Error('objects do not come from the API server');
    const { kubeconfig } = settings.source;
    if (!SERVING.includes(folder)) return assert.is(kubeconfig, '');
    const at = proxyOf(folder).volumeMounts?.find(({ name }) => name === 'kube-proxy')?.mountPath;
    assert.is(kubeconfig, `${at}/kubeconfig.conf`);
  });

  test(`${folder}: probes ask what answers, where it listens`, () => {
    const routes = healthRoutes({
      health: () => {
        throw new Error('not asked for');
      },
      readiness: () => ({ started: false, waiting: [] }),
      onAnswer: () => {},
    });
    const { startupProbe, livenessProbe, readinessProbe } = proxyOf(folder);
    const { healthz } = loaded(folder).settings!;
    for (const probe of [startupProbe, livenessProbe, readinessProbe]) {
      assert.is(probe?.httpGet.port, healthz?.port);
      assert.ok(routes(probe?.httpGet.path ?? ''), `there is no ${probe?.httpGet.path}`);
    }
    assert.is(livenessProbe?.httpGet.path, '/livez');
    assert.is(readinessProbe?.httpGet.path, '/readyz');
  });

  test(`${folder}: its service account has the role of kube-proxies, and nothing else`, () => {
    const { roleRef, subjects } = find<ClusterRoleBinding>(rendered(folder), 'ClusterRoleBinding');
    const account = find(rendered(folder), 'ServiceAccount').metadata.name;
    assert.is(`${roleRef.kind} ${roleRef.name}`, 'ClusterRole system:node-proxier');
    assert.equal(subjects, [{ kind: 'ServiceAccount', name: account, namespace: 'kube-system' }]);
    assert.is(daemonSet(folder).spec.template.spec.serviceAccountName, account);
  });
}

test('the role allows all requests that the program makes', () => {
  for (const { name, roots } of [services(), endpointSlices(), node('node-1'), serviceCIDRs()]) {
    for (const root of roots) {
      const [group = ''] = root.startsWith('/apis/') ? root.split('/').slice(2) : [];
      for (const verb of ['list', 'watch'])
        assert.ok(grants(NODE_PROXIER, verb, group, name), `${verb} ${root}/${name}`);
    }
  }
  for (const { verbs, groups, resources } of PROXY_RULES) {
    for (const verb of verbs) {
      for (const group of groups) {
        for (const resource of resources) assert.ok(grants(NODE_PROXIER, verb, group, resource), `${verb} ${resource}`);
      }
    }
  }
  assert.not.ok(grants(NODE_PROXIER, 'list', '', 'secrets'));
});

test('there is an overlay for each backend of the program that stands for itself, and one for others', () => {
  const backends = OVERLAYS.map((folder) => loaded(folder).settings!.backend).sort();
  const needsAProgram = ['exec'];
  const own = backendNames().filter((name) => !needsAProgram.includes(name));
  assert.equal(backends, [...own, 'example', 'example'].sort());
  for (const folder of OVERLAYS) {
    const { backend } = loaded(folder).settings!;
    assert.is(backend, folder.startsWith('overlays/plugin') ? 'example' : folder.split('/')[1]);
  }
  assert.equal(
    OVERLAYS.filter((folder) => !SERVING.includes(folder)),
    TRIALS,
  );
});

for (const folder of ['overlays/plugin', 'overlays/plugin-trial']) {
  test(`${folder}: every container has the plugin where its configuration has it looked for`, () => {
    const { backend, pluginDir } = loaded(folder).settings!;
    const { volumes = [], containers, initContainers = [] } = daemonSet(folder).spec.template.spec;
    for (const { name, volumeMounts } of [...containers, ...initContainers]) {
      const mount = volumeMounts?.find(({ mountPath }) => mountPath === pluginDir);
      const source = volumes.find((volume) => volume.name === mount?.name)?.configMap?.name ?? '';
      assert.is.not(source, '', `${name} has no plugin`);
      const files = Object.keys(find<ConfigMap>(rendered(folder), 'ConfigMap', source).data);
      assert.equal(files, [`${backend}.mjs`]);
      assert.is(mount?.readOnly, true);
    }
  });
}

test('a plugin is tried with the file and the options that it serves with, and only the trial goes first without memory', () => {
  const code = (folder: string) =>
    rendered(folder).flatMap((object) =>
      object.kind === 'ConfigMap' ? ((object as ConfigMap).data['example.mjs'] ?? []) : [],
    );
  assert.equal(code('overlays/plugin-trial'), code('overlays/plugin'));
  const { backendOptions, oomScoreAdj } = loaded('overlays/plugin').settings!;
  assert.equal(loaded('overlays/plugin-trial').settings?.backendOptions, backendOptions);
  assert.is(oomScoreAdj, loaded('base').settings?.oomScoreAdj);
  assert.ok(loaded('overlays/plugin-trial').settings!.oomScoreAdj > 0);
});

test('overlays differ from the base in what they are for', () => {
  const others = (folder: string) => rendered(folder).filter(({ kind }) => kind !== 'ConfigMap');
  const config = (folder: string) => parse(configMap(folder).data['config.conf']!) as Readonly<Record<string, unknown>>;
  assert.equal(rendered('overlays/iptables'), rendered('base'));
  for (const mode of ['ipvs', 'nftables', 'userspace']) {
    assert.equal(others(`overlays/${mode}`), others('base'));
    const { ipvs, ...rest } = config(`overlays/${mode}`);
    assert.is(ipvs !== undefined, mode === 'ipvs', 'only it has a stanza of its own');
    assert.equal(rest, { ...config('base'), mode });
    assert.is(configMap(`overlays/${mode}`).data['kubeconfig.conf'], configMap('base').data['kubeconfig.conf']);
  }
});

for (const folder of SERVING) {
  test(`${folder}: has kubeadm's names, so that what is written about kube-proxy everywhere holds`, () => {
    assert.is(daemonSet(folder).metadata.name, 'kube-proxy');
    assert.is(daemonSet(folder).spec.template.metadata.labels['k8s-app'], 'kube-proxy');
    assert.is(configMap(folder).metadata.name, 'kube-proxy');
    assert.equal(Object.keys(configMap(folder).data).sort(), ['config.conf', 'kubeconfig.conf']);
    const own = proxyOf(folder).volumeMounts?.filter(({ name }) => name !== 'plugins');
    const mounts = own?.map(({ name, mountPath }) => `${name} ${mountPath}`);
    assert.equal(mounts?.sort(), ['kube-proxy /var/lib/kube-proxy', 'tmp /tmp', 'xtables-lock /run/xtables.lock']);
  });

  test(`${folder}: runs on the node itself, before others, and reaches the API server without Services`, () => {
    const { spec } = daemonSet(folder).spec.template;
    assert.is(spec.hostNetwork, true);
    assert.is(spec.dnsPolicy, 'Default');
    assert.is(spec.priorityClassName, 'system-node-critical');
    const lock = spec.volumes?.find(({ name }) => name === 'xtables-lock');
    assert.equal(lock?.hostPath, { path: '/run/xtables.lock', type: 'FileOrCreate' });
    assert.equal(proxyOf(folder).securityContext?.capabilities?.add, ['NET_ADMIN', 'NET_RAW']);
    const [init] = spec.initContainers ?? [];
    assert.is(init?.securityContext?.privileged, true);
    const [program, ...flags] = proxyOf(folder).command;
    assert.equal(init?.command, [program, '--init-only', ...flags]);
    assert.ok(init?.volumeMounts?.some(({ mountPath, readOnly }) => mountPath === '/lib/modules' && readOnly));
  });
}

test('the kubeconfig leads nowhere until someone says where the API server is', () => {
  const { clusters, users } = parse(configMap('base').data['kubeconfig.conf']!);
  const { server, 'certificate-authority': authority } = clusters[0].cluster;
  assert.is(new URL(server).hostname, 'api-server.invalid');
  const folder = '/var/run/secrets/kubernetes.io/serviceaccount';
  assert.is(authority, `${folder}/ca.crt`);
  assert.is(users[0].user.tokenFile, `${folder}/token`);
});

for (const folder of TRIALS) {
  test(`${folder}: can be next to the node's kube-proxy: no name, port or right is shared`, () => {
    const named = (each: string) => rendered(each).map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    assert.equal(
      named(folder).filter((name) => named('base').includes(name)),
      [],
    );
    const { spec, metadata } = daemonSet(folder).spec.template;
    assert.is.not(metadata.labels['k8s-app'], 'kube-proxy');
    assert.is(spec.hostNetwork, false);
    assert.equal(spec.initContainers ?? [], []);
    assert.is(spec.securityContext?.runAsNonRoot, true);
    assert.is(spec.securityContext?.runAsUser, 65534);
    for (const { securityContext } of spec.containers) assert.equal(securityContext?.capabilities?.add ?? [], []);
    assert.equal(
      spec.volumes?.filter(({ hostPath }) => hostPath),
      [],
    );
  });
}

test('an image that kustomize sets is that of all containers', () => {
  for (const folder of [...PROXIES, 'cleanup']) {
    const { containers, initContainers = [] } = daemonSet(folder).spec.template.spec;
    for (const { image } of [...containers, ...initContainers]) assert.is(image, 'kube-proxy:VERSION', folder);
  }
});

test("kubeadm's DaemonSet, patched, is valid, and differs in image, probe and pace alone: its command is ours", async () => {
  const original = join(import.meta.dirname, 'kubeadm-daemonset.yaml');
  const args = ['patch', '--local', '-f', original, '--patch-file', join(KUBERNETES, 'kubeadm-patch.yaml')];
  const patched = render(command, [...args, '-o', 'yaml']);
  assert.equal(await schemaFaults(patched[0]), []);
  const expected = parse(readFileSync(original, 'utf8'));
  const [container] = expected.spec.template.spec.containers;
  container.image = 'kube-proxy:VERSION';
  container.readinessProbe = proxyOf('base').readinessProbe;
  expected.spec.updateStrategy = { type: 'OnDelete' };
  assert.equal(patched, [expected]);
});

test('cleanup removes, and then waits without doing anything', () => {
  const { containers, initContainers = [] } = daemonSet('cleanup').spec.template.spec;
  const [program, ...words] = initContainers[0]!.command;
  assert.is(parseCommandLine(words).command, 'cleanup');
  const line = parseCommandLine(containers[0]!.command.slice(1));
  assert.equal(line.faults, []);
  assert.is(line.values.backend, 'dry-run');
  assert.is(dirname(program!), '/usr/local/bin');
});

test.run();
