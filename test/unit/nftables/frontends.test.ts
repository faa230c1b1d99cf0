/** Which elements one frontend stands for. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { NftElement, ServicePort } from '../../../core/backend.ts';
import { frontendElements, type ServiceRecord } from '../../../plugins/nftables/frontends.ts';
import { DROP, GUARDED, LOCAL, MAX_ENDPOINTS, POLICY_LOCAL, REJECT } from '../../../plugins/nftables/layout.ts';
import { frontendsOf } from '../../../plugins/shared/frontends.ts';
import { endpoint, endpoints, servicePort } from './samples.ts';

const test = suite('nftables frontends');
const IP = '203.0.113.1';

function record(port: ServicePort): ServiceRecord {
  return { port, cluster: port.cluster, local: port.local, affinity: undefined };
}

function elements(port: ServicePort, kind: 'clusterIP' | 'loadBalancerVIP' | 'nodePort', comments = false): string[] {
  const found: string[] = [];
  const frontend = { kind, ip: kind === 'nodePort' ? '' : IP, port: kind === 'nodePort' ? port.nodePort : port.port };
  frontendElements(frontend, record(port), comments, (set: string, { key, data, comment }: NftElement) => {
    const answer = Array.isArray(data) ? ` > ${data.join(' ')}` : '';
    found.push(`${set} ${key.join(' ')}${answer}${comment === undefined ? '' : ` # ${comment}`}`);
  });
  return found.sort();
}

const classOf = (list: readonly string[], set: string): number =>
  Number(list.find((row) => row.startsWith(`${set} `))?.split(' > ')[1]);

test('each address is a frontend once, as the strongest kind, and a node port needs no address', () => {
  const port = servicePort({
    externalIPs: [IP, '203.0.113.2', '10.96.0.10'],
    loadBalancerVIPs: [IP],
    nodePort: 30080,
    protocol: 'UDP',
  });
  assert.equal(
    [...frontendsOf(port)].map(([key, { kind }]) => `${key} ${kind}`),
    [
      '10.96.0.10 udp 80 clusterIP',
      `${IP} udp 80 loadBalancerVIP`,
      '203.0.113.2 udp 80 externalIP',
      'udp 30080 nodePort',
    ],
  );
});

test('no endpoints are refused, and dropped where there are some elsewhere', () => {
  for (const [hasEndpoints, klass] of [
    [false, REJECT],
    [true, DROP],
  ] as const) {
    for (const externalPolicy of ['Cluster', 'Local'] as const) {
      const port = servicePort({ cluster: [], hasEndpoints, nodePort: 30080, externalPolicy });
      assert.equal(elements(port, 'clusterIP'), [`services ${IP} tcp 80 > ${klass}`]);
      assert.equal(elements(port, 'nodePort'), [`nodeports tcp 30080 > ${klass}`]);
    }
  }
});

test('internal policy Local uses the local list only', () => {
  const port = servicePort({ internalPolicy: 'Local', local: endpoints('10.244.1.11') });
  assert.equal(elements(port, 'clusterIP'), [
    `local-endpoints ${IP} tcp 80 0 > 10.244.1.11 8080`,
    `services ${IP} tcp 80 > ${LOCAL + 1}`,
  ]);
});

test('external policy Local writes both lists, and masquerades only what comes from the node', () => {
  const port = servicePort({ externalPolicy: 'Local', local: endpoints('10.244.1.11'), nodePort: 30080 });
  assert.equal(elements(port, 'nodePort'), [
    `local-nodeport-endpoints tcp 30080 0 > 10.244.1.11 8080`,
    `local-nodeports tcp 30080 > ${LOCAL + 1}`,
    'masquerade-nodeports-if-node tcp 30080',
    `nodeport-endpoints tcp 30080 0 > 10.244.1.11 8080`,
    `nodeport-endpoints tcp 30080 1 > 10.244.1.12 8080`,
    `nodeports tcp 30080 > ${POLICY_LOCAL + 2}`,
  ]);
  const without = elements({ ...port, local: [] }, 'nodePort');
  assert.is(classOf(without, 'local-nodeports'), DROP);
});

test('a guarded VIP leads to its ranges first, under its name', () => {
  const port = servicePort({ sourceRanges: ['198.51.100.0/24'] });
  const list = elements(port, 'loadBalancerVIP', true);
  assert.ok(list.includes(`services ${IP} tcp 80 > ${GUARDED} # default/web:http`));
  assert.ok(list.includes(`guarded-services ${IP} tcp 80 > 2`));
  assert.ok(!elements(port, 'clusterIP').some((row) => row.startsWith('guarded')), 'others are open');
});

test('a comment is the name, cut where the kernel has no more room', () => {
  const [namespace, name] = ['n'.repeat(63), 's'.repeat(63)];
  const [row = ''] = elements(servicePort({ namespace, name }), 'clusterIP', true).filter((each) => each.includes('#'));
  const comment = row.replace(/^.*# /, '');
  assert.is(Buffer.byteLength(comment), 120);
  assert.match(comment, /^n{63}\/s+\.\.\.$/);
});

test('what a class cannot count is left out', () => {
  const cluster = Array.from({ length: MAX_ENDPOINTS + 5 }, (_, index) => endpoint('10.0.0.1', { port: index }));
  const list = elements(servicePort({ cluster }), 'clusterIP');
  assert.is(classOf(list, 'services'), MAX_ENDPOINTS);
  assert.is(list.filter((row) => row.startsWith('endpoints')).length, MAX_ENDPOINTS);
});

test.run();
