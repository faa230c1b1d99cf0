import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Change, Endpoint, Host, NodeView, ServicePort } from '../../../core/backend.ts';
import { dryRunPlugin } from '../../../plugins/dry-run/index.ts';
import { servicePort } from '../iptables/samples.ts';
import { view } from '../model/samples.ts';

const endpoint = (address: string, rest: Partial<Endpoint> = {}): Endpoint => {
  const [ip, port] = address.split('/') as [string, string];
  return { ip, port: Number(port), isLocal: false, ready: true, nodeName: '', zone: '', ...rest };
};
const A = endpoint('10.244.1.2/8080');
const B = endpoint('10.244.1.3/8080');
const C = endpoint('10.244.1.4/8080');

const port = (rest: Partial<ServicePort> = {}): ServicePort =>
  servicePort({ cluster: [A, B], ...rest, key: rest.key ?? 'default/web:http/TCP' });

const NODE: NodeView = view({
  name: 'worker-1',
  zone: 'a',
  nodeIPs: ['192.168.0.10'],
  addresses: ['127.0.0.1', '192.168.0.10'],
  localDetector: { kind: 'cidr', cidr: '10.244.1.0/24' },
});
const change = (rest: Partial<Change> = {}): Change => ({
  family: 'IPv4',
  full: false,
  node: NODE,
  upsert: [],
  remove: [],
  ...rest,
});

/** The dry-run backend with what it logs and prints; it must need nothing else of its host. */
async function start(options: Record<string, unknown> = {}) {
  const lines: string[] = [];
  let printed = '';
  const plugin = dryRunPlugin((text) => {
    printed += text;
  });
  const host = { log: { info: (line: string) => void lines.push(line) } } as unknown as Host;
  const backend = await plugin.create(host, options);
  return {
    backend,
    async sync(rest: Partial<Change>): Promise<string[]> {
      lines.length = 0;
      await backend.sync(change(rest));
      return [...lines];
    },
    printed: () =>
      printed
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line)),
  };
}

const text = suite('dry-run as text');

text('a service port that appears is shown with where it answers and what answers', async () => {
  const { sync } = await start();
  const lines = await sync({ full: true, upsert: [port({ nodePort: 30080, externalIPs: ['1.2.3.4'] })] });
  assert.equal(lines, [
    '+ default/web:http/TCP 10.96.0.10:80, external IP 1.2.3.4:80, node port 30080 -> 10.244.1.2:8080, 10.244.1.3:8080',
  ]);
});

text('of a changed service port only the difference is shown', async () => {
  const { sync } = await start();
  await sync({ full: true, upsert: [port()] });
  const lines = await sync({ upsert: [port({ cluster: [B, C], nodePort: 30080 })] });
  assert.equal(lines, ['~ default/web:http/TCP nodePort 0 => 30080, endpoints +10.244.1.4:8080 -10.244.1.2:8080']);
});

text('a service port that goes is shown by where it answered', async () => {
  const { sync } = await start();
  await sync({ full: true, upsert: [port()] });
  assert.equal(await sync({ remove: ['default/web:http/TCP'] }), ['- default/web:http/TCP 10.96.0.10:80']);
});

text('a full change removes what it does not hold', async () => {
  const { sync } = await start();
  await sync({ full: true, upsert: [port(), port({ key: 'default/api/TCP' })] });
  assert.equal(await sync({ full: true, upsert: [port()] }), ['- default/api/TCP 10.96.0.10:80']);
});

text('what did not change is not mentioned', async () => {
  const { sync, backend } = await start();
  await sync({ full: true, upsert: [port()] });
  assert.equal(await sync({ full: true, upsert: [port()], node: { ...NODE } }), []);
  assert.is((await backend.sync(change({ full: true, upsert: [port()] }))).operations, 0);
});

text('differences come in byte order of their keys', async () => {
  const { sync } = await start();
  await sync({ full: true, upsert: [port({ key: 'm' })] });
  const lines = await sync({ upsert: [port({ key: 'z' }), port({ key: 'B' }), port({ key: 'a' })], remove: ['m'] });
  assert.equal(
    lines.map((line) => line.slice(0, 3)),
    ['+ B', '+ a', '- m', '+ z'],
  );
});

text('removing what never was is nothing', async () => {
  const { sync } = await start();
  assert.equal(await sync({ full: true, upsert: [] }), []);
  assert.equal(await sync({ remove: ['default/ghost/TCP'] }), []);
});

text('without endpoints it tells refusing from dropping', async () => {
  const { sync } = await start();
  const [reject] = await sync({ full: true, upsert: [port({ cluster: [], hasEndpoints: false })] });
  assert.match(reject!, / -> reject$/);
  const [drop] = await sync({ full: true, upsert: [port({ cluster: [], internalPolicy: 'Local', local: [] })] });
  assert.match(drop!, / -> local drop$/);
  const local = port({ key: 'default/new/TCP', cluster: [], internalPolicy: 'Local' });
  const [added] = await sync({ upsert: [local] });
  assert.match(added!, /:80 -> local drop \[internal policy Local\]$/);
});

