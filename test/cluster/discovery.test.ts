/** Services and EndpointSlices written to the API server become what this node serves, and follow every change. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily, ServicePort } from '../../core/backend.ts';
import { skip } from '../skip.ts';
import { type Cluster, openCluster } from './cluster.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import {
  address,
  clusterIP,
  type EndpointField,
  endpointAt,
  NO_CONTROLLER,
  nodePort,
  type ServiceSpec,
  service,
  slice,
} from './objects.ts';

const test = suite('discovery through the API server');
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

const endpoint = (number: number, more: Partial<EndpointField> = {}): EndpointField => endpointAt(family, number, more);

/** "192.0.2.1|8080", … of policy Cluster; undefined while the service port is not served. */
function endpoints(name: string, of: IPFamily = family): readonly string[] | undefined {
  return daemon.served.port(of, namespace, name)?.cluster.map(({ ip, port }) => `${ip}|${port}`);
}

const at = (number: number, port = 8080): string => `${address(family, number)}|${port}`;

async function untilEndpoints(name: string, ...expected: readonly string[]): Promise<void> {
  const wanted = JSON.stringify(expected.toSorted());
  const have = (): string => JSON.stringify(endpoints(name)?.toSorted());
  await daemon
    .until(`${name} -> ${wanted}`, () => have() === wanted)
    .catch((error) => {
      throw new Error(`${error.message}\nserved: ${have()}`);
    });
}

async function untilPort(name: string, what: string, holds: (port: ServicePort) => boolean): Promise<ServicePort> {
  const find = () => daemon.served.port(family, namespace, name);
  await daemon.until(`${name}: ${what}`, () => {
    const port = find();
    return port !== undefined && holds(port);
  });
  return find()!;
}

const create = (name: string, spec: ServiceSpec = {}, labels: Readonly<Record<string, string>> = {}) =>
  client.create(service(namespace, name, spec, labels));

/** Whatever was written to Services before this is known to the daemon when it resolves. */
async function untilServicesSeen(): Promise<void> {
  const marker = await create(`marker-${++markers}`);
  await daemon.until(marker.metadata.name, () => endpoints(`${marker.metadata.name}/TCP`) !== undefined);
}
let markers = 0;

test('a Service is served at the address that the server gave it, with the endpoints of all its slices, until it goes', async () => {
  const web = await create('web');
  const port = await untilPort('web/TCP', 'is served', () => true);
  assert.is(port.clusterIP, clusterIP(web, family));
  assert.equal([port.port, port.nodePort, port.cluster, port.hasEndpoints], [80, 0, [], false]);
  const first = await client.create(slice(web, { family, endpoints: [endpoint(1), endpoint(2)] }));
  await untilEndpoints('web/TCP', at(1), at(2));
  const second = await client.create(slice(web, { name: 'web-2', family, endpoints: [endpoint(3)] }));
  await untilEndpoints('web/TCP', at(1), at(2), at(3));
  await client.patch(first, { endpoints: [endpoint(2), endpoint(4)] });
  await untilEndpoints('web/TCP', at(2), at(3), at(4));
  await client.delete(first);
  await untilEndpoints('web/TCP', at(3));
  await client.delete(second);
  await untilEndpoints('web/TCP');
  await client.delete(web);
  await daemon.until('web is gone', () => endpoints('web/TCP') === undefined);
});

test('slices that come before their Service count as soon as it is there', async () => {
  await client.create(slice(service(namespace, 'late'), { family, endpoints: [endpoint(1)] }));
  await create('late');
  await untilEndpoints('late/TCP', at(1));
});

test('only endpoints that are ready get traffic; those that terminate do while nobody else serves', async () => {
  const web = await create('readiness');
  const conditions = (ready: boolean, serving: boolean, terminating: boolean) => ({
    conditions: { ready, serving, terminating },
  });
  const leaving = endpoint(3, conditions(false, true, true));
  const all = await client.create(
    slice(web, {
      family,
      endpoints: [endpoint(1), endpoint(2, conditions(false, false, false)), leaving],
    }),
  );
  await untilEndpoints('readiness/TCP', at(1));
  await client.patch(all, { endpoints: [endpoint(2, conditions(false, false, false)), leaving] });
  await untilEndpoints('readiness/TCP', at(3));
  assert.equal(daemon.served.port(family, namespace, 'readiness/TCP')?.cluster[0]?.ready, false);
  await client.patch(all, { endpoints: [endpoint(3, conditions(false, false, true))] });
  await untilEndpoints('readiness/TCP');
});

