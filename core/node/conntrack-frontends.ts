/**
 * Which UDP flows conntrack may keep: pure knowledge, for one family, of what was programmed last and what moved since
 * somebody looked through the table.
 *
 *   Change ──apply──▶ UDP service ports, their frontends, who owns each ─┐
 *                └──▶ touched: frontends that moved, with whom they led to ─┴─take──▶ Search: which flows are stale?
 *
 * | destination of the flow          | stale when it is answered by                                     |
 * |----------------------------------|------------------------------------------------------------------|
 * | a frontend that someone owns     | anyone who is not an endpoint of the owner (also the destination |
 * |                                  | itself: the flow began before there was a rule for it)           |
 * | a frontend that nobody owns now  | an endpoint that it used to lead to                              |
 * | anything else                    | never                                                            |
 *
 * A backend may answer in the endpoints' stead: "an endpoint" is then where it answers, for an owner that has endpoints.
 * An owner without endpoints lets go of every flow: the client is refused at once instead of talking to an address
 * that is gone for as long as it keeps talking. Frontends are addresses with a port, and node ports on every address
 * that accepts them; who owns one that several claim is the rule of core/model/claims.ts.
 *
 * Only UDP is remembered, so that a change of other service ports costs one comparison each.
 */
import type { AddressPort, Change, NodeView, ServicePort } from '../backend.ts';
import { type Claim, compareClaims, type DestinationKind, frontends } from '../model/claims.ts';
import { ipPort } from '../model/ip.ts';
import { acceptsNodePorts } from '../model/oracle.ts';

/** A flow as conntrack knows it: where the client sent to, and who answers. Addresses are canonical text. */
export interface Flow {
  readonly destinationIP: string;
  readonly destinationPort: number;
  readonly replyIP: string;
  readonly replyPort: number;
}

/** What to look for. Judges with what is known when it is asked, which may be more than when it was made. */
export interface Search {
  /** Flows that nobody translated can be stale, too: they began before there was a frontend. */
  readonly untranslated: boolean;
  /** The only port that flows which can be stale are sent to; 0: there are several. */
  readonly onlyPort: number;
  /** Can a flow to this port be stale? Cheap; to be asked first. */
  hasPort(destinationPort: number): boolean;
  isStale(flow: Flow): boolean;
}

export interface UDPFrontends {
  /**
   * Note a change that took effect. A full one makes the next search look at every frontend. `answersAt`: where the
   * backend answers itself; undefined: endpoints do.
   */
  apply(change: Change, answersAt?: readonly AddressPort[]): void;
  /** Has anything moved since the last take()? */
  moved(): boolean;
  /** A search for what moved since the last call; undefined when nothing did. */
  take(): Search | undefined;
  /** The last search that was taken could not be made: look for the same again, and for what has moved since. */
  giveBack(): void;
}

/** "10.96.0.10:53", or ":30053" for a node port. */
type FrontendKey = string;

interface Moved {
  /** All frontends are to be looked at, and not only those below. */
  everything: boolean;
  untranslated: boolean;
  /** Frontends that moved, with service ports that they led to before (as these were then). */
  readonly touched: Map<FrontendKey, ServicePort[]>;
  /** Addresses that used to accept node ports and do not any more. */
  readonly formerAddresses: Set<string>;
  /** Where a backend answered that does not any more. */
  readonly formerAnswerers: Set<string>;
}

/** More former service ports than this are not remembered while searches fail. */
const MOST_FORMER = 20_000;

