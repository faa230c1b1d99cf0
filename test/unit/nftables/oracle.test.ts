/**
 * The maps beside the oracle: whatever happened before, what the elements say about a destination is what the oracle
 * says. Chains are not walked here (packets do that, in test/netns/): only what they would look up.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily, NftElement, NftTable, NftValue, NodeView, Packet, Protocol } from '../../../core/backend.ts';
import { acceptsNodePorts, classOfSource, type OracleState, route } from '../../../core/model/oracle.ts';
import { valueBytes } from '../../../core/netlink/nftables/values.ts';
import {
  AFFINITY,
  COUNT_MASK,
  DROP,
  GUARDED,
  LOCAL,
  POLICY_LOCAL,
  REJECT,
  type SetName,
  TABLE,
} from '../../../plugins/nftables/layout.ts';
import { type Random, seeded } from '../model/random.ts';
import { elementsOf, rowsOf } from './meaning.ts';
import { createRandomModel, POOLS } from './random-model.ts';
import { stage } from './stage.ts';

const SEQUENCES = 120;
const CHANGES = 8;
const PACKETS = 40;
const test = suite('nftables maps beside the oracle');

interface Said {
  readonly action: 'pass' | 'reject' | 'drop' | 'endpoints';
  /** "ip port", sorted. */
  readonly endpoints: readonly string[];
  readonly hasAffinity: boolean;
}

const PASS: Said = { action: 'pass', endpoints: [], hasAffinity: false };

/** What a packet's lookups would find. */
function look(packet: Packet, node: NodeView, table: NftTable): Said {
  const port: readonly NftValue[] = [packet.protocol.toLowerCase(), packet.destinationPort];
  const frontend = [packet.destinationIP, ...port];
  const find = (set: SetName, key: readonly NftValue[]): number | undefined => {
    const text = rowsOf(table, set).get(key.join(' '));
    return text === undefined ? undefined : Number.parseInt(text, 10);
  };
  let key = frontend;
  let prefix = '';
  let classes: SetName = 'services';
  let klass = find(classes, key);
  if (klass === GUARDED) {
    const admitted = elementsOf(table, 'source-ranges').some((range) =>
      within(table, range, [...key, packet.sourceIP]),
    );
    if (!admitted) return { ...PASS, action: 'drop' };
    classes = 'guarded-services';
    klass = find(classes, key);
  } else if (klass === undefined) {
    if (!acceptsNodePorts(node.nodePortAddresses, packet.destinationIP, node)) return PASS;
    key = [...port];
    prefix = 'nodeport-';
    classes = 'nodeports';
    klass = find(classes, key);
    if (klass === undefined) return PASS;
  }
  if (klass === undefined) throw new Error(`${classes} lacks ${key.join(' ')}`);
  if (klass & POLICY_LOCAL) {
    const inside = classOfSource(packet, node) !== 'other';
    if (inside) klass = klass & COUNT_MASK ? klass & ~POLICY_LOCAL : DROP;
    else klass = find(prefix === '' ? 'local-services' : 'local-nodeports', key) ?? Number.NaN;
  }
  if (klass === REJECT || klass === DROP) return { ...PASS, action: klass === DROP ? 'drop' : 'reject' };
  const local = klass & LOCAL ? 'local-' : '';
  const lists = rowsOf(table, `${local}${prefix}endpoints` as SetName);
  const endpoints = Array.from({ length: klass & COUNT_MASK }, (_, index) => {
    const found = lists.get([...key, index].join(' '));
    assert.ok(found, `index ${index} of ${key.join(' ')}`);
    return found!;
  });
  return { action: 'endpoints', endpoints: endpoints.sort(), hasAffinity: (klass & AFFINITY) !== 0 };
}

function within(table: NftTable, { key, keyEnd = key }: NftElement, value: readonly NftValue[]): boolean {
  const types = table.sets.find(({ name }) => name === 'source-ranges')!.key;
  return types.every((type, part) => {
    const [from, here, to] = [key, value, keyEnd].map((values) => valueBytes(type, values[part]!));
    return Buffer.compare(from!, here!) <= 0 && Buffer.compare(here!, to!) <= 0;
  });
}