text('the lists of both policies and unusual settings are shown', async () => {
  const { sync } = await start();
  const ending = endpoint('10.244.1.9/8080', { ready: false });
  const [line] = await sync({
    full: true,
    upsert: [
      port({
        loadBalancerVIPs: ['203.0.113.1'],
        externalPolicy: 'Local',
        cluster: [A],
        local: [ending],
        affinitySeconds: 10800,
        sourceRanges: ['198.51.100.0/24'],
        healthCheckNodePort: 32000,
        annotations: { 'kube-proxy.io/x': 'y' },
      }),
    ],
  });
  assert.is(
    line,
    '+ default/web:http/TCP 10.96.0.10:80, VIP 203.0.113.1:80 -> 10.244.1.2:8080; local 10.244.1.9:8080 (terminating) ' +
      '[external policy Local; affinity 10800 s; VIPs only from 198.51.100.0/24; health check port 32000; ' +
      'kube-proxy.io/x="y"]',
  );
});

text('IPv6 addresses stand in brackets', async () => {
  const { sync } = await start();
  const six = port({ clusterIP: 'fd00:10:96::a', cluster: [endpoint('fd00:244::2/8080')] });
  const [line] = await sync({ family: 'IPv6', full: true, upsert: [six] });
  assert.is(line, '+ default/web:http/TCP [fd00:10:96::a]:80 -> [fd00:244::2]:8080');
});

text('a change of the node is shown', async () => {
  const { sync } = await start();
  await sync({ full: true });
  const node: NodeView = {
    ...NODE,
    addresses: [...NODE.addresses, '192.168.0.11'],
    nodePortAddresses: { match: 'list', addresses: [] },
    localDetector: { kind: 'interfacePrefix', prefix: 'veth' },
  };
  assert.equal(await sync({ node }), [
    '~ node IPv4 addresses +192.168.0.11, nodePortAddresses all, loopback too => none, ' +
      'localDetector source in 10.244.1.0/24 => from interfaces veth*',
  ]);
});

text('families are kept apart', async () => {
  const { sync } = await start();
  await sync({ full: true, upsert: [port()] });
  assert.equal(await sync({ family: 'IPv6', full: true, upsert: [] }), []);
});

const json = suite('dry-run as JSON');

json('each difference is one object, and each sync one more', async () => {
  const { sync, printed } = await start({ format: 'json' });
  assert.equal(await sync({ full: true, upsert: [port()] }), [], 'nothing in the log');
  await sync({ upsert: [port({ cluster: [A, B, C] })] });
  await sync({ remove: ['default/web:http/TCP'] });
  const records = printed();
  assert.equal(
    records.map(({ op }) => op),
    ['add', 'commit', 'change', 'commit', 'remove', 'commit'],
  );
  assert.equal(records[0].servicePort, port());
  assert.equal(records[2].fields, [{ field: 'endpoints', added: ['10.244.1.4:8080'], removed: [] }]);
  assert.equal(records[5], { op: 'commit', family: 'IPv4', full: false, operations: 1, servicePorts: 0 });
});

const options = suite('dry-run options');

options('an unknown option and an unknown format are refused together', async () => {
  try {
    await start({ format: 'xml', colour: 'red' });
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /format: "xml" is neither text nor json/);
    assert.match((error as Error).message, /colour: unknown option/);
  }
});

const render = suite('dry-run render and dump');
const STATE = [
  '# IPv4: service ports 2, endpoints 2',
  '# node: worker-1',
  '# zone: a',
  '# node IPs: 192.168.0.10',
  '# addresses: 127.0.0.1, 192.168.0.10',
  '# node ports answer on: all, loopback too',
  '# pods of this node: source in 10.244.1.0/24',
  '+ default/api/TCP 10.96.0.11:80 -> reject',
  '+ default/web:http/TCP 10.96.0.10:80 -> 10.244.1.2:8080, 10.244.1.3:8080',
  '',
].join('\n');
const TWO = [port(), port({ key: 'default/api/TCP', clusterIP: '10.96.0.11', cluster: [], hasEndpoints: false })];

render('the whole state is shown in byte order of the keys', () => {
  const plugin = dryRunPlugin(() => assert.unreachable());
  assert.is(plugin.render!([change({ full: true, upsert: TWO })], {}, { nftables: String }), STATE);
});

render('what is committed can be shown at any time in the same form', async () => {
  const { backend, sync } = await start();
  await sync({ full: true, upsert: TWO });
  assert.is(await (backend as unknown as { dump(): Promise<string> }).dump(), STATE);
});

render('nothing is there to clean up', async () => {
  const { backend } = await start();
  await backend.cleanup();
  await backend.close();
});

text.run();
json.run();
options.run();
render.run();
