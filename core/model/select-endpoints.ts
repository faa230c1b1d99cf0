/**
 * Which endpoints of one service port this node may use: one decision for all backends.
 *
 *              ┌─ ready, those that hints keep for this node, else for its zone, else all ─┐
 *   cluster ◀──┤                                                                           │
 *              └─ none ready anywhere: all that serve while terminating                    │
 *              ┌─ ready, on this node (hints do not apply)                                 │
 *   local   ◀──┤                                                                           │
 *              └─ none ready on this node: those of this node that serve while terminating │
 *   hasEndpoints ◀── anything in any of these, anywhere ───────────────────────────────────┘
 *
 * The two lists fall back independently. An endpoint that serves but is neither ready nor terminating is never used;
 * flows that it already has may stay, and so may those of every other endpoint that is merely not chosen (`unchosen`).
 */
import type { Endpoint } from '../backend.ts';
import type { SliceEndpoint } from './objects.ts';

/** An address of a service port, before selection. */
export interface Candidate {
  readonly endpoint: SliceEndpoint;
  readonly port: number;
  /** Of its slice. */
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

export interface Selection {
  readonly cluster: readonly Endpoint[];
  readonly local: readonly Endpoint[];
  readonly hasEndpoints: boolean;
  /** Endpoints in neither list that still serve, for `keepsFlows`; empty otherwise. */
  readonly unchosen: readonly Endpoint[];
}

export interface Selector {
  readonly nodeName: string;
  /** "" when unknown: then no zone is this node's. */
  readonly zone: string;
  /** Whether any destination of the service port uses the list; an unused one stays empty. */
  readonly usesCluster: boolean;
  readonly usesLocal: boolean;
  /** Whether `unchosen` is asked for. */
  readonly keepsFlows: boolean;
}

const NONE: readonly Endpoint[] = [];

/** Keeps the order of the candidates. */
export function selectEndpoints(candidates: readonly Candidate[], selector: Selector): Selection {
  const ready = candidates.filter(({ endpoint }) => endpoint.ready);
  const terminating = candidates.filter(({ endpoint }) => !endpoint.ready && endpoint.serving && endpoint.terminating);
  const here = ({ endpoint }: Candidate): boolean =>
    endpoint.nodeName !== '' && endpoint.nodeName === selector.nodeName;
  // One object per endpoint, shared by both lists: with a million of them it shows.
  const made = new Map<Candidate, Endpoint>();
  const make = (candidate: Candidate): Endpoint => {
    const known = made.get(candidate);
    if (known !== undefined) return known;
    const { ip, ready: isReady, nodeName, zone } = candidate.endpoint;
    const { port, annotations } = candidate;
    const bare = { ip, port, isLocal: here(candidate), ready: isReady, nodeName, zone };
    const endpoint = annotations ? { ...bare, annotations } : bare;
    made.set(candidate, endpoint);
    return endpoint;
  };
  const readyHere = selector.usesLocal ? ready.filter(here) : [];
  const localChoice = readyHere.length > 0 || !selector.usesLocal ? readyHere : terminating.filter(here);
  const clusterChoice = ready.length > 0 ? keptByHints(ready, selector) : terminating;
  const cluster = selector.usesCluster ? clusterChoice.map(make) : NONE;
  const local = localChoice.map(make);
  // Serving is enough here, and ready too: an author may publish addresses that are not ready as if they were.
  const stays = ({ endpoint }: Candidate): boolean => endpoint.ready || endpoint.serving;
  const unchosen = (candidate: Candidate): boolean => stays(candidate) && !made.has(candidate);
  return {
    cluster,
    local,
    unchosen: selector.keepsFlows ? candidates.filter(unchosen).map(make) : NONE,
    hasEndpoints: ready.length > 0 || terminating.length > 0,
  };
}

/**
 * Hints are followed only if every ready endpoint has them and one of them names us. Otherwise the controller is
 * still at work (or this node is new), and following them could leave a few endpoints with all the traffic.
 */
function keptByHints(ready: readonly Candidate[], { nodeName, zone }: Selector): readonly Candidate[] {
  if (nodeName !== '' && ready.every(({ endpoint }) => endpoint.hintNodes.length > 0)) {
    const sameNode = ready.filter(({ endpoint }) => endpoint.hintNodes.includes(nodeName));
    if (sameNode.length > 0) return sameNode;
  }
  if (zone !== '' && ready.every(({ endpoint }) => endpoint.hintZones.length > 0)) {
    const sameZone = ready.filter(({ endpoint }) => endpoint.hintZones.includes(zone));
    if (sameZone.length > 0) return sameZone;
  }
  return ready;
}