/** Whether postrouting's lookups find a reason to masquerade towards this endpoint. */
function masquerades(packet: Packet, endpointIP: string, node: NodeView, table: NftTable): boolean {
  const port = [packet.protocol.toLowerCase(), packet.destinationPort];
  const frontend = [packet.destinationIP, ...port].join(' ');
  const has = (set: SetName, key: string): boolean => rowsOf(table, set).has(key);
  const source = classOfSource(packet, node);
  if (has('hairpin', `${packet.sourceIP} ${endpointIP}`)) return true;
  if (has('masquerade-services', frontend)) return true;
  if (has('masquerade-services-if-node', frontend)) return source === 'node';
  if (has('cluster-ips', packet.destinationIP)) {
    return node.masqueradeAll || (node.localDetector.kind !== 'none' && source !== 'pod');
  }
  const accepted = elementsOf(table, 'nodeport-ips').some(({ key, keyEnd = key }) => {
    const type = table.sets.find(({ name }) => name === 'nodeport-ips')!.key[0]!;
    const [from, here, to] = [key[0]!, packet.destinationIP, keyEnd[0]!].map((value) => valueBytes(type, value));
    return Buffer.compare(from!, here!) <= 0 && Buffer.compare(here!, to!) <= 0;
  });
  assert.ok(accepted, `${packet.destinationIP} is no address of node ports`);
  if (has('masquerade-nodeports', port.join(' '))) return true;
  return has('masquerade-nodeports-if-node', port.join(' ')) && source === 'node';
}

function randomPacket(random: Random, family: IPFamily): Packet {
  const { clients, localPod, nodeAddresses, shared, clusterIP } = POOLS[family];
  const sourceIP = random.pick([...clients, localPod(0), localPod(1), ...nodeAddresses]);
  const origin = nodeAddresses.includes(sourceIP) ? 'node' : clients.includes(sourceIP) ? 'outside' : 'pod';
  return {
    family,
    protocol: random.pick<Protocol>(['TCP', 'TCP', 'UDP', 'SCTP']),
    sourceIP,
    origin,
    inputInterface: origin === 'node' ? '' : origin === 'pod' ? random.pick(['cni0', 'veth3']) : 'eth0',
    destinationIP: random.pick([0, 1, 2, 3, 4, 5, 6, 7].map(clusterIP).concat(shared, shared, nodeAddresses)),
    destinationPort: random.pick([80, 80, 80, 1, 65535, 30001, 30002]),
  };
}

test('for every destination and kind of source, maps and oracle agree', async () => {
  const seen = new Map<string, number>();
  for (let seed = 1; seed <= SEQUENCES; seed++) {
    const random = seeded(seed + 1000);
    const family = seed % 2 === 0 ? 'IPv4' : 'IPv6';
    const model = createRandomModel(random, family);
    const one = stage();
    await one.sync(model.whole());
    for (let step = 0; step < CHANGES; step++) await one.sync(model.next());
    const table = one.kernel.table(family === 'IPv4' ? 'ip' : 'ip6', TABLE)!;
    const { node, upsert: ports } = model.whole();
    const state: OracleState = { node, ports };
    for (let round = 0; round < PACKETS; round++) {
      const packet = randomPacket(random, family);
      const verdict = route(packet, state);
      const said = look(packet, node, table);
      const where = `seed ${seed}: ${JSON.stringify({ packet, verdict, said, node })}`;
      seen.set(verdict.action, (seen.get(verdict.action) ?? 0) + 1);
      assert.is(said.action, verdict.action, where);
      if (verdict.action !== 'endpoints') continue;
      const wanted = verdict.endpoints.map(({ ip, port }) => `${ip} ${port}`).sort();
      assert.equal(said.endpoints, wanted, where);
      const owner = ports.find(({ key }) => key === verdict.servicePort)!;
      assert.is(said.hasAffinity, owner.affinitySeconds > 0, where);
      for (const endpoint of verdict.endpoints) {
        assert.is(masquerades(packet, endpoint.ip, node, table), verdict.masquerade(endpoint), where);
      }
    }
  }
  for (const action of ['drop', 'endpoints', 'pass', 'reject']) {
    assert.ok((seen.get(action) ?? 0) > 30, `${action}: ${seen.get(action)}`);
  }
});

test.run();
