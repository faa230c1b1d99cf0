/** Second opinions: clients that were written against real servers take this one for one. */
import { execFile, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { CoreV1Api, EventsV1Api, KubeConfig, V1MicroTime, Watch } from '@kubernetes/client-node';
import * as assert from 'uvu/assert';
import { getKubectl } from '../../../build/kubectl.ts';
import type { ApiServer } from '../../apiserver/server.ts';
import { skip } from '../../skip.ts';
import { until } from './client.ts';
import { SERVICES, serverSuite, service } from './with-server.ts';

const { test, run } = serverSuite('apiserver and other clients');

const found = getKubectl();
const KUBECTL = 'command' in found ? found.command : '';
const withKubectl: typeof test = (title, ...rest) =>
  'command' in found ? test(title, ...rest) : skip(title, found.missing);

/** Cache and home below the server's folder, so that nothing of this machine's user takes part. */
function setUp(server: ApiServer) {
  const path = server.adminKubeconfig();
  const environment = {
    ...process.env,
    KUBECONFIG: path,
    HOME: server.folder,
    KUBECACHEDIR: join(server.folder, 'cache'),
  };
  const kubectl = async (...args: readonly string[]): Promise<string> => {
    const { stdout } = await promisify(execFile)(KUBECTL, [...args], { env: environment, timeout: 30_000 });
    return stdout.trim();
  };
  return { kubectl, environment };
}

async function refusal(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return (error as { stderr?: string }).stderr ?? '';
  }
  throw new Error('it succeeded');
}

withKubectl('kubectl reads objects and its refusals', async (server) => {
  const { kubectl } = setUp(server);
  for (const name of ['a', 'b']) server.objects.apply(service(name, { namespace: 'shop', labels: { app: name } }));
  assert.is(await kubectl('get', 'services', '-A', '-o', 'name'), 'service/a\nservice/b');
  assert.is(await kubectl('get', 'svc', '-n', 'shop', '-l', 'app in (b)', '-o', 'name'), 'service/b');
  assert.is(await kubectl('get', 'svc', '-n', 'shop', '--chunk-size=1', '-o', 'name'), 'service/a\nservice/b');
  assert.is(await kubectl('get', 'svc/a', '-n', 'shop', '-o', 'jsonpath={.spec.clusterIP}'), '10.96.0.1');
  assert.match(await refusal(kubectl('get', 'svc', 'none')), 'Error from server (NotFound): services "none" not found');
  assert.match(await refusal(kubectl('get', 'svc', '--field-selector', 'x=y')), '(BadRequest)');
});

withKubectl('kubectl applies, changes, patches and deletes', async (server) => {
  const { kubectl } = setUp(server);
  const file = join(server.folder, 'service.json');
  const write = (ports: readonly object[]) =>
    writeFileSync(file, JSON.stringify({ ...service('web'), spec: { ports } }));
  write([
    { name: 'a', port: 80 },
    { name: 'b', port: 81 },
  ]);
  assert.is(await kubectl('apply', '-f', file), 'service/web created');
  assert.is(await kubectl('apply', '-f', file), 'service/web unchanged');
  write([{ name: 'b', port: 81, targetPort: 8081 }]);
  assert.is(await kubectl('apply', '-f', file), 'service/web configured');
  const ports = (server.objects.get('Service', 'default', 'web') as unknown as { spec: { ports: object[] } }).spec
    .ports;
  assert.equal(ports, [{ name: 'b', protocol: 'TCP', port: 81, targetPort: 8081 }]);
  assert.is(await kubectl('label', 'svc/web', 'tier=front'), 'service/web labeled');
  assert.is(
    await kubectl('patch', 'svc/web', '--type=merge', '-p', '{"spec":{"type":"NodePort"}}'),
    'service/web patched',
  );
  assert.match(await refusal(kubectl('patch', 'svc/web', '-p', '{"spec":{"ports":[{"port":0}]}}')), 'is invalid');
  assert.match(await kubectl('delete', 'svc/web'), 'service "web" deleted');
  write([{ port: 80, prot: 'TCP' }]);
  assert.match(await refusal(kubectl('apply', '-f', file)), 'unknown field "spec.ports[0].prot"');
  assert.is(server.objects.count('Service'), 0);
});

withKubectl('kubectl watches', async (server) => {
  const { environment } = setUp(server);
  server.objects.apply(service('a'));
  const child = spawn(KUBECTL, ['get', 'svc', '-w', '-o', 'name'], {
    env: environment,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  try {
    await until('the watch is open', () => server.watches({ resource: 'services' }).length === 1);
    server.objects.apply(service('b'));
    await until('both objects', () => output === 'service/a\nservice/b\n');
  } finally {
    child.kill();
  }
});

function clientFor(path: string): KubeConfig {
  const config = new KubeConfig();
  config.loadFromFile(path);
  return config;
}

test('the JavaScript client reads, writes and watches', async (server) => {
  const config = clientFor(server.adminKubeconfig());
  const api = config.makeApiClient(CoreV1Api);
  const body = { metadata: { name: 'web' }, spec: { ports: [{ port: 80 }] } };
  const created = await api.createNamespacedService({ namespace: 'default', body });
  assert.is(created.spec?.clusterIP, '10.96.0.1');
  const list = await api.listServiceForAllNamespaces();
  assert.is(list.items.length, 1);
  const seen: string[] = [];
  const controller = await new Watch(config).watch(
    SERVICES,
    { resourceVersion: list.metadata?.resourceVersion },
    (type: string, object: { metadata: { name: string } }) => seen.push(`${type} ${object.metadata.name}`),
    () => {},
  );
  server.objects.delete('Service', 'default', 'web');
  await until('the deletion', () => seen.length > 0);
  assert.equal(seen, ['DELETED web']);
  controller.abort();
});

test('the JavaScript client records an event, its user being allowed nothing else', async (server) => {
  server.setRules([{ subject: 'proxy', verbs: ['create'], groups: ['events.k8s.io'], resources: ['events'] }]);
  const { path } = server.kubeconfigFor({ kind: 'token', token: server.tokens.issue('proxy') });
  const config = clientFor(path);
  const event = {
    metadata: { name: 'node-1.1', namespace: 'default' },
    eventTime: new V1MicroTime(),
    reportingController: 'kube-proxy',
    reportingInstance: 'kube-proxy-node-1',
    action: 'Start',
    reason: 'Starting',
    regarding: { kind: 'Node', name: 'node-1' },
    type: 'Normal',
  };
  await config.makeApiClient(EventsV1Api).createNamespacedEvent({ namespace: 'default', body: event });
  assert.is(server.objects.count('Event'), 1);
  try {
    await config.makeApiClient(CoreV1Api).listNode();
    assert.unreachable();
  } catch (error) {
    assert.is((error as { code?: number }).code, 403);
  }
});

run();
