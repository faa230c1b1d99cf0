/**
 * What a change means, found by comparing with the state before it. Pure.
 *
 *   Change ──plan(state)──▶ Difference[]    one for each service port that appears, changes or goes,
 *          └───────────────▶ next State      and one for the node
 */
import type { Change, Endpoint, IPFamily, NodeView, ServicePort } from '../../core/backend.ts';

/** One family, as the last successful sync left it. */
export interface State {
  readonly node: NodeView | undefined;
  readonly ports: ReadonlyMap<string, ServicePort>;
}

export const EMPTY: State = { node: undefined, ports: new Map() };

export type Difference =
  | { readonly op: 'add'; readonly family: IPFamily; readonly key: string; readonly servicePort: ServicePort }
  | { readonly op: 'remove'; readonly family: IPFamily; readonly key: string; readonly servicePort: ServicePort }
  | {
      readonly op: 'change';
      readonly family: IPFamily;
      readonly key: string;
      readonly fields: readonly FieldChange[];
      readonly servicePort: ServicePort;
    }
  | {
      readonly op: 'node';
      readonly family: IPFamily;
      readonly fields: readonly FieldChange[];
      readonly node: NodeView;
    };

/** A list says what came and what went; anything else what it was and what it is. */
export type FieldChange =
  | { readonly field: string; readonly added: readonly string[]; readonly removed: readonly string[] }
  | { readonly field: string; readonly from: string; readonly to: string };

export interface Plan {
  readonly differences: readonly Difference[];
  readonly next: State;
}

/** Differences in byte order of their keys, the node's first. */
export function plan(state: State, change: Change): Plan {
  const { family, node } = change;
  const differences: Difference[] = [];
  const ports = new Map(change.full ? [] : state.ports);
  for (const key of change.remove) ports.delete(key);
  for (const port of change.upsert) ports.set(port.key, port);

  const touched = new Set([...change.remove, ...change.upsert.map(({ key }) => key)]);
  if (change.full) for (const key of state.ports.keys()) touched.add(key);
  for (const key of [...touched].sort(byteOrder)) {
    const before = state.ports.get(key);
    const after = ports.get(key);
    if (after && !before) differences.push({ op: 'add', family, key, servicePort: after });
    else if (before && !after) differences.push({ op: 'remove', family, key, servicePort: before });
    else if (before && after && before !== after) {
      const fields = portChanges(before, after);
      if (fields.length > 0) differences.push({ op: 'change', family, key, fields, servicePort: after });
    }
  }
  if (state.node && state.node !== node) {
    const fields = nodeChanges(state.node, node);
    if (fields.length > 0) differences.unshift({ op: 'node', family, fields, node });
  }
  return { differences, next: { node, ports } };
}

function portChanges(before: ServicePort, after: ServicePort): readonly FieldChange[] {
  const text = (field: string, of: (port: ServicePort) => string): FieldChange[] =>
    of(before) === of(after) ? [] : [{ field, from: of(before), to: of(after) }];
  const list = (field: string, of: (port: ServicePort) => readonly string[]): FieldChange[] =>
    listChange(field, of(before), of(after));
  const [policyBefore, policyAfter] = [usedLists(before), usedLists(after)];
  return [
    ...text('clusterIP', (port) => `${hostPort(port.clusterIP, port.port)}`),
    ...text('nodePort', (port) => String(port.nodePort)),
    ...list('externalIPs', (port) => port.externalIPs),
    ...list('loadBalancerVIPs', (port) => port.loadBalancerVIPs),
    ...list('sourceRanges', (port) => port.sourceRanges),
    ...text('internalPolicy', (port) => port.internalPolicy),
    ...text('externalPolicy', (port) => port.externalPolicy),
    ...text('affinitySeconds', (port) => String(port.affinitySeconds)),
    ...text('healthCheckNodePort', (port) => String(port.healthCheckNodePort)),
    ...(policyBefore.cluster || policyAfter.cluster ? list('endpoints', (port) => port.cluster.map(endpointText)) : []),
    ...(policyBefore.local || policyAfter.local ? list('local endpoints', (port) => port.local.map(endpointText)) : []),
    ...text('withoutEndpoints', (port) => (port.hasEndpoints ? 'drop' : 'reject')),
    ...text('annotations', (port) => annotationsText(port.annotations)),
  ];
}

function nodeChanges(before: NodeView, after: NodeView): readonly FieldChange[] {
  const text = (field: string, of: (node: NodeView) => string): FieldChange[] =>
    of(before) === of(after) ? [] : [{ field, from: of(before), to: of(after) }];
  const list = (field: string, of: (node: NodeView) => readonly string[]): FieldChange[] =>
    listChange(field, of(before), of(after));
  return [
    ...text('name', (node) => node.name),
    ...text('zone', (node) => node.zone),
    ...list('nodeIPs', (node) => node.nodeIPs),
    ...list('addresses', (node) => node.addresses),
    ...text('nodePortAddresses', nodePortAddressesText),
    ...text('localDetector', localDetectorText),
    ...text('masqueradeAll', (node) => String(node.masqueradeAll)),
    ...list('serviceCIDRs', (node) => node.serviceCIDRs),
    ...text('tcpBeLiberal', (node) => String(node.tcpBeLiberal)),
  ];
}

function listChange(field: string, before: readonly string[], after: readonly string[]): FieldChange[] {
  const [had, has] = [new Set(before), new Set(after)];
  const added = after.filter((item) => !had.has(item));
  const removed = before.filter((item) => !has.has(item));
  return added.length + removed.length > 0 ? [{ field, added, removed }] : [];
}

/** Which of its two endpoint lists a service port's destinations use at all. */
export function usedLists(port: ServicePort): { readonly cluster: boolean; readonly local: boolean } {
  const external = port.nodePort !== 0 || port.externalIPs.length > 0 || port.loadBalancerVIPs.length > 0;
  return {
    cluster: port.internalPolicy === 'Cluster' || external,
    local: port.internalPolicy === 'Local' || (external && port.externalPolicy === 'Local'),
  };
}

export function hostPort(ip: string, port: number): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}

export function endpointText(endpoint: Endpoint): string {
  return `${hostPort(endpoint.ip, endpoint.port)}${endpoint.ready ? '' : ' (terminating)'}`;
}

export function annotationsText(annotations: Readonly<Record<string, string>>): string {
  const entries = Object.entries(annotations).sort(([a], [b]) => byteOrder(a, b));
  return entries.map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(' ');
}

export function nodePortAddressesText({ nodePortAddresses }: NodeView): string {
  if (nodePortAddresses.match === 'all') return nodePortAddresses.loopback ? 'all, loopback too' : 'all but loopback';
  return nodePortAddresses.addresses.join(', ') || 'none';
}

export function localDetectorText({ localDetector }: NodeView): string {
  switch (localDetector.kind) {
    case 'none':
      return 'none';
    case 'cidr':
      return `source in ${localDetector.cidr}`;
    case 'interface':
      return `from interface ${localDetector.name}`;
    case 'interfacePrefix':
      return `from interfaces ${localDetector.prefix}*`;
  }
}

export function byteOrder(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