test('each slice says by name which port of its endpoints a port of the Service means', async () => {
  const ports = [
    { name: 'http', port: 80, targetPort: 'web' },
    { name: 'metrics', port: 9090 },
  ];
  const web = await create('named', { ports });
  const named = (port: number) => ({ name: 'http', protocol: 'TCP' as const, port });
  await client.create(slice(web, { family, endpoints: [endpoint(1)], ports: [named(8080)] }));
  const both = [named(8081), { name: 'metrics', protocol: 'TCP' as const, port: 9091 }];
  await client.create(slice(web, { name: 'named-2', family, endpoints: [endpoint(2)], ports: both }));
  await untilEndpoints('named:http/TCP', at(1, 8080), at(2, 8081));
  await untilEndpoints('named:metrics/TCP', at(2, 9091));
});

test('TCP, UDP and SCTP ports of one number are three service ports', async () => {
  const protocols = ['TCP', 'UDP', 'SCTP'] as const;
  const name = (protocol: string) => protocol.toLowerCase();
  const dns = await create('dns', {
    ports: protocols.map((protocol) => ({ name: name(protocol), protocol, port: 53 })),
  });
  const ports = protocols.map((protocol, index) => ({ name: name(protocol), protocol, port: 5300 + index }));
  await client.create(slice(dns, { family, endpoints: [endpoint(1)], ports }));
  for (const [index, protocol] of protocols.entries()) {
    await untilEndpoints(`dns:${name(protocol)}/${protocol}`, at(1, 5300 + index));
  }
});

test('headless Services, ExternalNames and Services of another proxy are left alone', async () => {
  const label = { 'service.kubernetes.io/service-proxy-name': 'somebody-else' };
  await create('headless', { clusterIP: 'None' });
  await create('external', { type: 'ExternalName', externalName: 'example.org' });
  await create('theirs', {}, label);
  await untilServicesSeen();
  for (const name of ['headless', 'external', 'theirs']) assert.is(endpoints(`${name}/TCP`), undefined, name);
});

test('a Service that is given to another proxy is served no longer, and again once it is given back', async () => {
  const web = await create('handed-over');
  await client.create(slice(web, { family, endpoints: [endpoint(1)] }));
  await untilEndpoints('handed-over/TCP', at(1));
  const label = (value: string | null) => ({
    metadata: { labels: { 'service.kubernetes.io/service-proxy-name': value } },
  });
  await client.patch(web, label('somebody-else'));
  await daemon.until('handed-over is gone', () => endpoints('handed-over/TCP') === undefined);
  await client.patch(web, label(null));
  await untilEndpoints('handed-over/TCP', at(1));
});

test('node ports are those that the server gave, come with the type and go with it', async () => {
  const web = await create('node-port');
  await untilPort('node-port/TCP', 'has no node port', (port) => port.nodePort === 0);
  const opened = await client.patch(web, { spec: { type: 'NodePort' } });
  await untilPort('node-port/TCP', 'its node port', (port) => port.nodePort === nodePort(opened));
  await client.patch(web, { spec: { type: 'ClusterIP' } });
  await untilPort('node-port/TCP', 'its node port is gone', (port) => port.nodePort === 0);
});

test('external IPs are served while the Service has them', async () => {
  const ip = address(family, 77);
  const web = await create('external-ip', { externalIPs: [ip] });
  await untilPort('external-ip/TCP', 'its external IP', (port) => port.externalIPs.join() === ip);
  await client.patch(web, { spec: { externalIPs: [] } });
  await untilPort('external-ip/TCP', 'no external IP', (port) => port.externalIPs.length === 0);
});

