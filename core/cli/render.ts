/**
 * `kube-proxy render`: what a first sync would write on an empty host, for given manifests and a given node.
 * Everything comes from files and flags and nothing from this machine, so the output is the same wherever it is made.
 */
import type { Change, IPFamily, ServicePort } from '../backend.ts';
import type { Settings } from '../config/settings.ts';
import type { InterfaceAddress } from '../model/node-settings.ts';
import { nodeView } from '../model/node-view.ts';
import type { EndpointSlice, Node, Service, ServiceCIDR } from '../model/objects.ts';
import { resolveService } from '../model/resolve.ts';
import { printTable } from '../netlink/nftables/text.ts';
import { readManifests } from '../source/manifests/read-manifests.ts';
import { chooseBackend } from './backends.ts';
import type { Run } from './main.ts';

export async function render({ settings, terminal, log }: Run): Promise<number> {
  const { plugin, options } = await chooseBackend(settings);
  if (!plugin.render) {
    throw new Error(`backend ${plugin.name} cannot render; use another, for example --backend=dry-run`);
  }
  const objects = await readManifests(settings.manifests);
  for (const problem of objects.problems) log.warn('A fault in the manifests was stepped over', { problem });
  const { nodeName } = settings.node;
  if (nodeName !== '' && objects.nodes.length > 0 && !objects.nodes.some(({ name }) => name === nodeName)) {
    const there = objects.nodes.map(({ name }) => name).join(', ');
    log.warn('No Node object has the name that --hostname-override gives', { nodeName, there });
  }
  terminal.stdout(plugin.render(changes(objects, settings), options, { nftables: printTable }));
  return 0;
}

export interface Objects {
  readonly services: readonly Service[];
  readonly slices: readonly EndpointSlice[];
  readonly nodes: readonly Node[];
  readonly serviceCIDRs?: readonly ServiceCIDR[];
}

/** One full change for each family asked for. */
export function changes(objects: Objects, settings: Settings): readonly Change[] {
  const { nodes, services } = objects;
  const nodeName = settings.node.nodeName || (nodes.length === 1 ? nodes[0]!.name : '');
  const node = nodes.find(({ name }) => name === nodeName);
  const addresses = interfaces(settings.nodeAddresses.length > 0 ? settings.nodeAddresses : (node?.ips ?? []));
  const slicesOf = Map.groupBy(objects.slices, (slice) => `${slice.namespace}/${slice.serviceName}`);

  return settings.families.map((family: IPFamily): Change => {
    const view = nodeView(family, node, { ...settings.node, nodeName }, addresses, objects.serviceCIDRs);
    const upsert = services.flatMap((service): readonly ServicePort[] => {
      const slices = (slicesOf.get(`${service.namespace}/${service.name}`) ?? []).filter(
        (each) => each.family === family,
      );
      return service.families[family] ? resolveService(service, slices, { family, ...view }) : [];
    });
    upsert.sort((a, b) => (a.key < b.key ? -1 : 1));
    return { family, full: true, node: view, upsert, remove: [] };
  });
}

function interfaces(ips: readonly string[]): readonly InterfaceAddress[] {
  const loopback = ['127.0.0.1', '::1'];
  const others = ips.filter((ip) => !loopback.includes(ip));
  return [
    ...loopback.map((ip) => ({ interfaceName: 'lo', ip })),
    ...others.map((ip) => ({ interfaceName: 'eth0', ip })),
  ];
}
