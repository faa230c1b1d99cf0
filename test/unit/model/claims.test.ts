import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  compareClaims,
  type DestinationKind,
  frontendOwner,
  frontends,
  nodePortOwner,
} from '../../../core/model/claims.ts';
import { servicePort } from './samples.ts';

const claims = suite('claims');

claims('the frontends of a service port are its addresses with its port', () => {
  const port = servicePort({ externalIPs: ['203.0.113.1', '203.0.113.3'], protocol: 'UDP', port: 53 });
  const rest = { protocol: 'UDP', port: 53 };
  assert.equal(frontends(port), [
    { kind: 'clusterIP', ip: '10.96.0.10', ...rest },
    { kind: 'loadBalancerVIP', ip: '203.0.113.2', ...rest },
    { kind: 'externalIP', ip: '203.0.113.1', ...rest },
    { kind: 'externalIP', ip: '203.0.113.3', ...rest },
  ]);
});

claims('clusterIP beats VIP beats externalIP beats node port, whatever the keys', () => {
  const order: readonly DestinationKind[] = ['clusterIP', 'loadBalancerVIP', 'externalIP', 'nodePort'];
  const shuffled = order.map((kind, index) => ({ kind, servicePort: servicePort({ key: `${9 - index}` }) })).reverse();
  assert.equal(
    shuffled.sort(compareClaims).map(({ kind }) => kind),
    order,
  );
});

claims('among equals the smaller key in byte order wins', () => {
  const claim = (key: string) => ({ kind: 'externalIP', servicePort: servicePort({ key }) }) as const;
  assert.ok(compareClaims(claim('a/B/TCP'), claim('a/a/TCP')) < 0);
  assert.ok(compareClaims(claim('b/a/TCP'), claim('a/z/TCP')) > 0);
  assert.is(compareClaims(claim('a/a/TCP'), claim('a/a/TCP')), 0);
});

const SHARED = { ip: '203.0.113.9', protocol: 'TCP', port: 80 } as const;

claims('the owner of an address does not depend on the order of service ports', () => {
  const vip = servicePort({ key: 'z/z/TCP', loadBalancerVIPs: [SHARED.ip] });
  const second = servicePort({ key: 'c/c/TCP', externalIPs: [SHARED.ip] });
  const first = servicePort({ key: 'b/b/TCP', externalIPs: [SHARED.ip] });
  for (const ports of [
    [vip, second, first],
    [first, second, vip],
    [second, first, vip],
  ]) {
    const owner = frontendOwner(ports, SHARED);
    assert.equal([owner?.servicePort.key, owner?.kind], ['z/z/TCP', 'loadBalancerVIP']);
  }
});

claims('an address owned as two kinds is owned as the stronger', () => {
  const both = servicePort({ externalIPs: [SHARED.ip], loadBalancerVIPs: [SHARED.ip] });
  assert.is(frontendOwner([both], SHARED)?.kind, 'loadBalancerVIP');
});

claims('another port or protocol is another destination', () => {
  const port = servicePort({ externalIPs: [SHARED.ip] });
  assert.is(frontendOwner([port], { ...SHARED, port: 81 }), undefined);
  assert.is(frontendOwner([port], { ...SHARED, protocol: 'UDP' }), undefined);
  assert.ok(frontendOwner([port], SHARED));
});

claims('a node port has one owner per protocol', () => {
  const tcp = servicePort({ key: 'b/b/TCP' });
  const rival = servicePort({ key: 'a/a/TCP' });
  const udp = servicePort({ key: '0/0/UDP', protocol: 'UDP' });
  const destination = { protocol: 'TCP', port: 30080 } as const;
  assert.is(nodePortOwner([tcp, rival, udp], destination)?.servicePort.key, 'a/a/TCP');
  assert.is(nodePortOwner([tcp, rival, udp], { ...destination, protocol: 'UDP' })?.servicePort.key, '0/0/UDP');
  assert.is(nodePortOwner([tcp], { ...destination, port: 30081 }), undefined);
});

claims('no node port is not node port 0', () => {
  assert.is(nodePortOwner([servicePort({ nodePort: 0 })], { protocol: 'TCP', port: 0 }), undefined);
});

claims.run();
