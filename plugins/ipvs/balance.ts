/**
 * How a service port's connections are spread: the scheduler, and each endpoint's weight, by annotations of the Service
 * and of its EndpointSlices. Pure: what is wrong is told as a complaint, and the default is used.
 *
 *   kube-proxy.io/ipvs-scheduler: mh-port            any scheduler of the kernel; mh and sh with -port
 *   kube-proxy.io/ipvs-weight: "node/big=5, zone/a=3, same-node=2, same-zone=2, 1"      of a Service
 *   kube-proxy.io/ipvs-weight: "5"                                                      of an EndpointSlice
 *
 * An endpoint's weight is that of its node, else of its zone, else of being on this node, else of being in this zone,
 * else its EndpointSlice's, else the plain number, else 1.
 */
import type { Endpoint, NodeView, ServicePort } from '../../core/backend.ts';

export const SCHEDULER_ANNOTATION = 'kube-proxy.io/ipvs-scheduler';
export const WEIGHT_ANNOTATION = 'kube-proxy.io/ipvs-weight';

export interface Scheduler {
  /** As the kernel names it. */
  readonly name: string;
  readonly hashPort: boolean;
  readonly hashFallback: boolean;
}

export interface Balance {
  readonly scheduler: Scheduler;
  /** Keeps a client at its endpoint by the client's address, where session affinity itself cannot. */
  readonly hash: Scheduler;
  /** 0: no new connections. */
  weight(endpoint: Endpoint): number;
}

export interface Complaint {
  readonly reason: 'InvalidIPVSScheduler' | 'InvalidIPVSWeight';
  readonly note: string;
}

export interface BalanceSettings {
  readonly scheduler: Scheduler;
  /** Why this kernel has no such scheduler; undefined if it has. */
  lack(name: string): string | undefined;
}

const MOST_WEIGHT = 65_535;
/** Faults of one annotation that are told one by one. */
const MOST_NAMED = 3;
/** They look at weights only to pass over 0. */
const WEIGHTLESS = new Set(['rr', 'lc', 'dh']);
/** What takes the place of one of those where the Service gives weights and asks for no scheduler. */
const WEIGHTED: Readonly<Record<string, string>> = { rr: 'wrr', lc: 'wlc' };

/** "mh-port", "sh", "wlc", …, "-fallback" being understood; undefined if it cannot be a scheduler. */
export function parseScheduler(text: string): Scheduler | undefined {
  const [, base, flags] = /^(mh|sh)((?:-port|-fallback){0,2})$/.exec(text) ?? [];
  if (base !== undefined && flags !== undefined) {
    // Otherwise the kernel refuses clients that hash to an endpoint for as long as that one ends gracefully.
    return { name: base, hashPort: flags.includes('-port'), hashFallback: true };
  }
  return /^[a-z][a-z0-9_]{0,14}$/.test(text) ? { name: text, hashPort: false, hashFallback: false } : undefined;
}

/** The scheduler that a Service asks for; undefined if it asks for none, or for nothing that could be one. */
export function wantedScheduler({ annotations }: ServicePort): Scheduler | undefined {
  const text = annotations[SCHEDULER_ANNOTATION];
  return text === undefined ? undefined : parseScheduler(text.trim());
}

/** Names of the schedulers that `balanceOf` may choose for this service port, beside the default. */
export function schedulersFor(port: ServicePort, usual: Scheduler): readonly string[] {
  const asked = wantedScheduler(port);
  const weighted = isWeighted(port) ? WEIGHTED[usual.name] : undefined;
  return [...(asked === undefined ? [] : [asked.name]), ...(weighted === undefined ? [] : [weighted])];
}

function isWeighted({ annotations, cluster, local }: ServicePort): boolean {
  const has = (one: Endpoint['annotations']): boolean => one !== undefined && Object.hasOwn(one, WEIGHT_ANNOTATION);
  return has(annotations) || [...cluster, ...local].some((endpoint) => has(endpoint.annotations));
}

export function balanceOf(
  port: ServicePort,
  node: Pick<NodeView, 'name' | 'zone'>,
  settings: BalanceSettings,
): { readonly balance: Balance; readonly complaints: readonly Complaint[] } {
  const complaints: Complaint[] = [];
  const asked = askedScheduler(port, settings, complaints);
  const weights = weightsOf(port, complaints);
  let scheduler = asked ?? settings.scheduler;
  if (weights !== undefined && WEIGHTLESS.has(scheduler.name)) {
    const weighted = WEIGHTED[scheduler.name];
    if (asked === undefined && weighted !== undefined && settings.lack(weighted) === undefined) {
      scheduler = { ...scheduler, name: weighted };
    } else {
      complaints.push({
        reason: 'InvalidIPVSWeight',
        note:
          `weights have no effect with the scheduler ${scheduler.name}; ` +
          `set the annotation ${SCHEDULER_ANNOTATION} to one that heeds them, wrr or wlc for example`,
      });
    }
  }
  const weight = weights === undefined ? () => 1 : (endpoint: Endpoint) => weightOf(endpoint, weights, node);
  return { balance: { scheduler, hash: hashOf(scheduler, settings), weight }, complaints };
}

/** The kernel's best: Maglev moves the fewest clients when endpoints change. */
export const HASHES: readonly string[] = ['mh', 'sh'];

