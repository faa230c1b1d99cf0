/**
 * The table's sets and maps, and what the numbers in them mean. Everything that varies with Services lives in these;
 * the number of chains does not depend on how many Services there are.
 *
 *   services           address . protocol . port          → class            what to do with a connection to it
 *   endpoints          address . protocol . port . index  → address . port   policy Cluster's list, index 0 … count-1
 *   local-services, local-endpoints                                          the same for policy Local
 *   guarded-services                                                         class behind source ranges
 *   nodeports, nodeport-endpoints, local-nodeports, …     the same without the address
 *   dispatch, local-dispatch, …    class → goto chain
 *
 * A class is a number that `meta priority` carries from the map to the chain:
 *
 *   0x0000000a  10 endpoints, policy Cluster      0x0008 0000  behind source ranges
 *   0x0001 ....  of policy Local                  0x0010 0000  drop
 *   0x0002 ....  list depends on the source       0x0020 0000  reject
 *   0x0004 ....  with session affinity
 *
 * Why not a map straight to `goto`: the kernel validates the whole table for every added element that holds a verdict.
 */
import type { IPFamily } from '../../core/backend.ts';
import { keyTypes, type TableLayout, tableLayout } from '../shared/table/layout.ts';

export const TABLE = 'kube-services';
/** Of upstream kube-proxy in nftables mode. */
export const UPSTREAM_TABLE = 'kube-proxy';
/** Changed whenever a table made by an earlier version cannot be brought up to date piece by piece. */
export const TABLE_COMMENT = 'Kubernetes Services; layout 1';

export const COUNT_MASK = 0xffff;
export const LOCAL = 0x1_0000;
export const POLICY_LOCAL = 0x2_0000;
export const AFFINITY = 0x4_0000;
export const GUARDED = 0x8_0000;
export const DROP = 0x10_0000;
export const REJECT = 0x20_0000;
/** More endpoints than a class can count are left unused. */
export const MAX_ENDPOINTS = COUNT_MASK;

/**
 * Handle of an endpoint for session affinity: service port number in the upper 18 bits, endpoint number from 1 on in
 * the lower 14. A service port's own id has 0 there.
 */
export const HANDLE_BITS = 14;
export const AFFINITY_ID_MASK = 0xffff_c000;
export const MAX_AFFINITY_IDS = 2 ** (32 - HANDLE_BITS) - 1;
export const MAX_AFFINITY_HANDLES = 2 ** HANDLE_BITS - 1;
/** Clients that all of session affinity remembers; each takes about 100 bytes of kernel memory. */
const MAX_CLIENTS = 1_048_576;

export const SET_NAMES = [
  'services',
  'endpoints',
  'local-services',
  'local-endpoints',
  'guarded-services',
  'source-ranges',
  'nodeports',
  'nodeport-endpoints',
  'local-nodeports',
  'local-nodeport-endpoints',
  'nodeport-ips',
  'cluster-ips',
  'service-cidrs',
  'hairpin',
  'masquerade-services',
  'masquerade-services-if-node',
  'masquerade-nodeports',
  'masquerade-nodeports-if-node',
  'affinity-services',
  'affinity-nodeports',
  'affinity-timeouts',
  'affinity-handles',
  'affinity-endpoints',
  'local-affinity-endpoints',
  'affinity',
  'dispatch',
  'guarded-dispatch',
  'local-dispatch',
  'nodeport-dispatch',
  'local-nodeport-dispatch',
  'affinity-record',
  'nodeport-affinity-record',
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
      endpoints: { key: [...frontend, 'mark'], data: target },
      'local-services': { key: frontend, data: mark },
      'local-endpoints': { key: [...frontend, 'mark'], data: target },
      'guarded-services': { key: frontend, data: mark },
      'source-ranges': { key: [...frontend, address], interval: true },
      nodeports: { key: port, data: mark },
      'nodeport-endpoints': { key: [...port, 'mark'], data: target },
      'local-nodeports': { key: port, data: mark },
      'local-nodeport-endpoints': { key: [...port, 'mark'], data: target },
      'nodeport-ips': { key: [address], interval: true },
      'cluster-ips': { key: [address] },
      'service-cidrs': { key: [address], interval: true },
      hairpin: { key: [address, address] },
      'masquerade-services': { key: frontend },
      'masquerade-services-if-node': { key: frontend },
      'masquerade-nodeports': { key: port },
      'masquerade-nodeports-if-node': { key: port },
      'affinity-services': { key: frontend, data: mark },
      'affinity-nodeports': { key: port, data: mark },
      'affinity-timeouts': { key: mark, data: mark },
      'affinity-handles': { key: ['mark', ...target], data: mark },
      'affinity-endpoints': { key: mark, data: target },
      'local-affinity-endpoints': { key: mark, data: target },
      affinity: { key: [address, 'mark'], data: mark, dynamic: true, size: MAX_CLIENTS },
      dispatch: { key: mark, data: 'verdict' },
      'guarded-dispatch': { key: mark, data: 'verdict' },
      'local-dispatch': { key: mark, data: 'verdict' },
      'nodeport-dispatch': { key: mark, data: 'verdict' },
      'local-nodeport-dispatch': { key: mark, data: 'verdict' },
      'affinity-record': { key: mark, data: 'verdict' },
      'nodeport-affinity-record': { key: mark, data: 'verdict' },
    },
  });
}

/**
 * Where a map's classes are looked up. Each has a dispatch map of its own: the kernel refuses a chain that looks up a
 * map which can lead back to that chain.
 */
export const DISPATCH: ReadonlyMap<SetName, SetName> = new Map([
  ['services', 'dispatch'],
  ['guarded-services', 'guarded-dispatch'],
  ['local-services', 'local-dispatch'],
  ['nodeports', 'nodeport-dispatch'],
  ['local-nodeports', 'local-nodeport-dispatch'],
]);
