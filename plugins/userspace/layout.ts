/**
 * The table that brings connections in: its sets, and what the numbers in them mean. The process forwards; the table
 * only decides which connections it gets.
 *
 *   services           address . protocol . port  → class
 *   nodeports          protocol . port            → class
 *   source-ranges      address . protocol . port . source range
 *   inside-listeners   protocol → address . port            where the process listens for pods of this node and the node
 *   outside-listeners  protocol → address . port            and for everyone else
 *
 * A class is what becomes of a connection (plugins/shared/table/verdicts.ts).
 */
import type { IPFamily, NftField, NftSet, NftType } from '../../core/backend.ts';
import type { TableLayout } from '../shared/table/layout.ts';

export const TABLE = 'kube-userspace';
/** Changed whenever a table made by an earlier version cannot be brought up to date piece by piece. */
export const TABLE_COMMENT = 'Kubernetes Services to the userspace proxy; layout 1';

export const SET_NAMES = [
  'services',
  'nodeports',
  'source-ranges',
  'inside-listeners',
  'outside-listeners',
  'cluster-ips',
  'nodeport-ips',
  'service-cidrs',
  'dispatch',
  'guarded-dispatch',
  'nodeport-dispatch',
] as const;
export type SetName = (typeof SET_NAMES)[number];

export interface Layout extends TableLayout<SetName> {
  readonly saddr: NftField;
  readonly daddr: NftField;
}

export function layoutOf(family: IPFamily): Layout {
  const address: NftType = family === 'IPv4' ? 'ipv4_addr' : 'ipv6_addr';
  const port: readonly NftType[] = ['inet_proto', 'inet_service'];
  const frontend: readonly NftType[] = [address, ...port];
  const target: readonly NftType[] = [address, 'inet_service'];
  const mark: readonly NftType[] = ['mark'];
  const shapes: Readonly<Record<SetName, Omit<NftSet, 'name'>>> = {
    services: { key: frontend, data: mark },
    nodeports: { key: port, data: mark },
    'source-ranges': { key: [...frontend, address], interval: true },
    'inside-listeners': { key: ['inet_proto'], data: target },
    'outside-listeners': { key: ['inet_proto'], data: target },
    'cluster-ips': { key: [address] },
    'nodeport-ips': { key: [address], interval: true },
    'service-cidrs': { key: [address], interval: true },
    dispatch: { key: mark, data: 'verdict' },
    'guarded-dispatch': { key: mark, data: 'verdict' },
    'nodeport-dispatch': { key: mark, data: 'verdict' },
  };
  const sets = Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => [name, { name, ...shape }]),
  ) as unknown as Record<SetName, NftSet>;
  const common = {
    family,
    name: TABLE,
    comment: TABLE_COMMENT,
    sets,
    setNames: SET_NAMES,
    filledByPackets: [],
    verdictMaps: ['dispatch', 'guarded-dispatch', 'nodeport-dispatch'],
  } as const;
  return family === 'IPv4'
    ? { ...common, table: 'ip', saddr: 'ip saddr', daddr: 'ip daddr' }
    : { ...common, table: 'ip6', saddr: 'ip6 saddr', daddr: 'ip6 daddr' };
}
