/**
 * The random changes of the nftables tests, with what is of IPVS's own: schedulers and weights by annotation, UDP flows
 * that may go on, addresses of the node that come and go.
 */
import type { Change, Endpoint, IPFamily, NodeView, ServicePort } from '../../../core/backend.ts';
import { SCHEDULER_ANNOTATION, WEIGHT_ANNOTATION } from '../../../plugins/ipvs/balance.ts';
import type { Random } from '../model/random.ts';
import { createRandomModel, POOLS, type RandomModel } from '../nftables/random-model.ts';

const SCHEDULERS = ['wrr', 'lc', 'mh-port', 'sh', 'no such scheduler', 'absent'];
const WEIGHTS = ['3', 'zone/zone-a=2, 5', 'same-node=4', 'same-zone=7, node/node-b=6', 'none'];

export function createIPVSModel(random: Random, family: IPFamily, { contests = true } = {}): RandomModel {
  const model = createRandomModel(random, family, { contests });
  const { nodeAddresses, shared } = POOLS[family];
  const ports = new WeakMap<ServicePort, ServicePort>();
  let addresses: readonly string[] = nodeAddresses;
  let zone = 'zone-a';
  let last: { readonly of: NodeView; readonly addresses: readonly string[]; readonly view: NodeView } | undefined;

  /** Of one service port always the same. */
  function decorated(port: ServicePort): ServicePort {
    const known = ports.get(port);
    if (known !== undefined) return known;
    const annotations = {
      ...(random.chance(0.4) && { [SCHEDULER_ANNOTATION]: random.pick(SCHEDULERS) }),
      ...(random.chance(0.4) && { [WEIGHT_ANNOTATION]: random.pick(WEIGHTS) }),
    };
    const ofSlice = { [WEIGHT_ANNOTATION]: '9' };
    const zoned = (endpoint: Endpoint): Endpoint => ({
      ...endpoint,
      zone: endpoint.isLocal ? 'zone-a' : 'zone-b',
      ...(endpoint.port === 8081 && { annotations: ofSlice }),
    });
    const cluster = port.cluster.map(zoned);
    const keeps = port.protocol === 'UDP' && random.chance(0.5) ? { keepsFlowsUDP: gone(port) } : {};
    const made = { ...port, annotations, cluster, local: port.local.map(zoned), ...keeps };
    ports.set(port, made);
    return made;
  }

  function gone({ cluster, local }: ServicePort): readonly Endpoint[] {
    const used = new Set([...cluster, ...local].map(({ ip, port }) => `${ip} ${port}`));
    const all = [0, 1, 2, 3, 4].map(
      (index): Endpoint => ({
        ip: POOLS[family].remotePod(index),
        port: 8080,
        isLocal: false,
        ready: false,
        nodeName: 'node-b',
        zone: '',
      }),
    );
    return all.filter(({ ip, port }) => !used.has(`${ip} ${port}`));
  }

  function viewOf(node: NodeView): NodeView {
    if (last?.of === node && last.addresses === addresses && last.view.zone === zone) return last.view;
    const { nodePortAddresses: accepted } = node;
    const nodePortAddresses: NodeView['nodePortAddresses'] =
      accepted.match === 'all'
        ? { ...accepted, loopback: false }
        : { match: 'list', addresses: accepted.addresses.filter((ip) => addresses.includes(ip)) };
    const view = { ...node, zone, addresses: [...addresses].sort(), nodePortAddresses };
    last = { of: node, addresses, view };
    return view;
  }

  function finished(change: Change): Change {
    return { ...change, node: viewOf(change.node), upsert: change.upsert.map(decorated) };
  }

  return {
    whole: () => finished(model.whole()),
    next() {
      if (random.chance(0.2)) {
        // External IPs may become the node's own, and the reverse.
        addresses = [...nodeAddresses, ...shared.slice(0, 2)].filter(
          (ip) => nodeAddresses.slice(0, 2).includes(ip) || random.chance(0.6),
        );
      }
      if (random.chance(0.1)) zone = random.pick(['zone-a', 'zone-b']);
      return finished(model.next());
    },
  };
}