export function createUDPFrontends(): UDPFrontends {
  const ports = new Map<string, ServicePort>();
  const claims = new Map<FrontendKey, readonly Claim[]>();
  let nodePorts = 0;
  let node: NodeView | undefined;
  /** Where the backend answers in the endpoints' stead. */
  let answering: ReadonlySet<string> | undefined;
  let moved: Moved | undefined;
  let taken: Moved | undefined;

  function note(): Moved {
    moved ??= {
      everything: false,
      untranslated: false,
      touched: new Map(),
      formerAddresses: new Set(),
      formerAnswerers: new Set(),
    };
    return moved;
  }

  function touch(key: FrontendKey, before?: ServicePort): void {
    const { touched } = note();
    const former = touched.get(key) ?? [];
    if (before) former.push(before);
    touched.set(key, former);
  }

  function claim(port: ServicePort): void {
    for (const [key, kind] of frontendsOf(port)) {
      claims.set(key, [...(claims.get(key) ?? []), { kind, servicePort: port }]);
    }
    ports.set(port.key, port);
    if (port.nodePort !== 0) nodePorts++;
  }

  function release(port: ServicePort): void {
    for (const key of frontendsOf(port).keys()) {
      const others = (claims.get(key) ?? []).filter(({ servicePort }) => servicePort !== port);
      if (others.length > 0) claims.set(key, others);
      else claims.delete(key);
    }
    ports.delete(port.key);
    if (port.nodePort !== 0) nodePorts--;
  }

  /** All to which a flow may stay, whichever list its first packet was balanced over. */
  function answerersOf(port: ServicePort): ReadonlySet<string> {
    const endpoints = endpointsOf(port);
    return answering === undefined || endpoints.size === 0 ? endpoints : answering;
  }

  function answerSame(a: ServicePort, b: ServicePort): boolean {
    if (a.cluster === b.cluster && a.local === b.local && a.keepsFlowsUDP === b.keepsFlowsUDP) return true;
    return sameKeys(answerersOf(a), answerersOf(b));
  }

  function owner(key: FrontendKey): ServicePort | undefined {
    let best: Claim | undefined;
    for (const next of claims.get(key) ?? []) if (best === undefined || compareClaims(next, best) < 0) best = next;
    return best?.servicePort;
  }

  function replace(before: ServicePort | undefined, after: ServicePort | undefined): void {
    if (before === after) return;
    if (!before || !after || !sameFrontends(before, after) || !answerSame(before, after)) noteDifference(before, after);
    if (before) release(before);
    if (after) claim(after);
  }

  function noteDifference(before: ServicePort | undefined, after: ServicePort | undefined): void {
    const were = before && frontendsOf(before);
    for (const key of were?.keys() ?? []) touch(key, before);
    if (!after) return;
    const added = [...frontendsOf(after).keys()].filter((key) => !were?.has(key));
    for (const key of added) touch(key);
    // Flows to a frontend that was there and led somewhere were translated.
    if (added.length > 0 || !before || endpointsOf(before).size === 0) note().untranslated = true;
  }

  function replaceNode(after: NodeView): void {
    const before = node;
    node = after;
    if (before === undefined || before === after || nodePorts === 0) return;
    const [were, are] = [acceptedAddresses(before), acceptedAddresses(after)];
    const gone = [...were].filter((ip) => !are.has(ip));
    const added = [...are].filter((ip) => !were.has(ip));
    if (gone.length === 0 && added.length === 0) return;
    for (const key of claims.keys()) if (key.startsWith(':')) touch(key, owner(key));
    const { formerAddresses } = note();
    for (const ip of gone) formerAddresses.add(ip);
    for (const ip of added) formerAddresses.delete(ip);
    if (added.length > 0) note().untranslated = true;
  }

  function search({ everything, untranslated, touched, formerAddresses, formerAnswerers }: Moved): Search {
    const portsOf = new Set<number>();
    for (const key of touched.keys()) portsOf.add(portOf(key));
    if (everything) for (const key of claims.keys()) portsOf.add(portOf(key));
    /** By identity: a service port that has changed since is another object. */
    const made = new Map<ServicePort, ReadonlySet<string>>();
    const answerers = (port: ServicePort): ReadonlySet<string> => {
      const known = made.get(port) ?? answerersOf(port);
      made.set(port, known);
      return known;
    };
    /** Whichever backend translated it: one that answers itself may have come, or gone, with the same change. */
    const led = (key: FrontendKey, answerer: string): boolean => {
      const former = touched.get(key) ?? [];
      if (former.length === 0) return false;
      if (answering?.has(answerer) || formerAnswerers.has(answerer)) return true;
      return former.some((port) => endpointsOf(port).has(answerer));
    };

    return {
      untranslated,
      onlyPort: portsOf.size === 1 ? [...portsOf][0]! : 0,
      hasPort: (port) => portsOf.has(port),
      isStale({ destinationIP, destinationPort, replyIP, replyPort }) {
        const exact = ipPort(destinationIP, destinationPort);
        const onAnyAddress = nodePortKey(destinationPort);
        if (!everything && !touched.has(exact) && !touched.has(onAnyAddress)) return false;
        const answerer = ipPort(replyIP, replyPort);
        const exactOwner = owner(exact);
        if (exactOwner) return (everything || touched.has(exact)) && !answerers(exactOwner).has(answerer);
        const accepted = node !== undefined && acceptsNodePorts(node.nodePortAddresses, destinationIP, node);
        const nodePortOwner = accepted ? owner(onAnyAddress) : undefined;
        if (nodePortOwner) return !answerers(nodePortOwner).has(answerer);
        // Nobody's now. An untranslated flow is as it should be.
        if (answerer === exact) return false;
        if (led(exact, answerer)) return true;
        return (accepted || formerAddresses.has(destinationIP)) && led(onAnyAddress, answerer);
      },
    };
  }

  return {
    apply(change, answersAt) {
      const own = answersAt && new Set(answersAt.map(({ ip, port }) => ipPort(ip, port)));
      const isElsewhere = !sameKeys(own, answering);
      if (isElsewhere && ports.size > 0) for (const key of answering ?? []) note().formerAnswerers.add(key);
      answering = own;
      for (const key of change.remove) replace(ports.get(key), undefined);
      for (const port of change.upsert) if (port.protocol === 'UDP') replace(ports.get(port.key), port);
      if (isElsewhere && ports.size > 0) note().everything = true;
      if (change.full) {
        const there = new Set<string>();
        for (const port of change.upsert) if (port.protocol === 'UDP') there.add(port.key);
        for (const port of [...ports.values()]) if (!there.has(port.key)) replace(port, undefined);
        if (ports.size > 0) Object.assign(note(), { everything: true, untranslated: true });
      }
      replaceNode(change.node);
    },
    moved: () => moved !== undefined,
    take() {
      if (moved === undefined) return undefined;
      taken = moved;
      moved = undefined;
      return search(taken);
    },
    giveBack() {
      if (taken === undefined) return;
      const now = note();
      now.everything ||= taken.everything;
      now.untranslated ||= taken.untranslated;
      for (const [key, former] of taken.touched) now.touched.set(key, [...former, ...(now.touched.get(key) ?? [])]);
      for (const ip of taken.formerAddresses) now.formerAddresses.add(ip);
      for (const key of taken.formerAnswerers) now.formerAnswerers.add(key);
      taken = undefined;
      let remembered = 0;
      for (const former of now.touched.values()) remembered += former.length + 1;
      if (remembered <= MOST_FORMER) return;
      now.touched.clear();
      Object.assign(now, { everything: true, untranslated: true });
    },
  };
}