function hashOf(scheduler: Scheduler, settings: BalanceSettings): Scheduler {
  const found = HASHES.includes(scheduler.name)
    ? scheduler.name
    : (HASHES.find((name) => settings.lack(name) === undefined) ?? scheduler.name);
  return { name: found, hashPort: false, hashFallback: HASHES.includes(found) };
}

function askedScheduler(port: ServicePort, settings: BalanceSettings, complaints: Complaint[]): Scheduler | undefined {
  const text = port.annotations[SCHEDULER_ANNOTATION];
  if (text === undefined) return undefined;
  const found = wantedScheduler(port);
  const why = found === undefined ? 'no name of a scheduler' : settings.lack(found.name);
  if (why === undefined) return found;
  complaints.push({
    reason: 'InvalidIPVSScheduler',
    note:
      `annotation ${SCHEDULER_ANNOTATION}: ${quoted(text)}: ${why}; ` +
      `${settings.scheduler.name} is used instead. Use one that the node's kernel has: ` +
      'rr, wrr, lc, wlc, sh, mh, mh-port, sed, nq, …',
  });
  return undefined;
}

interface Weights {
  readonly nodes: ReadonlyMap<string, number>;
  readonly zones: ReadonlyMap<string, number>;
  readonly sameNode: number | undefined;
  readonly sameZone: number | undefined;
  readonly rest: number;
  /** Of EndpointSlices, by the annotation's text. */
  readonly slices: ReadonlyMap<string, number>;
}

/** Undefined: all weigh the same. */
function weightsOf(port: ServicePort, complaints: Complaint[]): Weights | undefined {
  const slices = sliceWeights(port, complaints);
  const text = port.annotations[WEIGHT_ANNOTATION];
  const nodes = new Map<string, number>();
  const zones = new Map<string, number>();
  let sameNode: number | undefined;
  let sameZone: number | undefined;
  let rest = 1;
  const faults: string[] = [];
  for (const part of text?.split(',') ?? []) {
    const [, what = '', number = ''] = /^(?:([^=]*)=)?([^=]*)$/.exec(part.trim()) ?? [];
    const weight = parseWeight(number.trim());
    const [kind, name] = split(what.trim());
    if (weight === undefined) faults.push(`${quoted(part.trim())} has no weight from 0 to ${MOST_WEIGHT}`);
    else if (kind === 'node' && name) nodes.set(name, weight);
    else if (kind === 'zone' && name) zones.set(name, weight);
    else if (what.trim() === 'same-node') sameNode = weight;
    else if (what.trim() === 'same-zone') sameZone = weight;
    else if (what.trim() === '') rest = weight;
    else faults.push(`${quoted(part.trim())} is none of node/NAME=, zone/NAME=, same-node=, same-zone= or a number`);
  }
  if (faults.length > 0) {
    const more = faults.length > MOST_NAMED ? `; and ${faults.length - MOST_NAMED} more` : '';
    const named = `${faults.slice(0, MOST_NAMED).join('; ')}${more}`;
    const note = `annotation ${WEIGHT_ANNOTATION}: ${named}; endpoints weigh as if it were not there`;
    complaints.push({ reason: 'InvalidIPVSWeight', note });
  }
  if (text === undefined || faults.length > 0) {
    return slices.size === 0 ? undefined : { ...NO_WEIGHTS, slices };
  }
  return { nodes, zones, sameNode, sameZone, rest, slices };
}

const NO_WEIGHTS = { nodes: new Map(), zones: new Map(), sameNode: undefined, sameZone: undefined, rest: 1 } as const;

function sliceWeights({ cluster, local }: ServicePort, complaints: Complaint[]): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  const bad = new Set<string>();
  for (const { annotations } of [...cluster, ...local]) {
    const text = annotations?.[WEIGHT_ANNOTATION];
    if (text === undefined || found.has(text) || bad.has(text)) continue;
    const weight = parseWeight(text.trim());
    if (weight === undefined) bad.add(text);
    else found.set(text, weight);
  }
  for (const text of bad) {
    const note =
      `annotation ${WEIGHT_ANNOTATION} of an EndpointSlice: ${quoted(text)} is no number from 0 to ${MOST_WEIGHT}; ` +
      'its endpoints weigh as if it were not there';
    complaints.push({ reason: 'InvalidIPVSWeight', note });
  }
  return found;
}

function weightOf(endpoint: Endpoint, weights: Weights, node: Pick<NodeView, 'name' | 'zone'>): number {
  const { nodeName, zone, isLocal, annotations } = endpoint;
  const slice = annotations?.[WEIGHT_ANNOTATION];
  return (
    weights.nodes.get(nodeName) ??
    weights.zones.get(zone) ??
    (isLocal ? weights.sameNode : undefined) ??
    (zone !== '' && zone === node.zone ? weights.sameZone : undefined) ??
    (slice === undefined ? undefined : weights.slices.get(slice)) ??
    weights.rest
  );
}

function parseWeight(text: string): number | undefined {
  const weight = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  return weight <= MOST_WEIGHT ? weight : undefined;
}

function split(what: string): readonly [kind: string, name: string] {
  const slash = what.indexOf('/');
  return slash < 0 ? ['', ''] : [what.slice(0, slash), what.slice(slash + 1)];
}

/** Somebody else's text, which may be long. */
function quoted(text: string): string {
  return JSON.stringify(text.length <= 60 ? text : `${text.slice(0, 57)}...`);
}
