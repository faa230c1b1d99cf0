/**
 * From changes of the model to what differs, purely: the planner remembers the service ports as they are programmed.
 *
 *   Change ─▶ records, claims ─▶ frontends touched ─▶ elements before and after ─▶ edits, early and late
 *                                                  └▶ virtual servers before and after
 *                                                  └▶ addresses that kube-ipvs0 gets and loses
 */
import type { Change, NftChain, NodeView, ServicePort } from '../../core/backend.ts';
import type { ServiceComplaint } from '../shared/complaints.ts';
import { createCounts } from '../shared/counts.ts';
import { createFrontendClaims, type FrontendClaim, NO_FRONTENDS } from '../shared/frontend-claims.ts';
import { type Frontend, frontendsOf, localIPs } from '../shared/frontends.ts';
import { removedKeys } from '../shared/removed-keys.ts';
import type { Description } from '../shared/table/edits.ts';
import { serviceCIDRElements } from '../shared/table/elements.ts';
import type { TableModel } from '../shared/table/layout.ts';
import { createNodeChains } from '../shared/table/node-chains.ts';
import { inPortions } from '../shared/table/portions.ts';
import { createSizes } from '../shared/table/sizes.ts';
import { type BalanceSettings, balanceOf, WEIGHT_ANNOTATION } from './balance.ts';
import { createEdits, type TimedEdits } from './edits.ts';
import {
  foreignElement,
  frontendElements,
  frontendServer,
  markServer,
  needsMark,
  type ServerSpec,
  type ServiceRecord,
} from './frontends.ts';
import { type Layout, layoutOf, type SetName } from './layout.ts';
import { createMarks } from './marks.ts';
import { nodePortAddresses } from './node-port-addresses.ts';
import { GATES, hookChains, innerChains, verdictElements } from './ruleset.ts';

export interface PlanSettings {
  readonly family: Change['family'];
  readonly comments: boolean;
  readonly balance: BalanceSettings;
}

/** A virtual server that comes, goes or changes. */
export interface ServerChange {
  readonly before: ServerSpec | undefined;
  readonly after: ServerSpec | undefined;
}

export interface Plan extends TimedEdits {
  readonly servers: readonly ServerChange[];
  /** Addresses for kube-ipvs0. */
  readonly bind: readonly string[];
  readonly unbind: readonly string[];
  /** Chains whose rules changed. */
  readonly changedChains: readonly NftChain[];
  readonly complaints: readonly ServiceComplaint[];
}

export interface Planner extends TableModel<SetName> {
  readonly layout: Layout;
  /** What this change alters against the last one, be it full or not. */
  apply(change: Change): Plan;
  /** Takes a full change without saying what it alters. `markOf`: what a table that stands says, by frontend. */
  adopt(change: Change, markOf: (frontend: string) => number | undefined): readonly ServiceComplaint[];
  /**
   * Names of virtual servers of somebody else: where Services want one, too, they get none. True if that alters what was
   * there; it is not said by the next `apply`.
   */
  leaveAlone(names: ReadonlySet<string>): boolean;
  /** Whether a Service wants this virtual server, left alone or not. */
  isWanted(name: string): boolean;
  /** Every virtual server that must exist. */
  servers(): Generator<ServerSpec>;
  /** Every address that kube-ipvs0 must have. */
  addresses(): ReadonlySet<string>;
  totals(): Readonly<Record<string, number>>;
}

type HeldFrontend = FrontendClaim<ServiceRecord>;
type MarkOf = (frontend: string) => number | undefined;