/** Every frontend once, as the strongest kind that it is. */
function frontendsOf(port: ServicePort): ReadonlyMap<FrontendKey, DestinationKind> {
  const keys = new Map<FrontendKey, DestinationKind>();
  for (const { kind, ip } of frontends(port)) {
    const key = ipPort(ip, port.port);
    if (!keys.has(key)) keys.set(key, kind);
  }
  if (port.nodePort !== 0) keys.set(nodePortKey(port.nodePort), 'nodePort');
  return keys;
}

function nodePortKey(port: number): FrontendKey {
  return `:${port}`;
}

function portOf(key: FrontendKey): number {
  return Number(key.slice(key.lastIndexOf(':') + 1));
}

function endpointsOf({ cluster, local, keepsFlowsUDP = [] }: ServicePort): ReadonlySet<string> {
  const keys = new Set<string>();
  for (const list of [cluster, local, keepsFlowsUDP]) for (const { ip, port } of list) keys.add(ipPort(ip, port));
  return keys;
}

function sameKeys(a: ReadonlySet<string> | undefined, b: ReadonlySet<string> | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && a.size === b.size && [...a].every((key) => b.has(key)));
}

function sameFrontends(a: ServicePort, b: ServicePort): boolean {
  const [left, right] = [frontendsOf(a), frontendsOf(b)];
  return left.size === right.size && [...left].every(([key, kind]) => right.get(key) === kind);
}

/** Addresses on which node ports answer; 127.0.0.0/8 stands as one. */
function acceptedAddresses(node: NodeView): ReadonlySet<string> {
  const { nodePortAddresses: accepted, addresses } = node;
  const candidates = accepted.match === 'list' ? accepted.addresses : addresses;
  return new Set(candidates.filter((ip) => acceptsNodePorts(accepted, ip, node)));
}
