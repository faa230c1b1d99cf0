/**
 * What the kernel holds against what must be there: at the start, after a failure, once an hour. What is ours is told
 * without a file, in this order:
 *
 *   the table stands      every frontend that it records, and every address
 *   it does not           what is at an address of kube-ipvs0, and the addresses themselves; of node ports of an
 *                         upstream kube-proxy those at this host's addresses in the usual range
 *   in any case           virtual servers of marks in our range, and what is wanted by a Service
 *
 * Excluded addresses: what stands there, and is not in the record, is neither changed nor deleted.
 */
import type { IPVS, IPVSStep, VirtualServerState } from '../../core/backend.ts';
import type { Mirror } from '../shared/table/mirror.ts';
import type { ServerBook } from './book.ts';
import { type ServerSpec, serverName } from './frontends.ts';
import type { SetName } from './layout.ts';
import { isOurMark } from './marks.ts';

/** What stood there before, as far as somebody wrote it down. */
export interface Heritage {
  /** Undefined: there is no table, or one that cannot be read. */
  readonly record: Mirror<SetName> | undefined;
  /** Addresses of kube-ipvs0, of this family. */
  readonly addresses: ReadonlySet<string>;
  /** An upstream kube-proxy in IPVS mode was here. */
  readonly upstream: boolean;
  /** Of this host's other interfaces. */
  readonly localAddresses: readonly string[];
  readonly isExcluded: (ip: string) => boolean;
}

/** --service-node-port-range of the API server, unless somebody changes it. */
const USUAL_NODE_PORTS = { first: 30_000, last: 32_767 } as const;

export function isOurs(server: VirtualServerState, heritage: Heritage): boolean {
  if ('mark' in server) return isOurMark(server.mark);
  const { record, addresses, upstream, localAddresses, isExcluded } = heritage;
  const { ip, port } = server;
  if (record !== undefined) {
    const protocol = server.protocol.toLowerCase();
    if (record.get('services')?.has(serverName(server))) return true;
    if (record.get('nodeports')?.has(`${protocol} ${port}`) && record.get('nodeport-ips')?.has(ip)) return true;
    return record.get('addresses')?.has(ip) === true && !isExcluded(ip);
  }
  if (isExcluded(ip)) return false;
  if (addresses.has(ip)) return true;
  return upstream && localAddresses.includes(ip) && port >= USUAL_NODE_PORTS.first && port <= USUAL_NODE_PORTS.last;
}

/** Addresses of kube-ipvs0 that are ours to remove. */
export function ourAddresses({ record, addresses }: Heritage): readonly string[] {
  const recorded = record?.get('addresses');
  return recorded === undefined ? [...addresses] : [...addresses].filter((ip) => recorded.has(ip));
}

/** Deletes what is ours and nobody wants. */
export function staleSteps(
  found: readonly VirtualServerState[],
  wanted: ReadonlyMap<string, ServerSpec>,
  heritage: Heritage,
): readonly IPVSStep[] {
  const stale = found.filter((server) => !wanted.has(serverName(server)) && isOurs(server, heritage));
  return stale.map((server) => ({ do: 'delete virtual server', server }));
}

/**
 * Steps that make every wanted virtual server what it is to be. Those of a listing before; each that stands is listed
 * whole, which is most of the work. Without a `heritage` nothing stands that could be somebody else's.
 */
export async function mendSteps(
  ipvs: IPVS,
  found: readonly VirtualServerState[],
  wanted: ReadonlyMap<string, ServerSpec>,
  { book, heritage, now }: { readonly book: ServerBook; readonly heritage: Heritage | undefined; readonly now: number },
): Promise<{ readonly steps: readonly IPVSStep[]; readonly leftAlone: readonly string[] }> {
  const steps: IPVSStep[] = [];
  const leftAlone: string[] = [];
  const standing = new Map(found.map((server) => [serverName(server), server]));
  for (const [name, spec] of wanted) {
    const state = standing.get(name);
    if (state === undefined) steps.push(...book.change(undefined, spec, now));
    else if (heritage !== undefined && isForeign(state, heritage)) {
      book.leaveAlone(name);
      leftAlone.push(name);
    } else if (!book.isLeftAlone(name)) {
      steps.push(...book.mend(state, await ipvs.realServers(state), spec, now));
    }
  }
  return { steps, leftAlone };
}

/** Somebody else's, at an address that was declared to be: it stays as it is even if a Service wants it. */
function isForeign(server: VirtualServerState, heritage: Heritage): boolean {
  return !('mark' in server) && heritage.isExcluded(server.ip) && !isOurs(server, heritage);
}