export function createPlanner({ family, comments, balance }: PlanSettings): Planner {
  const layout = layoutOf(family);
  const records = new Map<string, ServiceRecord>();
  /** By "address protocol port": virtual servers; those of node ports are claims like others. */
  const atAddresses = createFrontendClaims<ServiceRecord>();
  /** By "protocol port": node ports as the table has them. */
  const atNodePorts = createFrontendClaims<ServiceRecord>();
  const clusterIPs = createCounts();
  const externalIPs = createCounts();
  const localEndpoints = createCounts();
  const healthPorts = createCounts();
  const marks = createMarks();
  const sizes = createSizes<SetName>();
  const bound = new Set<string>();
  let left: ReadonlySet<string> = new Set();
  const edits = createEdits({ isOwn: (ip) => bound.has(ip), count: sizes.count });
  const chains = createNodeChains<SetName>({
    gates: GATES,
    isUsed: sizes.isUsed,
    make: (view) => ({
      inner: innerChains(layout, view, sizes.isUsed),
      hooks: hookChains(layout, view, sizes.isUsed),
    }),
  });
  let node: NodeView | undefined;
  let nodeAddresses: ReadonlySet<string> = new Set();
  let nodePortIPs: readonly string[] = [];
  let servers: ServerChange[] = [];
  let complaints: ServiceComplaint[] = [];
  let virtualServers = 0;
  let realServers = 0;

  /** Where connections arrive, node ports on each address. */
  function atAddressesOf(port: ServicePort): Map<string, Frontend> {
    const all = frontendsOf(port);
    for (const [key, frontend] of nodePortOf(port)) {
      all.delete(key);
      for (const ip of nodePortIPs) if (!all.has(`${ip} ${key}`)) all.set(`${ip} ${key}`, { ...frontend, ip });
    }
    return all;
  }

  function nodePortOf(port: ServicePort): ReadonlyMap<string, Frontend> {
    if (port.nodePort === 0) return NO_FRONTENDS;
    return new Map([...frontendsOf(port)].filter(([, { kind }]) => kind === 'nodePort'));
  }

  function changeServer(before: ServerSpec | undefined, after: ServerSpec | undefined): void {
    if (before === undefined && after === undefined) return;
    servers.push({ before, after });
    virtualServers += (after ? 1 : 0) - (before ? 1 : 0);
    realServers += (after?.reals.length ?? 0) - (before?.reals.length ?? 0);
  }

  function recordOf(port: ServicePort, before: ServiceRecord | undefined, markOf: MarkOf): ServiceRecord {
    const found = balanceOf(port, node!, balance);
    for (const complaint of found.complaints) complaints.push({ ...complaint, port });
    let { mark } = before ?? {};
    if (!needsMark(port)) {
      if (mark !== undefined) marks.release(mark);
      mark = undefined;
    } else if (mark === undefined) {
      let known: number | undefined;
      for (const key of frontendsOf(port).keys()) known ??= markOf(key);
      mark = marks.take(known);
    }
    return { port, balance: found.balance, mark, isDoubtful: found.complaints.length > 0 };
  }

  /** `record` undefined: the service port goes. */
  function replace(key: string, before: ServiceRecord | undefined, record: ServiceRecord | undefined): void {
    if (record === undefined) records.delete(key);
    else records.set(key, record);
    const old = before ? atAddressesOf(before.port) : NO_FRONTENDS;
    const fresh = record ? atAddressesOf(record.port) : NO_FRONTENDS;
    atAddresses.replace(key, old, record && { frontends: fresh, record });
    atNodePorts.replace(
      key,
      before ? nodePortOf(before.port) : NO_FRONTENDS,
      record && { frontends: nodePortOf(record.port), record },
    );
    for (const { kind, ip } of fresh.values()) countAddress(kind, ip, 1);
    for (const { kind, ip } of old.values()) countAddress(kind, ip, -1);
    for (const ip of localIPs(record?.port)) localEndpoints.add(ip, 1);
    for (const ip of localIPs(before?.port)) localEndpoints.add(ip, -1);
    if (record?.port.healthCheckNodePort) healthPorts.add(String(record.port.healthCheckNodePort), 1);
    if (before?.port.healthCheckNodePort) healthPorts.add(String(before.port.healthCheckNodePort), -1);
    changeServer(before && markServer(family, before), record && markServer(family, record));
    if (before?.mark === record?.mark) return;
    if (before?.mark !== undefined) edits.delete('mark-numbers', { key: [before.mark] });
    if (record?.mark !== undefined) edits.add('mark-numbers', { key: [record.mark] });
  }

  function countAddress(kind: Frontend['kind'], ip: string, by: 1 | -1): void {
    if (kind === 'clusterIP') clusterIPs.add(ip, by);
    else if (kind !== 'nodePort') externalIPs.add(ip, by);
  }

  function upsert(port: ServicePort, markOf: MarkOf, full: boolean): void {
    const before = records.get(port.key);
    // The kernel may have the scheduler by now that a Service was refused.
    if (before?.port === port && !(full && before.isDoubtful)) return;
    replace(port.key, before, recordOf(port, before, markOf));
  }

  function remove(key: string): void {
    const before = records.get(key);
    if (before === undefined) return;
    if (before.mark !== undefined) marks.release(before.mark);
    replace(key, before, undefined);
  }

  /** Before service ports change: what is remembered must be what was programmed with the node as it was. */
  function moveTo(next: NodeView): void {
    const last = node;
    const nextIPs = next === last ? nodePortIPs : nodePortAddresses(next);
    const came = nextIPs.filter((ip) => !nodePortIPs.includes(ip));
    const gone = nodePortIPs.filter((ip) => !nextIPs.includes(ip));
    if (came.length + gone.length > 0) {
      for (const ip of gone) edits.delete('nodeport-ips', { key: [ip] });
      for (const ip of came) edits.add('nodeport-ips', { key: [ip] });
      for (const [key, record] of records) moveNodePort(key, record, came, gone);
      nodePortIPs = nextIPs;
    }
    node = next;
    if (last === next) return;
    edits.difference(last && ((emit) => serviceCIDRElements(last, emit)), (emit) => serviceCIDRElements(next, emit));
    const before = nodeAddresses;
    nodeAddresses = new Set(next.addresses);
    // An address that comes to an interface is the node's; one that goes may be ours to serve.
    for (const ip of [...before, ...nodeAddresses]) {
      if (before.has(ip) === nodeAddresses.has(ip) || !externalIPs.has(ip)) continue;
      externalIPs.add(ip, 1);
      externalIPs.add(ip, -1);
    }
    if (last === undefined || (last.zone === next.zone && last.name === next.name)) return;
    for (const [key, record] of [...records]) {
      if (WEIGHT_ANNOTATION in record.port.annotations) replace(key, record, recordOf(record.port, record, noMark));
    }
  }

  function moveNodePort(key: string, record: ServiceRecord, came: readonly string[], gone: readonly string[]): void {
    for (const [at, frontend] of nodePortOf(record.port)) {
      for (const ip of gone) {
        const own = atAddresses.held(`${ip} ${at}`, key);
        if (own?.frontend.kind === 'nodePort') atAddresses.release(`${ip} ${at}`, key);
      }
      for (const ip of came) {
        if (atAddresses.held(`${ip} ${at}`, key) !== undefined) continue;
        atAddresses.claim(`${ip} ${at}`, key, { ...frontend, ip }, record);
      }
    }
  }

  /** Turns what was touched into edits. */
  function settle(): { readonly bind: readonly string[]; readonly unbind: readonly string[] } {
    atAddresses.settle((key, before, after) => {
      const isLeft = left.has(key);
      edits.difference(atAddress(before, isLeft), atAddress(after, isLeft));
      changeServer(serverOf(before, isLeft), serverOf(after, isLeft));
    });
    atNodePorts.settle((_key, before, after) => edits.difference(elementsOf(before), elementsOf(after)));
    healthPorts.settle((port, present) => edits[present ? 'add' : 'delete']('health-ports', { key: [Number(port)] }));
    localEndpoints.settle((ip, present) => edits[present ? 'add' : 'delete']('hairpin', { key: [ip, ip] }));
    const moved = new Set([...clusterIPs.takeTouched(), ...externalIPs.takeTouched()]);
    const bind: string[] = [];
    const unbind: string[] = [];
    for (const ip of moved) {
      const wanted = clusterIPs.has(ip) || (externalIPs.has(ip) && !nodeAddresses.has(ip));
      if (wanted === bound.has(ip)) continue;
      (wanted ? bind : unbind).push(ip);
      edits[wanted ? 'add' : 'delete']('addresses', { key: [ip] });
    }
    for (const ip of bind) bound.add(ip);
    for (const ip of unbind) bound.delete(ip);
    return { bind, unbind };
  }

  function elementsOf(claim: HeldFrontend | undefined): Description<SetName> | undefined {
    return claim && ((emit) => frontendElements(claim.frontend, claim.record, comments, emit));
  }

  /** Node ports have elements of their own. */
  function atAddress(claim: HeldFrontend | undefined, isLeft: boolean): Description<SetName> | undefined {
    if (claim === undefined || claim.frontend.kind === 'nodePort') return undefined;
    return isLeft ? (emit) => emit('services', foreignElement(claim.frontend, claim.record)) : elementsOf(claim);
  }

  function serverOf(claim: HeldFrontend | undefined, isLeft: boolean): ServerSpec | undefined {
    return claim === undefined || isLeft ? undefined : frontendServer(claim.frontend, claim.record);
  }

  function take(change: Change, markOf: MarkOf): Plan {
    servers = [];
    complaints = [];
    moveTo(change.node);
    for (const key of removedKeys(records.keys(), change)) remove(key);
    for (const port of change.upsert) upsert(port, markOf, change.full);
    const { bind, unbind } = settle();
    // Which sets are in use is known now.
    const changedChains = chains.settle(change.node);
    return { ...edits.take(), servers, bind, unbind, changedChains, complaints };
  }

  function* frontendsHeld(record: ServiceRecord): Generator<readonly [claim: HeldFrontend, isLeft: boolean]> {
    for (const key of atAddressesOf(record.port).keys()) {
      const winner = atAddresses.winner(key);
      if (winner?.owner === record.port.key) yield [winner, left.has(key)];
    }
  }

  function* everything(): Generator<Description<SetName>> {
    for (const record of records.values()) {
      yield (emit) => {
        for (const [claim, isLeft] of frontendsHeld(record)) atAddress(claim, isLeft)?.(emit);
        for (const [key, frontend] of nodePortOf(record.port)) {
          if (atNodePorts.winner(key)?.owner === record.port.key) frontendElements(frontend, record, comments, emit);
        }
        if (record.mark !== undefined) emit('mark-numbers', { key: [record.mark] });
      };
    }
    yield (emit) => {
      for (const ip of bound) emit('addresses', { key: [ip] });
      for (const ip of nodePortIPs) emit('nodeport-ips', { key: [ip] });
      for (const ip of localEndpoints.keys()) emit('hairpin', { key: [ip, ip] });
      for (const port of healthPorts.keys()) emit('health-ports', { key: [Number(port)] });
      if (node !== undefined) serviceCIDRElements(node, emit);
      for (const [set, element] of verdictElements()) emit(set, element);
    };
  }

  return {
    layout,
    apply: (change) => take(change, noMark),
    adopt: (change, markOf) => take(change, markOf).complaints,

    leaveAlone(names) {
      const others = [...new Set([...left, ...names])].filter((name) => left.has(name) !== names.has(name));
      const moved = others.filter((name) => atAddresses.winner(name) !== undefined);
      for (const name of moved) {
        const claim = atAddresses.winner(name);
        edits.difference(atAddress(claim, left.has(name)), atAddress(claim, names.has(name)));
        changeServer(serverOf(claim, left.has(name)), serverOf(claim, names.has(name)));
      }
      left = names;
      edits.take();
      return moved.length > 0;
    },
    isWanted: (name) => atAddresses.winner(name) !== undefined,

    *servers() {
      for (const record of records.values()) {
        for (const [claim, isLeft] of frontendsHeld(record)) {
          const spec = serverOf(claim, isLeft);
          if (spec !== undefined) yield spec;
        }
        const marked = markServer(family, record);
        if (marked !== undefined) yield marked;
      }
    },
    addresses: () => bound,

    elements: (portion) => inPortions(portion, everything()),
    chains: () => chains.all(),
    sizes: () => sizes.all(),

    totals: () => ({ virtual_servers: virtualServers, real_servers: realServers, addresses: bound.size }),
  };
}

function noMark(): undefined {
  return undefined;
}
