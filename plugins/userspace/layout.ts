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
import type { IPFamily } from '../../core/backend.ts';
import { keyTypes, type TableLayout, tableLayout } from '../shared/table/layout.ts';

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

export type Layout = TableLayout<SetName>;

export function layoutOf(family: IPFamily): Layout {
  const { address, port, frontend, target, mark } = keyTypes(family);
  return tableLayout(family, {
    name: TABLE,
    comment: TABLE_COMMENT,
    setNames: SET_NAMES,
    shapes: {
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
    },
  });
}
