/** What a first sync makes of an empty host, printed: the lines that ipvsadm and ip would read. (Whole texts: test/golden/.) */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { SCHEDULER_ANNOTATION, WEIGHT_ANNOTATION } from '../../../plugins/ipvs/balance.ts';
import { render } from '../../../plugins/ipvs/render.ts';
import { endpoints, full, NODE6, remote, servicePort } from '../nftables/samples.ts';
import { stage } from './stage.ts';

const test = suite('ipvs render');
const NO_TABLES = { nftables: () => '' };

test('a load balancer with policy Local: its servers, that of its mark, its addresses', () => {
  const port = servicePort({
    loadBalancerVIPs: ['203.0.113.1'],
    nodePort: 30080,
    externalPolicy: 'Local',
    affinitySeconds: 600,
    cluster: remote('10.244.2.1'),
    local: endpoints('10.244.1.1'),
  });
  assert.is(
    render([full([port])], {}, NO_TABLES),
    `-A -t 10.96.0.10:80 -s rr -p 600
-a -t 10.96.0.10:80 -r 10.244.2.1:8080 -m -w 1
-A -t 203.0.113.1:80 -s rr -p 600
-a -t 203.0.113.1:80 -r 10.244.1.1:8080 -m -w 1
-A -t 192.168.50.10:30080 -s rr -p 600
-a -t 192.168.50.10:30080 -r 10.244.1.1:8080 -m -w 1
-A -t 192.168.60.10:30080 -s rr -p 600
-a -t 192.168.60.10:30080 -r 10.244.1.1:8080 -m -w 1
-A -f 1263534081 -s mh -b mh-fallback
-a -f 1263534081 -r 10.244.2.1:8080 -m -w 1
ip address add 10.96.0.10/32 dev kube-ipvs0
ip address add 203.0.113.1/32 dev kube-ipvs0
`,
  );
});

test('IPv6, other protocols, schedulers with what they hash, weights', () => {
  const port = servicePort({
    protocol: 'SCTP',
    clusterIP: 'fd00:10:96::a',
    cluster: remote('fd00:244:2::1'),
    annotations: { [SCHEDULER_ANNOTATION]: 'mh-port-fallback', [WEIGHT_ANNOTATION]: '7' },
  });
  assert.is(
    render([full([port], NODE6, 'IPv6')], {}, NO_TABLES),
    `-A --sctp-service [fd00:10:96::a]:80 -s mh -b mh-fallback,mh-port
-a --sctp-service [fd00:10:96::a]:80 -r [fd00:244:2::1]:8080 -m -w 7
ip address add fd00:10:96::a/128 dev kube-ipvs0
`,
  );
});

test('what is printed is what a sync makes', async () => {
  const port = servicePort({ externalPolicy: 'Local', externalIPs: ['203.0.113.1'], local: endpoints('10.244.1.11') });
  const one = stage({ options: { scheduler: 'sh-port' } });
  await one.sync(full([port]));
  const lines = render([full([port])], { scheduler: 'sh-port' }, NO_TABLES).split('\n');
  assert.is(
    `${lines
      .filter((line) => line.startsWith('-'))
      .sort()
      .join('\n')}\n`,
    one.servers(),
  );
});

test.run();
