/**
 * What the kernel holds against what must be there: at the start, after a failure, once an hour. What is ours is told
 * without a file, in this order:
 *
 *   the table stands      every frontend that it records as ours, and every address
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
import { FOREIGN, type SetName } from './layout.ts';
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

/** What a table says; undefined if it was never finished: verdicts are among what is added last. */
export function recordOf(mirror: Mirror<SetName> | undefined): Mirror<SetName> | undefined {
  return (mirror?.get('dispatch')?.size ?? 0) > 0 ? mirror : undefined;
}

/** --service-node-port-range of the API server, unless somebody changes it. */
const USUAL_NODE_PORTS = { first: 30_000, last: 32_767 } as const;

export function isOurs(server: VirtualServerState, heritage: Heritage): boolean {
  if ('mark' in server) return isOurMark(server.mark);
  const { record, addresses, upstream, localAddresses, isExcluded } = heritage;
  const { ip, port } = server;
  if (record !== undefined) {
    const protocol = server.protocol.toLowerCase();
    const recorded = record.get('services')?.get(serverName(server));
    if (recorded !== undefined) return Number.parseInt(recorded, 10) !== FOREIGN;
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
 * Steps that make every wanted virtual server what it is to be. Each of those that stand is listed whole, which is most
 * of the work.
 */
export async function mendSteps(
  ipvs: IPVS,
  found: readonly VirtualServerState[],
  wanted: ReadonlyMap<string, ServerSpec>,
  { book, now }: { readonly book: ServerBook; readonly now: number },
): Promise<readonly IPVSStep[]> {
  const steps: IPVSStep[] = [];
  const standing = new Map(found.map((server) => [serverName(server), server]));
  for (const [name, spec] of wanted) {
    const state = standing.get(name);
    if (state === undefined) steps.push(...book.change(undefined, spec, now));
    else steps.push(...book.mend(state, await ipvs.realServers(state), spec, now));
  }
  return steps;
}

/** Names of what is somebody else's, at addresses that were declared to be: it stays as it is even if a Service wants it. */
export function foreignNames(found: readonly VirtualServerState[], heritage: Heritage): ReadonlySet<string> {
  const foreign = found.filter(
    (server) => !('mark' in server) && heritage.isExcluded(server.ip) && !isOurs(server, heritage),
  );
  return new Set(foreign.map(serverName));
}
