/**
 * Differences and states as lines that a person can read:
 *
 *   + default/web:http/TCP 10.96.0.10:80, node port 30080 -> 10.244.1.2:8080, 10.244.1.3:8080
 *   ~ default/web:http/TCP endpoints +10.244.1.4:8080 -10.244.1.2:8080
 *   - default/web:http/TCP 10.96.0.10:80, node port 30080
 */
import type { ServicePort } from '../../core/backend.ts';
import {
  annotationsText,
  byteOrder,
  type Difference,
  endpointText,
  type FieldChange,
  hostPort,
  localDetectorText,
  nodePortAddressesText,
  type State,
  usedLists,
} from './plan.ts';

export function differenceText(difference: Difference): string {
  switch (difference.op) {
    case 'add':
      return `+ ${difference.key} ${portText(difference.servicePort)}`;
    case 'remove':
      return `- ${difference.key} ${frontendsText(difference.servicePort)}`;
    case 'change':
      return `~ ${difference.key} ${changesText(difference.fields)}${verdictText(difference.servicePort)}`;
    case 'node':
      return `~ node ${difference.family} ${changesText(difference.fields)}`;
  }
}

/** Everything of one family, one line for each service port under lines about the node. */
export function stateText(family: string, { node, ports }: State): string {
  const endpoints = new Set([...ports.values()].flatMap((port) => [...port.cluster, ...port.local].map(endpointText)));
  const lines = [`# ${family}: service ports ${ports.size}, endpoints ${endpoints.size}`];
  if (node) {
    const facts: readonly (readonly [string, string])[] = [
      ['node', node.name],
      ['zone', node.zone],
      ['node IPs', node.nodeIPs.join(', ')],
      ['addresses', node.addresses.join(', ')],
      ['node ports answer on', nodePortAddressesText(node)],
      ['pods of this node', localDetectorText(node)],
      ['service CIDRs', node.serviceCIDRs.join(', ')],
      ['masquerade all', node.masqueradeAll ? 'yes' : ''],
      ['TCP be liberal', node.tcpBeLiberal ? 'yes' : ''],
    ];
    for (const [name, value] of facts) if (value !== '') lines.push(`# ${name}: ${value}`);
  }
  for (const port of [...ports.values()].sort((a, b) => byteOrder(a.key, b.key))) {
    lines.push(`+ ${port.key} ${portText(port)}`);
  }
  return `${lines.join('\n')}\n`;
}

function portText(port: ServicePort): string {
  const { cluster, local } = usedLists(port);
  const targets: string[] = [];
  if (cluster) targets.push(endpointsText(port.cluster.map(endpointText), port.hasEndpoints));
  if (local) targets.push(`local ${endpointsText(port.local.map(endpointText), port.hasEndpoints)}`);
  const settings = [
    port.internalPolicy === 'Local' ? 'internal policy Local' : '',
    local && port.externalPolicy === 'Local' ? 'external policy Local' : '',
    port.affinitySeconds > 0 ? `affinity ${port.affinitySeconds} s` : '',
    port.sourceRanges.length > 0 ? `VIPs only from ${port.sourceRanges.join(' ')}` : '',
    port.healthCheckNodePort > 0 ? `health check port ${port.healthCheckNodePort}` : '',
    annotationsText(port.annotations),
  ].filter((setting) => setting !== '');
  const tail = settings.length > 0 ? ` [${settings.join('; ')}]` : '';
  return `${frontendsText(port)} -> ${targets.join('; ')}${tail}`;
}

/** Where the service port answers. */
function frontendsText(port: ServicePort): string {
  return [
    hostPort(port.clusterIP, port.port),
    ...port.externalIPs.map((ip) => `external IP ${hostPort(ip, port.port)}`),
    ...port.loadBalancerVIPs.map((ip) => `VIP ${hostPort(ip, port.port)}`),
    ...(port.nodePort === 0 ? [] : [`node port ${port.nodePort}`]),
  ].join(', ');
}

function endpointsText(endpoints: readonly string[], hasEndpoints: boolean): string {
  return endpoints.length > 0 ? endpoints.join(', ') : hasEndpoints ? 'drop' : 'reject';
}

/** After a change that leaves a list empty: what becomes of connections now. */
function verdictText(port: ServicePort): string {
  const { cluster, local } = usedLists(port);
  if ((!cluster || port.cluster.length > 0) && (!local || port.local.length > 0)) return '';
  const verdict = port.hasEndpoints ? 'drop' : 'reject';
  return cluster && port.cluster.length === 0 ? ` -> ${verdict}` : ` -> local ${verdict}`;
}

function changesText(fields: readonly FieldChange[]): string {
  return fields
    .filter(({ field }) => field !== 'withoutEndpoints')
    .map((change) => {
      if ('from' in change) return `${change.field} ${change.from || 'none'} => ${change.to || 'none'}`;
      const moves = [...change.added.map((item) => `+${item}`), ...change.removed.map((item) => `-${item}`)];
      return `${change.field} ${moves.join(' ')}`;
    })
    .join(', ');
}
