/** What probes, dashboards and load balancers ask a running proxy, and what it says while objects change. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ask, refusal } from '../unit/observe/ask.ts';
import { valueOf } from '../unit/observe/exposition.ts';
import { type Cluster, openCluster } from './cluster.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { readAccess } from './kubeconfig.ts';
import { endpointAt, NO_CONTROLLER, service, slice } from './objects.ts';

const test = suite('surfaces over HTTP');
const cluster: Cluster = await openCluster();
const { client, namespace, nodeName } = cluster;
const [family] = cluster.families;
let daemon: Daemon;

test.before(async () => {
  daemon = await startDaemon({ kubeconfig: cluster.kubeconfig, nodeName });
  await daemon.ready();
});
test.after(async () => {
  await daemon?.stop();
  await cluster.close();
});

/** The value of one sample; 0 where there is none. */
async function metric(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
  return valueOf(await daemon.metrics(), name, labels) ?? 0;
}

const served = (name: string) => daemon.served.port(family, namespace, `${name}/TCP`);
const inFamily = { ip_family: family };

test('probes are answered once everything is programmed', async () => {
  for (const path of ['/healthz', '/livez', '/readyz']) assert.is((await daemon.health(path)).status, 200, path);
  assert.equal(JSON.parse((await daemon.health('/readyz')).body), { ready: true, waiting: [] });
  const health = JSON.parse((await daemon.health('/healthz')).body);
  assert.equal([health.nodeEligible, health.healthy, health.status[family].healthy], [true, true, true]);
});

test('the mode and the configuration in force can be asked for', async () => {
  assert.is((await daemon.metricsServer('/proxyMode')).body, 'dry-run');
  const all = JSON.parse((await daemon.metricsServer('/configz')).body);
  const config = all['kubeproxy.config.k8s.io'];
  assert.is(config.kind, 'KubeProxyConfiguration');
  assert.equal([config.hostnameOverride, config.clientConnection.kubeconfig], [nodeName, cluster.kubeconfig]);
});

test('metrics count syncs and changes, and nothing is left pending', async () => {
  const names = {
    syncs: 'kubeproxy_sync_proxy_rules_duration_seconds_count',
    services: 'kubeproxy_sync_proxy_rules_service_changes_total',
    endpoints: 'kubeproxy_sync_proxy_rules_endpoint_changes_total',
    ports: 'kubeproxy_service_ports',
  };
  const labelsOf = (name: string) => (name === names.services || name === names.endpoints ? {} : inFamily);
  const counts = async () => Promise.all(Object.values(names).map((name) => metric(name, labelsOf(name))));
  const before = await counts();
  const web = await client.create(service(namespace, 'counted'));
  await client.create(slice(web, { family, endpoints: [endpointAt(family, 1)] }));
  await daemon.until('it is served', () => served('counted')?.cluster.length === 1);
  await daemon.until('every count has moved', async () =>
    (await counts()).every((count, index) => count > before[index]!),
  );
  await daemon.until('nothing is pending', async () => {
    const services = await metric('kubeproxy_sync_proxy_rules_service_changes_pending');
    return services + (await metric('kubeproxy_sync_proxy_rules_endpoint_changes_pending')) === 0;
  });
  assert.is(await metric('kubeproxy_sync_failures_total', inFamily), 0);
});

test('the time from the cause of a change to its programming is measured for slices that tell when it was', async () => {
  const name = 'kubeproxy_network_programming_duration_seconds_count';
  const web = await client.create(service(namespace, 'measured'));
  await daemon.until('it is served', () => served('measured') !== undefined);
  const before = await metric(name, inFamily);
  const trigger = { 'endpoints.kubernetes.io/last-change-trigger-time': new Date().toISOString() };
  await client.create(slice(web, { family, endpoints: [endpointAt(family, 1)], annotations: trigger }));
  await daemon.until('it is measured', async () => (await metric(name, inFamily)) > before);
  assert.ok((await metric('kubeproxy_network_programming_duration_seconds_sum', inFamily)) < 60);
});

test('requests to the API server are counted, and each kind of object says how it stands', async () => {
  const { host } = readAccess(cluster.kubeconfig).server;
  const got = await metric('rest_client_requests_total', { code: '200', method: 'GET', host });
  assert.ok(got >= 4, `${got} GETs`);
  // The event about the start.
  await daemon.until('a POST', async () => {
    return (await metric('rest_client_requests_total', { code: '201', method: 'POST', host })) > 0;
  });
  const families = await daemon.metrics();
  for (const resource of ['services', 'endpointslices', 'nodes', 'servicecidrs']) {
    assert.is(valueOf(families, 'kubeproxy_source_synced', { resource }), 1, resource);
    assert.ok((valueOf(families, 'kubeproxy_source_age_seconds', { resource }) ?? -1) >= 0, resource);
    assert.ok((valueOf(families, 'kubeproxy_source_watches_total', { resource }) ?? 0) > 0, resource);
  }
  assert.is(valueOf(families, 'kubeproxy_source_objects', { resource: 'nodes' }), 1);
});

test('a healthCheckNodePort tells load balancers how many endpoints this node has', async () => {
  const balanced = await client.create(
    service(namespace, 'checked', { ...NO_CONTROLLER, externalTrafficPolicy: 'Local' }),
  );
  const { healthCheckNodePort: port = 0 } = balanced.spec;
  assert.ok(port > 0);
  const where = { host: family === 'IPv4' ? '127.0.0.1' : '::1', port };
  const answers = async (status: number, endpoints: number) => {
    await daemon.until(`${status} with ${endpoints}`, async () => {
      if ((await refusal(where)) !== 'accepted') return false;
      const { status: code, headers, body } = await ask(where, '/');
      const weight = headers['x-load-balancing-endpoint-weight'];
      if (code !== status || weight !== String(endpoints)) return false;
      assert.equal(JSON.parse(body), {
        service: { namespace, name: 'checked' },
        localEndpoints: endpoints,
        serviceProxyHealthy: true,
      });
      return true;
    });
  };
  await answers(503, 0);
  const elsewhere = endpointAt(family, 1, { nodeName: 'elsewhere' });
  const here = [2, 3].map((number) => endpointAt(family, number, { nodeName }));
  const all = await client.create(slice(balanced, { family, endpoints: [elsewhere, ...here] }));
  await answers(200, 2);
  await client.patch(all, { endpoints: [elsewhere, here[0]] });
  await answers(200, 1);
  await client.patch(all, { endpoints: [elsewhere] });
  await answers(503, 0);
  await client.delete(balanced);
  await daemon.until('nobody answers', async () => (await refusal(where)) === 'ECONNREFUSED');
});

test.run();