test('of a load balancer the node serves the addresses in its status that are VIPs, for the ranges allowed', async () => {
  const range = family === 'IPv4' ? '198.51.100.0/24' : '2001:db8:1::/48';
  const balanced = await create('balanced', { ...NO_CONTROLLER, loadBalancerSourceRanges: [range] });
  const before = await untilPort('balanced/TCP', 'is served', () => true);
  assert.equal(before.loadBalancerVIPs, []);
  const ingress = (number: number, ipMode?: string) => ({
    ip: address(family, number),
    ...(ipMode === undefined ? {} : { ipMode }),
  });
  const list = [ingress(88, 'VIP'), ingress(89, 'Proxy'), ingress(90), { hostname: 'lb.example.org' }];
  await client.patch(balanced, { status: { loadBalancer: { ingress: list } } }, 'status');
  const port = await untilPort('balanced/TCP', 'its VIPs', ({ loadBalancerVIPs }) => loadBalancerVIPs.length > 0);
  assert.equal(port.loadBalancerVIPs.toSorted(), [address(family, 88), address(family, 90)].toSorted());
  assert.equal(port.sourceRanges, [range]);
  await client.patch(balanced, { status: { loadBalancer: { ingress: [ingress(88, 'Proxy')] } } }, 'status');
  await untilPort('balanced/TCP', 'no VIP', ({ loadBalancerVIPs }) => loadBalancerVIPs.length === 0);
});

test('session affinity lasts as long as the Service says, by default three hours', async () => {
  const sticky = await create('sticky', { sessionAffinity: 'ClientIP' });
  await untilPort('sticky/TCP', 'three hours', ({ affinitySeconds }) => affinitySeconds === 10_800);
  const config = { sessionAffinityConfig: { clientIP: { timeoutSeconds: 30 } } };
  await client.patch(sticky, { spec: config });
  await untilPort('sticky/TCP', '30 seconds', ({ affinitySeconds }) => affinitySeconds === 30);
  await client.patch(sticky, { spec: { sessionAffinity: 'None', sessionAffinityConfig: null } });
  await untilPort('sticky/TCP', 'no affinity', ({ affinitySeconds }) => affinitySeconds === 0);
});

test('policies Local keep the endpoints of this node apart', async () => {
  const local = await create('local', {
    type: 'NodePort',
    internalTrafficPolicy: 'Local',
    externalTrafficPolicy: 'Local',
  });
  const here = endpoint(1, { nodeName });
  await client.create(slice(local, { family, endpoints: [here, endpoint(2, { nodeName: 'elsewhere' })] }));
  const port = await untilPort('local/TCP', 'its endpoints', (found) => found.local.length > 0);
  assert.equal(
    port.local.map(({ ip }) => ip),
    [address(family, 1)],
  );
  assert.equal(
    port.cluster.map(({ ip, isLocal }) => [ip, isLocal]),
    [
      [address(family, 1), true],
      [address(family, 2), false],
    ],
  );
  assert.equal([port.internalPolicy, port.externalPolicy], ['Local', 'Local']);
});

test('a Service is served in every family that the cluster gave it, with slices of that family', async () => {
  const dual = await create('dual', { ipFamilyPolicy: 'PreferDualStack' });
  for (const [index, each] of cluster.families.entries()) {
    const list = [endpointAt(each, 10 + index)];
    await client.create(slice(dual, { name: `dual-${each.toLowerCase()}`, family: each, endpoints: list }));
  }
  for (const [index, each] of cluster.families.entries()) {
    const wanted = `${address(each, 10 + index)}|8080`;
    await daemon.until(`dual in ${each}`, () => endpoints('dual/TCP', each)?.join() === wanted);
    assert.is(daemon.served.port(each, namespace, 'dual/TCP')?.clusterIP, clusterIP(dual, each));
  }
});

test('a burst of changes ends in the last state', async () => {
  const busy = await create('busy');
  let object = await client.create(slice(busy, { family, endpoints: [endpoint(1)] }));
  for (let round = 2; round <= 40; round++) object = await client.patch(object, { endpoints: [endpoint(round)] });
  await untilEndpoints('busy/TCP', at(40));
});

if (cluster.families.length < 2)
  skip('a Service that loses a family', 'the cluster gives addresses of one family only');
else {
  test('a Service that loses a family is served in the other one on', async () => {
    const dual = await create('shrinking', { ipFamilyPolicy: 'RequireDualStack' });
    const served = () =>
      cluster.families.map((each) => daemon.served.port(each, namespace, 'shrinking/TCP') !== undefined);
    await daemon.until('both families', () => served().join() === 'true,true');
    await client.patch(dual, {
      spec: { ipFamilyPolicy: 'SingleStack', ipFamilies: [family], clusterIPs: [clusterIP(dual, family)] },
    });
    await daemon.until('one family', () => served().join() === 'true,false');
  });
}

test.run();
