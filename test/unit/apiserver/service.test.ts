/** Services as the server defaults, allocates, validates and updates them. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createCluster } from '../../apiserver/cluster.ts';
import { asService, type ServiceSpec } from '../../apiserver/kinds/service-types.ts';
import { apply, causes, PORTS, refused, service } from './refusals.ts';

const test = suite('apiserver services');

test('a plain Service gets every default that the proxy reads', () => {
  const made = apply(createCluster(), { ports: PORTS });
  assert.equal(made.spec, {
    ports: [{ port: 80, protocol: 'TCP', targetPort: 80 }],
    clusterIP: '10.96.0.1',
    clusterIPs: ['10.96.0.1'],
    type: 'ClusterIP',
    sessionAffinity: 'None',
    ipFamilies: ['IPv4'],
    ipFamilyPolicy: 'SingleStack',
    internalTrafficPolicy: 'Cluster',
  });
  assert.equal(made.status, { loadBalancer: {} });
});

test('a dual-stack Service gets an address of each family, in the order asked for', () => {
  const cluster = createCluster();
  const made = apply(cluster, { ports: PORTS, ipFamilyPolicy: 'RequireDualStack', ipFamilies: ['IPv6'] });
  assert.equal(made.spec.ipFamilies, ['IPv6', 'IPv4']);
  assert.equal(made.spec.clusterIPs, ['fd00:10:96::1', '10.96.0.1']);
  assert.is(made.spec.clusterIP, 'fd00:10:96::1');
});

test('the first range of the server is the primary family', () => {
  const cluster = createCluster({ serviceCIDRs: ['fd00:1::/112', '10.1.0.0/24'] });
  assert.equal(apply(cluster, { ports: PORTS }).spec.ipFamilies, ['IPv6']);
  const single = createCluster({ serviceCIDRs: ['10.1.0.0/24'] });
  assert.equal(apply(single, { ports: PORTS, ipFamilyPolicy: 'PreferDualStack' }).spec.clusterIPs, ['10.1.0.1']);
  const status = refused(() => apply(single, { ports: PORTS, ipFamilyPolicy: 'RequireDualStack' }, 'dual'));
  assert.equal(causes(status), ['spec.ipFamilyPolicy FieldValueInvalid']);
});

test('a new ServiceCIDR adds addresses', () => {
  const cluster = createCluster({ serviceCIDRs: ['10.1.0.0/30'] });
  apply(cluster, { ports: PORTS }, 'a');
  apply(cluster, { ports: PORTS }, 'b');
  assert.is(refused(() => apply(cluster, { ports: PORTS }, 'c')).code, 500);
  cluster.objects.apply({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'ServiceCIDR',
    metadata: { name: 'more' },
    spec: { cidrs: ['10.2.0.0/24'] },
  });
  assert.is(apply(cluster, { ports: PORTS }, 'c').spec.clusterIP, '10.2.0.1');
});

test('an address asked for is given if it is free and in a range, and freed with its Service', () => {
  const cluster = createCluster();
  assert.is(apply(cluster, { ports: PORTS, clusterIP: '10.96.7.7' }, 'a').spec.clusterIP, '10.96.7.7');
  const taken = refused(() => apply(cluster, { ports: PORTS, clusterIP: '10.96.7.7' }, 'b'));
  assert.match(taken.message!, 'failed to allocate IP 10.96.7.7: provided IP is already allocated');
  const outside = refused(() => apply(cluster, { ports: PORTS, clusterIP: '10.1.1.1' }, 'b'));
  assert.match(outside.message!, 'not in the valid range');
  cluster.objects.delete('Service', 'default', 'a');
  assert.is(apply(cluster, { ports: PORTS, clusterIP: '10.96.7.7' }, 'b').spec.clusterIP, '10.96.7.7');
});

test('a refused Service gives back what was claimed for it', () => {
  const cluster = createCluster();
  const bad = { type: 'NodePort', clusterIP: '10.96.0.9', ports: [{ port: 80, nodePort: 30_080, protocol: 'X' }] };
  assert.is(refused(() => apply(cluster, bad, 'bad')).code, 422);
  const good = apply(cluster, { ...bad, ports: [{ port: 80, nodePort: 30_080 }] }, 'good');
  assert.is(good.spec.clusterIP, '10.96.0.9');
});

test('a NodePort Service gets node ports; one port number shares one over its protocols', () => {
  const ports = [
    { name: 'dns', port: 53, protocol: 'UDP' },
    { name: 'dns-tcp', port: 53 },
    { name: 'web', port: 80 },
  ];
  const made = apply(createCluster(), { type: 'NodePort', ports });
  assert.equal(
    made.spec.ports!.map(({ nodePort }) => nodePort),
    [30_000, 30_000, 30_001],
  );
  assert.is(made.spec.externalTrafficPolicy, 'Cluster');
});

test('a local LoadBalancer gets a port for health checks, and no node ports if it wants none', () => {
  const made = apply(createCluster(), { type: 'LoadBalancer', externalTrafficPolicy: 'Local', ports: PORTS });
  assert.is(made.spec.ports![0]!.nodePort, 30_000);
  assert.is(made.spec.healthCheckNodePort, 30_001);
  assert.is(made.spec.allocateLoadBalancerNodePorts, true);
  const spec = { type: 'LoadBalancer', allocateLoadBalancerNodePorts: false, ports: PORTS };
  assert.is(apply(createCluster(), spec).spec.ports![0]!.nodePort, undefined);
});

test('ClientIP affinity lasts three hours unless it says otherwise', () => {
  const made = apply(createCluster(), { ports: PORTS, sessionAffinity: 'ClientIP' });
  assert.equal(made.spec.sessionAffinityConfig, { clientIP: { timeoutSeconds: 10_800 } });
  const config = { clientIP: { timeoutSeconds: 5 } };
  const ignored = apply(createCluster(), { ports: PORTS, sessionAffinityConfig: config });
  assert.is(ignored.spec.sessionAffinityConfig, undefined, 'without affinity the configuration is dropped');
});

test('a headless Service has no address; without a selector it is of both families', () => {
  const headless = apply(createCluster(), { clusterIP: 'None' });
  assert.equal(headless.spec.clusterIPs, ['None']);
  assert.equal(headless.spec.ipFamilies, ['IPv4', 'IPv6']);
  const selecting = apply(createCluster(), { clusterIP: 'None', selector: { a: 'b' } });
  assert.equal(selecting.spec.ipFamilies, ['IPv4']);
});

test('an ExternalName Service has neither address nor families', () => {
  const { spec } = apply(createCluster(), { type: 'ExternalName', externalName: 'example.com.' });
  assert.equal(spec, { type: 'ExternalName', externalName: 'example.com.', sessionAffinity: 'None' });
});

test('status comes only through the status, where ipMode becomes VIP', () => {
  const { objects } = createCluster();
  const status = { loadBalancer: { ingress: [{ ip: '192.0.2.1' }, { hostname: 'lb.example.com' }] } };
  const made = asService(objects.apply(service({ type: 'LoadBalancer', ports: PORTS }, {}, { status })));
  assert.equal(made.status.loadBalancer.ingress, [{ ip: '192.0.2.1', ipMode: 'VIP' }, { hostname: 'lb.example.com' }]);
  const again = asService(objects.apply(service({ type: 'LoadBalancer', ports: PORTS }, { labels: { a: 'b' } })));
  assert.equal(again.status, made.status, 'an update without status leaves it alone');
});

function updated(before: unknown, after: unknown): ServiceSpec {
  const cluster = createCluster();
  apply(cluster, before);
  return apply(cluster, after).spec;
}

test('an update keeps what had been allocated and is not mentioned', () => {
  const spec = { type: 'LoadBalancer', externalTrafficPolicy: 'Local', ports: PORTS };
  const after = updated(spec, { ...spec, ports: [{ port: 80, targetPort: 8080 }] });
  assert.is(after.clusterIP, '10.96.0.1');
  assert.is(after.ports![0]!.nodePort, 30_000);
  assert.is(after.healthCheckNodePort, 30_001);
});

test('changing nothing but the type drops what the new type cannot have', () => {
  const cluster = createCluster();
  const before = apply(cluster, { type: 'LoadBalancer', externalTrafficPolicy: 'Local', ports: PORTS });
  const plain = apply(cluster, { ...before.spec, type: 'ClusterIP' });
  assert.equal(plain.spec.ports, [{ port: 80, protocol: 'TCP', targetPort: 80 }]);
  for (const field of ['healthCheckNodePort', 'externalTrafficPolicy', 'allocateLoadBalancerNodePorts'] as const) {
    assert.is(plain.spec[field], undefined, field);
  }
  const external = apply(cluster, { ...plain.spec, type: 'ExternalName', externalName: 'example.com' });
  for (const field of ['clusterIP', 'clusterIPs', 'ipFamilies', 'ipFamilyPolicy'] as const) {
    assert.is(external.spec[field], undefined, field);
  }
});

test('empty values are the same as absent ones', () => {
  const spec = {
    ports: [{ port: 80, name: '', protocol: '' }],
    clusterIP: '',
    externalIPs: [],
    selector: {},
    loadBalancerIP: null,
  };
  assert.equal(apply(createCluster(), spec).spec, apply(createCluster(), { ports: PORTS }).spec);
});

test('a smaller spec of another type is fine, too', () => {
  const after = updated(
    { type: 'LoadBalancer', externalTrafficPolicy: 'Local', ports: PORTS },
    { type: 'ClusterIP', ports: PORTS },
  );
  assert.is(after.ports![0]!.nodePort, undefined);
  assert.is(after.healthCheckNodePort, undefined);
  assert.is(after.externalTrafficPolicy, undefined);
  const external = updated({ ports: PORTS }, { type: 'ExternalName', externalName: 'example.com' });
  assert.is(external.clusterIP, undefined);
});

test('who knows only clusterIP, not clusterIPs, changes both or neither', () => {
  const cluster = createCluster();
  apply(cluster, { ports: PORTS, ipFamilyPolicy: 'RequireDualStack' });
  const same = apply(cluster, { ports: PORTS, clusterIP: '10.96.0.1', sessionAffinity: 'ClientIP' });
  assert.equal(same.spec.clusterIPs, ['10.96.0.1', 'fd00:10:96::1']);
  const moved = refused(() => apply(cluster, { ...same.spec, clusterIP: '10.96.0.9' }));
  assert.equal(causes(moved), ['spec.clusterIPs[0] FieldValueInvalid']);
  assert.match(moved.message!, 'may not change once set');
  apply(cluster, { type: 'ExternalName', externalName: 'example.com' }, 'alias');
  const now = apply(cluster, { ports: PORTS, clusterIP: '10.96.0.9' }, 'alias');
  assert.equal(now.spec.clusterIPs, ['10.96.0.9']);
});

test('a node port that is given up is free for others', () => {
  const cluster = createCluster();
  const nodePort = { type: 'NodePort', ports: [{ port: 80, nodePort: 30_080 }] };
  apply(cluster, nodePort, 'a');
  assert.equal(causes(refused(() => apply(cluster, nodePort, 'b'))), ['spec.ports[0].nodePort FieldValueInvalid']);
  apply(cluster, { type: 'ClusterIP', ports: PORTS }, 'a');
  assert.is(apply(cluster, nodePort, 'b').spec.ports![0]!.nodePort, 30_080);
});

test('a refused update gives up nothing', () => {
  const cluster = createCluster();
  const spec = { type: 'NodePort', ports: [{ port: 80, nodePort: 30_080 }] };
  apply(cluster, spec, 'a');
  assert.is(refused(() => apply(cluster, { type: 'NodePort', ports: [{ port: 0, nodePort: 30_081 }] }, 'a')).code, 422);
  assert.is(refused(() => apply(cluster, spec, 'b')).code, 422);
  assert.is(
    apply(cluster, { type: 'NodePort', ports: [{ port: 80, nodePort: 30_081 }] }, 'b').spec.ports![0]!.nodePort,
    30_081,
  );
});

test('the first address of a Service stays, the second comes and goes', () => {
  const cluster = createCluster();
  apply(cluster, { ports: PORTS });
  const moved = refused(() => apply(cluster, { clusterIP: '10.96.0.9', ports: PORTS }));
  assert.equal(causes(moved), ['spec.clusterIPs[0] FieldValueInvalid']);
  const dual = apply(cluster, { ipFamilyPolicy: 'PreferDualStack', ports: PORTS });
  assert.equal(dual.spec.clusterIPs, ['10.96.0.1', 'fd00:10:96::1']);
  const single = apply(cluster, { ipFamilyPolicy: 'SingleStack', ports: PORTS });
  assert.equal(single.spec.clusterIPs, ['10.96.0.1']);
  assert.equal(single.spec.ipFamilies, ['IPv4']);
  assert.is(apply(cluster, { clusterIP: 'fd00:10:96::1', ports: PORTS }, 'other').spec.clusterIP, 'fd00:10:96::1');
});

test('restoring a backup restores who holds what', () => {
  const cluster = createCluster();
  apply(cluster, { clusterIP: '10.96.0.7', ports: PORTS }, 'a');
  const backup = cluster.store.resourceVersion();
  cluster.objects.delete('Service', 'default', 'a');
  apply(cluster, { clusterIP: '10.96.0.8', ports: PORTS }, 'b');
  cluster.restore(backup);
  assert.is(refused(() => apply(cluster, { clusterIP: '10.96.0.7', ports: PORTS }, 'c')).code, 422);
  assert.is(apply(cluster, { clusterIP: '10.96.0.8', ports: PORTS }, 'c').spec.clusterIP, '10.96.0.8');
});

test.run();
