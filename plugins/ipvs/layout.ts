/**
 * The table beside IPVS: its sets, and what the numbers in them mean. IPVS balances and translates; the table refuses,
 * drops, marks and masquerades, and it is the record of which virtual servers are ours.
 *
 *   services           address . protocol . port  → class       every frontend with an address of its own
 *   nodeports          protocol . port            → class       on the addresses in nodeport-ips
 *   source-ranges      address . protocol . port . source range
 *   marks              address . protocol . port  → mark        external frontends with policy Local: pods of this node
 *   nodeport-marks     protocol . port            → mark        and the node itself use the virtual server of the mark
 *   mark-numbers       the marks in use
 *   addresses          those that we put on kube-ipvs0
 *   hairpin            endpoints that may run on this node, twice each
 *   health-ports       health check node ports, which kube-proxy itself answers at every address
 *
 * A class, carried by `meta priority` from the map to the chain:
 *
 *   bits 0-3   what becomes of a connection (plugins/shared/table/verdicts.ts)
 *   bits 4-5   who is masqueraded: as to external frontends, those with policy Local, ClusterIPs; none of these where
 *              the virtual server is somebody else's
 */
import type { IPFamily } from '../../core/backend.ts';
import { keyTypes, type TableLayout, tableLayout } from '../shared/table/layout.ts';
import { PASS } from '../shared/table/verdicts.ts';

export const TABLE = 'kube-ipvs';
/** Changed whenever a table made by an earlier version cannot be brought up to date piece by piece. */
export const TABLE_COMMENT = 'Kubernetes Services beside IPVS; layout 1';
/** The interface that makes Service addresses the node's own; upstream's has this name, too. */
export const INTERFACE = 'kube-ipvs0';

export const FROM_EXTERNAL = 0x10;
export const FROM_EXTERNAL_LOCAL = 0x20;
export const FROM_CLUSTER_IP = 0x30;
export const SOURCE_MASK = 0x30;
/** The class of a frontend whose virtual server is somebody else's. */
export const FOREIGN = PASS;

/**
 * Marks of virtual servers: those in this range are ours. They live from the input (or output) hook to IPVS and never
 * meet other hooks.
 */
export const FIRST_MARK = 0x4b50_0001;
export const LAST_MARK = 0x4b5f_ffff;

export const SET_NAMES = [
  'services',
  'nodeports',
  'source-ranges',
  'marks',
  'nodeport-marks',
  'mark-numbers',
  'addresses',
  'nodeport-ips',
  'service-cidrs',
  'hairpin',
  'health-ports',
  'dispatch',
  'guarded-dispatch',
  'nodeport-dispatch',
  'sources',
] as const;
export type SetName = (typeof SET_NAMES)[number];

export type Layout = TableLayout<SetName>;

export function layoutOf(family: IPFamily): Layout {
  const { address, port, frontend, mark } = keyTypes(family);
  return tableLayout(family, {
    name: TABLE,
    comment: TABLE_COMMENT,
    setNames: SET_NAMES,
    shapes: {
      services: { key: frontend, data: mark },
      nodeports: { key: port, data: mark },
      'source-ranges': { key: [...frontend, address], interval: true },
      marks: { key: frontend, data: mark },
      'nodeport-marks': { key: port, data: mark },
      'mark-numbers': { key: mark },
      addresses: { key: [address] },
      'nodeport-ips': { key: [address] },
      'service-cidrs': { key: [address], interval: true },
      hairpin: { key: [address, address] },
      'health-ports': { key: ['inet_service'] },
      dispatch: { key: mark, data: 'verdict' },
      'guarded-dispatch': { key: mark, data: 'verdict' },
      'nodeport-dispatch': { key: mark, data: 'verdict' },
      sources: { key: mark, data: 'verdict' },
    },
  });
}
