/** What one frontend of a service port stands for, purely: elements of the table, and virtual servers. */
import type {
  Endpoint,
  IPFamily,
  NftElement,
  RealServer,
  ServicePort,
  VirtualServer,
  VirtualServerKey,
} from '../../core/backend.ts';
import type { Frontend, FrontendKind } from '../shared/frontends.ts';
import { frontendKey } from '../shared/table/elements.ts';
import type { Emit as EmitOf } from '../shared/table/layout.ts';
import { classElements, verdictOf } from '../shared/table/verdicts.ts';
import type { Balance } from './balance.ts';
import { FOREIGN, FROM_CLUSTER_IP, FROM_EXTERNAL, FROM_EXTERNAL_LOCAL, type SetName } from './layout.ts';

/** A service port as it is programmed. */
export interface ServiceRecord {
  readonly port: ServicePort;
  readonly balance: Balance;
  /**
   * Of the virtual server for pods of this node and the node itself, who use every endpoint whatever the external
   * policy says. Undefined where the policy makes no difference.
   */
  readonly mark: number | undefined;
  /** Something is wrong with what it asks for: a full sync looks again. */
  readonly isDoubtful: boolean;
}

/** A virtual server as it is to be. */
export interface ServerSpec {
  readonly server: VirtualServer;
  readonly reals: readonly RealServer[];
  /** Connections of a real server that goes may be waited for: it is no UDP. */
  readonly isGraceful: boolean;
  /** UDP: names of endpoints that get no new flows, but keep those they have (see ServicePort.keepsFlowsUDP). */
  readonly keeps: ReadonlySet<string>;
}

export type Emit = EmitOf<SetName>;

const NOBODY: ReadonlySet<string> = new Set();

/** Does anything of this service port depend on whether a connection comes from inside? */
export function needsMark({ externalPolicy, nodePort, loadBalancerVIPs, externalIPs, cluster }: ServicePort): boolean {
  const isExternal = nodePort !== 0 || loadBalancerVIPs.length > 0 || externalIPs.length > 0;
  return externalPolicy === 'Local' && isExternal && cluster.length > 0;
}

export function classOf(kind: FrontendKind, port: ServicePort): number {
  const from =
    kind === 'clusterIP' ? FROM_CLUSTER_IP : port.externalPolicy === 'Cluster' ? FROM_EXTERNAL : FROM_EXTERNAL_LOCAL;
  return from | verdictOf(kind, port);
}

/** Of one where a virtual server of somebody else stands: its connections pass, and that is all. */
export function foreignElement(frontend: Frontend, { port }: ServiceRecord): NftElement {
  return { key: frontendKey(frontend, port), data: [FOREIGN] };
}

/** Every element of a frontend. */
export function frontendElements(
  frontend: Frontend,
  { port, mark }: ServiceRecord,
  comments: boolean,
  emit: Emit,
): void {
  const { kind } = frontend;
  classElements(frontend, port, { klass: classOf(kind, port), comments }, emit);
  if (mark === undefined || kind === 'clusterIP') return;
  emit(kind === 'nodePort' ? 'nodeport-marks' : 'marks', { key: frontendKey(frontend, port), data: [mark] });
}

/** `ip`: also an address of the node, for a node port. */
export function frontendServer({ kind, ip, port: portNumber }: Frontend, record: ServiceRecord): ServerSpec {
  const { protocol } = record.port;
  return specOf({ protocol, ip, port: portNumber }, record, listOf(kind, record.port));
}

/**
 * The virtual server of a service port's mark. Session affinity would make the kernel keep the port that the client asked
 * for (ip_vs_sched_persist), and so never reach an endpoint's: the client's address is hashed instead.
 */
export function markServer(family: IPFamily, record: ServiceRecord): ServerSpec | undefined {
  const { mark, port, balance } = record;
  if (mark === undefined) return undefined;
  const spec = specOf({ mark, family }, record, port.cluster);
  if (port.affinitySeconds === 0) return spec;
  const { name: scheduler, hashPort, hashFallback } = balance.hash;
  return { ...spec, server: { mark, family, scheduler, persistenceSeconds: 0, hashPort, hashFallback } };
}

function specOf(key: VirtualServerKey, { port, balance }: ServiceRecord, list: readonly Endpoint[]): ServerSpec {
  const { name: scheduler, hashPort, hashFallback } = balance.scheduler;
  const keeps = port.keepsFlowsUDP ?? [];
  return {
    server: { ...key, scheduler, persistenceSeconds: port.affinitySeconds, hashPort, hashFallback },
    reals: list.map((endpoint) => ({ ip: endpoint.ip, port: endpoint.port, weight: balance.weight(endpoint) })),
    isGraceful: port.protocol !== 'UDP',
    keeps: keeps.length === 0 ? NOBODY : new Set(keeps.map(realName)),
  };
}

function listOf(kind: FrontendKind, port: ServicePort): readonly Endpoint[] {
  const policy = kind === 'clusterIP' ? port.internalPolicy : port.externalPolicy;
  return policy === 'Local' ? port.local : port.cluster;
}

export function realName({ ip, port }: { readonly ip: string; readonly port: number }): string {
  return `${ip} ${port}`;
}

/** "10.96.0.10 tcp 80", or "mark 5" (of one family). */
export function serverName(key: VirtualServerKey): string {
  return 'mark' in key ? `mark ${key.mark}` : `${key.ip} ${key.protocol.toLowerCase()} ${key.port}`;
}
