/** What the Node object and the ServiceCIDRs change for this node. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Cluster, type NodeObject, openCluster } from './cluster.ts';
import { type Daemon, DRY_RUN, startDaemon } from './daemon.ts';
import { endpointAt, service, slice } from './objects.ts';

const ZONE = 'topology.kubernetes.io/zone';
const test = suite('the Node and the ranges of the cluster');
const cluster: Cluster = await openCluster();
const { client, namespace, kubeconfig } = cluster;
const [family] = cluster.families;
const daemons: Daemon[] = [];

test.after.each(async () => {
  for (const daemon of daemons.splice(0)) await daemon.stop();
});
test.after(() => cluster.close());

async function start(nodeName: string, ...flags: readonly string[]): Promise<Daemon> {
  const daemon = await startDaemon({ kubeconfig, nodeName, flags: [...DRY_RUN, ...flags] });
  daemons.push(daemon);
  return daemon;
}

async function healthz(daemon: Daemon, code: number): Promise<Readonly<Record<string, unknown>>> {
  await daemon.until(`/healthz ${code}`, async () => (await daemon.health('/healthz')).status === code);
  return JSON.parse((await daemon.health('/healthz')).body);
}

test('traffic follows the zone that the Node is in, where endpoints have hints', async () => {
  const node = await cluster.createNode({ labels: { [ZONE]: 'zone-a' } });
  const web = await client.create(service(namespace, 'hinted'));
  const inZone = (number: number, zone: string) =>
    endpointAt(family, number, { zone, hints: { forZones: [{ name: zone }] } });
  await client.create(slice(web, { family, endpoints: [inZone(1, 'zone-a'), inZone(2, 'zone-b')] }));
  const daemon = await start(node.metadata.name);
  const used = () =>
    daemon.served
      .port(family, namespace, 'hinted/TCP')
      ?.cluster.map(({ zone }) => zone)
      .join();
  await daemon.until('the endpoint of zone-a', () => used() === 'zone-a');
  await client.patch(node, { metadata: { labels: { [ZONE]: 'zone-b' } } });
  await daemon.until('the endpoint of zone-b', () => used() === 'zone-b');
  await client.patch(node, { metadata: { labels: { [ZONE]: null } } });
  await daemon.until('both endpoints', () => used() === 'zone-a,zone-b');
});

test('in mode NodeCIDR nothing is served before the Node has pod CIDRs; then its pods are told by them', async () => {
  const node = await cluster.createNode();
  const daemon = await start(node.metadata.name, '--detect-local-mode=NodeCIDR');
  await daemon.until('all is known but the CIDRs', async () => {
    const known = (await daemon.metrics()).get('kubeproxy_source_synced')?.samples ?? [];
    return known.length === 4 && known.every(({ value }) => value === 1);
  });
  assert.is((await daemon.health('/readyz')).status, 503);
  assert.is(daemon.served.commits(), 0);

  // Where a controller allocates them it may have been faster.
  const cidr = family === 'IPv4' ? '10.211.7.0/24' : 'fd00:211:7::/64';
  await client.patch(node, { spec: { podCIDR: cidr, podCIDRs: [cidr] } }).catch((error) => {
    if (error.status !== 422) throw error;
  });
  const { podCIDRs = [] } = (await client.get<NodeObject>(node))?.spec ?? {};
  await daemon.ready();
  assert.is((await daemon.health('/readyz')).status, 200);
  // A change makes the backend show its whole view of the node.
  await client.patch(node, { metadata: { labels: { [ZONE]: 'zone-a' } } });
  await daemon.until('the new zone', () => daemon.served.node(family)?.zone === 'zone-a');
  assert.ok(podCIDRs.length > 0);
  const detector = daemon.served.node(family)!.localDetector;
  assert.equal(detector, { kind: 'cidr', cidr: podCIDRs.find((each) => each.includes(':') === (family === 'IPv6')) });
});

test('load balancers are turned away from a Node that the autoscaler is about to remove, and the proxy stays live', async () => {
  const { metadata } = await cluster.createNode();
  const daemon = await start(metadata.name);
  await daemon.ready();
  assert.is((await healthz(daemon, 200)).nodeEligible, true);
  const taints = async () => (await client.get<NodeObject>({ kind: 'Node', metadata }))?.spec?.taints ?? [];
  const taint = { key: 'ToBeDeletedByClusterAutoscaler', value: '1', effect: 'NoSchedule' };
  const node = (await client.get<NodeObject>({ kind: 'Node', metadata }))!;
  await client.patch(node, { spec: { taints: [...(await taints()), taint] } });
  const said = await healthz(daemon, 503);
  assert.equal([said.nodeEligible, said.healthy], [false, true]);
  assert.equal(Object.keys(said), ['lastUpdated', 'currentTime', 'nodeEligible', 'healthy', 'status', 'reason']);
  assert.is((await daemon.health('/livez')).status, 200);
  await client.patch(node, { spec: { taints: (await taints()).filter(({ key }) => key !== taint.key) } });
  assert.is((await healthz(daemon, 200)).nodeEligible, true);
});

test('load balancers are turned away from a Node that was deleted, and what was served stays', async () => {
  const node = await cluster.createNode();
  const web = await client.create(service(namespace, 'stays'));
  await client.create(slice(web, { family, endpoints: [endpointAt(family, 1)] }));
  const daemon = await start(node.metadata.name);
  await daemon.ready();
  await healthz(daemon, 200);
  const before = daemon.served.port(family, namespace, 'stays/TCP');
  assert.is(before?.cluster.length, 1);
  await client.delete(node);
  const said = await healthz(daemon, 503);
  assert.equal([said.nodeEligible, said.healthy], [false, true]);
  assert.is((await daemon.health('/livez')).status, 200);
  assert.equal(daemon.served.port(family, namespace, 'stays/TCP'), before);
  const { kind, apiVersion, metadata } = node;
  await client.create({ kind, apiVersion, metadata: { name: metadata.name }, spec: { unschedulable: true } });
  assert.is((await healthz(daemon, 200)).nodeEligible, true);
});

test('a ServiceCIDR that is added becomes one of the ranges, until it goes', async () => {
  const daemon = await start(cluster.nodeName);
  await daemon.ready();
  const cidr = family === 'IPv4' ? '203.0.113.208/28' : '2001:db8:cd::/112';
  const range = await client.create({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'ServiceCIDR',
    metadata: { name: cluster.randomName() },
    spec: { cidrs: [cidr] },
  });
  const known = () => daemon.served.node(family)?.serviceCIDRs.includes(cidr) === true;
  await daemon.until('the new range', known);
  assert.ok(daemon.served.node(family)!.serviceCIDRs.length > 1, 'the ranges before it stay');
  await client.delete(range);
  await daemon.until('the range is gone', () => !known());
});

test.run();
