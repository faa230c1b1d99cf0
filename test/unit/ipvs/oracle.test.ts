/**
 * Table and virtual servers beside the oracle: whatever happened before, a connection's first packet is led where the
 * oracle says. (Real packets do that in test/vm/.)
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily, Packet, Protocol } from '../../../core/backend.ts';
import { isLoopback } from '../../../core/model/ip.ts';
import { type OracleState, route } from '../../../core/model/oracle.ts';
import { type Random, seeded } from '../model/random.ts';
import { NODE, POD, packet, view } from '../model/samples.ts';
import { POOLS } from '../nftables/random-model.ts';
import { full, remote, servicePort } from '../nftables/samples.ts';
import { createIPVSModel } from './random-model.ts';
import { stage } from './stage.ts';
import { type Walked, walk } from './walk.ts';

const SEQUENCES = 80;
const CHANGES = 6;
const PACKETS = 120;
const test = suite('ipvs table and servers beside the oracle');

function randomPacket(random: Random, family: IPFamily, addresses: readonly string[]): Packet {
  const { clients, localPod, shared, clusterIP } = POOLS[family];
  const origin = random.pick(['node', 'pod', 'outside'] as const);
  const own = addresses.filter((ip) => !isLoopback(ip));
  return {
    family,
    protocol: random.pick<Protocol>(['TCP', 'TCP', 'UDP', 'SCTP']),
    sourceIP: random.pick({ node: own, pod: [localPod(0), localPod(1), localPod(2)], outside: clients }[origin]),
    origin,
    inputInterface: { node: '', pod: random.pick(['cni0', 'veth3']), outside: 'eth0' }[origin],
    destinationIP: random.pick([...[0, 1, 2, 3, 4, 5, 6, 7, 8].map(clusterIP), ...shared, ...shared, ...own, ...own]),
    destinationPort: random.pick([80, 80, 80, 1, 65535, 30001, 30002]),
  };
}

/** What the oracle calls none of the proxy's business, the table refuses at addresses that it made the node's own. */
function closedPort(packet: Packet, bound: readonly string[], serviceCIDRs: readonly string[]): Walked['action'][] {
  if (bound.includes(packet.destinationIP)) return ['reject'];
  return serviceCIDRs.length > 0 ? ['pass', 'drop'] : ['pass'];
}

test('for every destination and source the packet is led where the oracle says, masqueraded as it says', async () => {
  const seen = new Map<string, number>();
  const count = (what: string): void => void seen.set(what, (seen.get(what) ?? 0) + 1);
  for (let seed = 1; seed <= SEQUENCES; seed++) {
    const random = seeded(seed + 1000);
    const family = seed % 2 === 0 ? 'IPv4' : 'IPv6';
    const model = createIPVSModel(random, family);
    const one = stage();
    await one.sync(model.whole());
    for (let step = 0; step < CHANGES; step++) await one.sync(model.next());
    const { node, upsert: ports } = model.whole();
    const state: OracleState = { node, ports };
    for (let round = 0; round < PACKETS; round++) {
      const packet = randomPacket(random, family, node.addresses);
      const verdict = route(packet, state);
      const said = walk(one, packet, node);
      const where = `seed ${seed}: ${JSON.stringify({ packet, verdict, said, node }, undefined, 1)}`;
      count(verdict.action);
      if (verdict.action === 'pass') {
        const may = closedPort(packet, one.addresses(family), node.serviceCIDRs);
        assert.ok(may.includes(said.action), where);
        continue;
      }
      assert.is(said.action, verdict.action, where);
      if (verdict.action !== 'endpoints') continue;
      const wanted = verdict.endpoints.map(({ ip, port }) => `${ip} ${port}`).sort();
      assert.equal(said.endpoints.map(({ ip, port }) => `${ip} ${port}`).sort(), wanted, where);
      const owner = ports.find(({ key }) => key === verdict.servicePort)!;
      assert.is(said.mark, 0, where);
      if (said.byMark) count('by mark');
      else assert.is(said.persistenceSeconds, owner.affinitySeconds, where);
      for (const endpoint of verdict.endpoints) {
        const found = said.endpoints.find(({ ip, port }) => ip === endpoint.ip && port === endpoint.port)!;
        assert.is(found.isMasqueraded, verdict.masquerade(endpoint), `${endpoint.ip} ${where}`);
        if (found.isMasqueraded) count('masqueraded');
      }
    }
  }
  for (const what of ['drop', 'endpoints', 'pass', 'reject', 'by mark', 'masqueraded']) {
    assert.ok((seen.get(what) ?? 0) > 30, `${what}: ${seen.get(what)}`);
  }
});

test('where an external IP takes an address from a node port, connections from inside do not get the node port’s mark', async () => {
  const address = '192.168.50.10';
  const nodePort = servicePort({
    name: 'a',
    clusterIP: '10.96.0.1',
    nodePort: 30080,
    externalPolicy: 'Local',
    cluster: remote('1.0.0.1'),
  });
  const external = {
    name: 'b',
    clusterIP: '10.96.0.2',
    port: 30080,
    externalIPs: [address],
    cluster: remote('1.0.0.2'),
  };
  for (const externalPolicy of ['Cluster', 'Local'] as const) {
    const one = stage();
    await one.sync(full([nodePort, servicePort({ ...external, externalPolicy })]));
    for (const source of [POD, NODE]) {
      const said = walk(one, packet(source, `${address}:30080`), view());
      assert.equal(
        said.endpoints.map(({ ip }) => ip),
        ['1.0.0.2'],
        `${externalPolicy} ${source.origin}`,
      );
      const other = walk(one, packet(source, '192.168.60.10:30080'), view());
      assert.equal([other.byMark, other.endpoints.map(({ ip }) => ip)], [true, ['1.0.0.1']]);
    }
  }
});

test.run();
