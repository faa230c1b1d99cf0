/** What the server refuses about Services, each fault with its field and reason. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { JsonObject } from '../../apiserver/api/schema.ts';
import { createCluster } from '../../apiserver/cluster.ts';
import { apply, causes, PORTS, refused, service } from './refusals.ts';

const test = suite('apiserver service validation');

const FAULTS: readonly (readonly [title: string, spec: unknown, causes: readonly string[]])[] = [
  ['no ports', {}, ['spec.ports FieldValueRequired']],
  [
    'port 0',
    { ports: [{ port: 0 }] },
    ['spec.ports[0].port FieldValueInvalid', 'spec.ports[0].targetPort FieldValueInvalid'],
  ],
  ['port 65536', { ports: [{ port: 65_536, targetPort: 1 }] }, ['spec.ports[0].port FieldValueInvalid']],
  [
    'two ports without names',
    { ports: [{ port: 1 }, { port: 2 }] },
    ['spec.ports[0].name FieldValueRequired', 'spec.ports[1].name FieldValueRequired'],
  ],
  [
    'two ports of one name',
    {
      ports: [
        { name: 'a', port: 1 },
        { name: 'a', port: 2 },
      ],
    },
    ['spec.ports[1].name FieldValueDuplicate'],
  ],
  [
    'one port twice',
    {
      ports: [
        { name: 'a', port: 1 },
        { name: 'b', port: 1 },
      ],
    },
    ['spec.ports[1] FieldValueDuplicate'],
  ],
  ['a bad port name', { ports: [{ name: 'A', port: 1 }] }, ['spec.ports[0].name FieldValueInvalid']],
  [
    'a bad target port',
    { ports: [{ port: 1, targetPort: 'much-too-long-a-name' }] },
    ['spec.ports[0].targetPort FieldValueInvalid'],
  ],
  [
    'an unknown protocol',
    { ports: [{ port: 1, protocol: 'ICMP' }] },
    ['spec.ports[0].protocol FieldValueNotSupported'],
  ],
  ['an unknown type', { type: 'Other', ports: PORTS }, ['spec.type FieldValueNotSupported']],
  [
    'a node port on a ClusterIP',
    { ports: [{ port: 1, nodePort: 30_000 }] },
    ['spec.ports[0].nodePort FieldValueForbidden'],
  ],
  [
    'a node port out of range',
    { type: 'NodePort', ports: [{ port: 1, nodePort: 80 }] },
    ['spec.ports[0].nodePort FieldValueInvalid'],
  ],
  [
    'one node port twice',
    {
      type: 'NodePort',
      ports: [
        { name: 'a', port: 1, nodePort: 30_000 },
        { name: 'b', port: 2, nodePort: 30_000 },
      ],
    },
    ['spec.ports[1].nodePort FieldValueDuplicate'],
  ],
  ['a bad clusterIP', { clusterIP: 'x', ports: PORTS }, ['spec.clusterIPs[0] FieldValueInvalid']],
  ['clusterIPs alone', { clusterIPs: ['10.96.0.5'], ports: PORTS }, ['spec.clusterIPs FieldValueInvalid']],
  [
    'a clusterIP that is not the first',
    { clusterIP: '10.96.0.4', clusterIPs: ['10.96.0.5'], ports: PORTS },
    ['spec.clusterIPs FieldValueInvalid'],
  ],
  [
    'two addresses of one family',
    {
      clusterIP: '10.96.0.4',
      clusterIPs: ['10.96.0.4', '10.96.0.5'],
      ipFamilyPolicy: 'RequireDualStack',
      ports: PORTS,
    },
    ['spec.clusterIPs FieldValueInvalid'],
  ],
  [
    'two addresses but one family wanted',
    { clusterIP: '10.96.0.4', clusterIPs: ['10.96.0.4', 'fd00:10:96::5'], ports: PORTS },
    ['spec.ipFamilyPolicy FieldValueInvalid'],
  ],
  [
    'an address of the wrong family',
    { clusterIP: '10.96.0.4', ipFamilies: ['IPv6'], ports: PORTS },
    ['spec.clusterIPs[0] FieldValueInvalid'],
  ],
  [
    'a family twice',
    { ipFamilies: ['IPv4', 'IPv4'], ipFamilyPolicy: 'RequireDualStack', ports: PORTS },
    ['spec.ipFamilies[1] FieldValueDuplicate'],
  ],
  ['an unknown family', { ipFamilies: ['IPX'], ports: PORTS }, ['spec.ipFamilies[0] FieldValueNotSupported']],
  [
    'an unknown ipFamilyPolicy',
    { ipFamilyPolicy: 'Any', ports: PORTS },
    ['spec.ipFamilyPolicy FieldValueNotSupported'],
  ],
  [
    'None for a NodePort',
    { type: 'NodePort', clusterIP: 'None', ports: PORTS },
    ['spec.clusterIPs[0] FieldValueInvalid'],
  ],
  ['a loopback external IP', { externalIPs: ['127.0.0.1'], ports: PORTS }, ['spec.externalIPs[0] FieldValueInvalid']],
  ['no external IP', { externalIPs: ['example.com'], ports: PORTS }, ['spec.externalIPs[0] FieldValueInvalid']],
  [
    'an affinity of 0 seconds',
    { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 0 } }, ports: PORTS },
    ['spec.sessionAffinityConfig.clientIP.timeoutSeconds FieldValueInvalid'],
  ],
  ['an unknown affinity', { sessionAffinity: 'Cookie', ports: PORTS }, ['spec.sessionAffinity FieldValueNotSupported']],
  [
    'an external policy on a ClusterIP',
    { externalTrafficPolicy: 'Local', ports: PORTS },
    ['spec.externalTrafficPolicy FieldValueInvalid'],
  ],
  [
    'an unknown external policy',
    { type: 'NodePort', externalTrafficPolicy: 'Nearby', ports: PORTS },
    ['spec.externalTrafficPolicy FieldValueNotSupported'],
  ],
  [
    'an unknown internal policy',
    { internalTrafficPolicy: 'Nearby', ports: PORTS },
    ['spec.internalTrafficPolicy FieldValueNotSupported'],
  ],
  [
    'an unknown distribution',
    { trafficDistribution: 'Nearby', ports: PORTS },
    ['spec.trafficDistribution FieldValueNotSupported'],
  ],
  [
    'source ranges on a NodePort',
    { type: 'NodePort', loadBalancerSourceRanges: ['10.0.0.0/8'], ports: PORTS },
    ['spec.LoadBalancerSourceRanges FieldValueForbidden'],
  ],
  [
    'a bad source range',
    { type: 'LoadBalancer', loadBalancerSourceRanges: [' 10.0.0.0/8', '10.0.0.1'], ports: PORTS },
    ['spec.LoadBalancerSourceRanges[1] FieldValueInvalid'],
  ],
  [
    'a class on a ClusterIP',
    { loadBalancerClass: 'a/b', ports: PORTS },
    ['spec.loadBalancerClass FieldValueForbidden'],
  ],
  [
    'a health check port without need',
    { healthCheckNodePort: 30_000, ports: PORTS },
    ['spec.healthCheckNodePort FieldValueInvalid'],
  ],
  [
    'the kubelet port for the world',
    { type: 'LoadBalancer', ports: [{ port: 10_250 }] },
    ['spec.ports[0] FieldValueInvalid'],
  ],
  ['no externalName', { type: 'ExternalName' }, ['spec.externalName FieldValueRequired']],
  ['a bad selector', { selector: { a: '-' }, ports: PORTS }, ['spec.selector FieldValueInvalid']],
];

for (const [title, spec, expected] of FAULTS) {
  test(`a Service with ${title} is invalid`, () => {
    const cluster = createCluster();
    const status = refused(() => apply(cluster, spec));
    assert.is(status.code, 422);
    assert.is(status.reason, 'Invalid');
    assert.match(status.message!, 'Service "web" is invalid: ');
    assert.equal(causes(status), expected);
    assert.is(cluster.objects.count('Service'), 0);
  });
}

test('the name of a Service is a label of DNS that begins with a letter', () => {
  const cluster = createCluster();
  for (const name of ['1web', 'we.b', 'Web']) {
    assert.equal(causes(refused(() => apply(cluster, { ports: PORTS }, name))), ['metadata.name FieldValueInvalid']);
  }
});

test('types are checked before anything else', () => {
  const cluster = createCluster();
  const status = refused(() => apply(cluster, { ports: [{ port: '80' }] }));
  assert.is(status.code, 400);
  assert.match(status.message!, 'cannot unmarshal string into Go struct field');
  assert.is(refused(() => apply(cluster, { ports: {} })).code, 400);
  assert.is(refused(() => apply(cluster, { ports: [{ port: 1.5 }] })).code, 400);
  const unknown = refused(() => apply(cluster, { prots: PORTS, ports: PORTS }));
  assert.match(unknown.message!, 'strict decoding error: unknown field "spec.prots"');
});

test('the status of anything but a LoadBalancer stays empty, and addresses in it are addresses', () => {
  const { objects } = createCluster();
  const status = (ingress: JsonObject) => ({ status: { loadBalancer: { ingress: [ingress] } } });
  const on = (type: string, ingress: JsonObject) =>
    causes(refused(() => objects.apply(service({ type, ports: PORTS }, {}, status(ingress)))));
  assert.equal(on('ClusterIP', { ip: '192.0.2.1' }), ['status.loadBalancer.ingress FieldValueForbidden']);
  assert.equal(on('LoadBalancer', { ip: 'x' }), ['status.loadBalancer.ingress[0].ip FieldValueInvalid']);
  assert.equal(on('LoadBalancer', { ip: '192.0.2.1', ipMode: 'X' }), [
    'status.loadBalancer.ingress[0].ipMode FieldValueNotSupported',
  ]);
  assert.equal(on('LoadBalancer', { hostname: '192.0.2.1' }), [
    'status.loadBalancer.ingress[0].hostname FieldValueInvalid',
  ]);
});

test.run();
