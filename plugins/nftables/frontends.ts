/** The elements that one service port stands for, purely. */
import type { ServicePort } from '../../core/backend.ts';
import type { Frontend, FrontendKind } from '../shared/frontends.ts';
import { frontendKey, nameComment, rangeElements } from '../shared/table/elements.ts';
import type { Emit as EmitOf } from '../shared/table/layout.ts';
import { AFFINITY, DROP, GUARDED, LOCAL, MAX_ENDPOINTS, POLICY_LOCAL, REJECT, type SetName } from './layout.ts';
import type { Side } from './ruleset.ts';

/** An endpoint as an index holds it. */
export interface Slot {
  readonly ip: string;
  readonly port: number;
}

/** What clients of a service port with session affinity are remembered by. */
export interface Affinity {
  /** Number of the service port, shifted by HANDLE_BITS. */
  readonly id: number;
  /** "ip port" → handle. */
  readonly handles: ReadonlyMap<string, number>;
  /** The endpoint number that was given last. */
  readonly last: number;
}

/** A service port as it is programmed. */
export interface ServiceRecord {
  readonly port: ServicePort;
  /** The lists in index order, which changes as little as possible; see slots.ts. */
  readonly cluster: readonly Slot[];
  readonly local: readonly Slot[];
  readonly affinity: Affinity | undefined;
}

export type Emit = EmitOf<SetName>;

export function sideOf(kind: FrontendKind): Side {
  return kind === 'nodePort' ? 'nodeports' : 'services';
}

const SETS = {
  services: {
    classes: 'services',
    endpoints: 'endpoints',
    localClasses: 'local-services',
    localEndpoints: 'local-endpoints',
    affinity: 'affinity-services',
    masquerade: 'masquerade-services',
    masqueradeIfNode: 'masquerade-services-if-node',
  },
  nodeports: {
    classes: 'nodeports',
    endpoints: 'nodeport-endpoints',
    localClasses: 'local-nodeports',
    localEndpoints: 'local-nodeport-endpoints',
    affinity: 'affinity-nodeports',
    masquerade: 'masquerade-nodeports',
    masqueradeIfNode: 'masquerade-nodeports-if-node',
  },
} as const satisfies Record<Side, Record<string, SetName>>;

/** Every element of one frontend, except what several frontends share. */
export function frontendElements(frontend: Frontend, record: ServiceRecord, comments: boolean, emit: Emit): void {
  const { kind } = frontend;
  const { port, affinity } = record;
  const sets = SETS[sideOf(kind)];
  const key = frontendKey(frontend, port);
  const withAffinity = affinity === undefined ? 0 : AFFINITY;
  const empty = port.hasEndpoints ? DROP : REJECT;
  const clusterClass = record.cluster.length === 0 ? empty : withAffinity | count(record.cluster);
  const localClass = record.local.length === 0 ? empty : LOCAL | withAffinity | count(record.local);

  const writeList = (set: SetName, list: readonly Slot[]): void => {
    for (let index = 0; index < count(list); index++) {
      const { ip, port: endpointPort } = list[index]!;
      emit(set, { key: [...key, index], data: [ip, endpointPort] });
    }
  };

  let klass: number;
  if (kind === 'clusterIP') {
    const isLocal = port.internalPolicy === 'Local';
    klass = isLocal ? localClass : clusterClass;
    if (isLocal) writeList(sets.localEndpoints, record.local);
    else writeList(sets.endpoints, record.cluster);
  } else if (port.externalPolicy === 'Cluster') {
    klass = clusterClass;
    writeList(sets.endpoints, record.cluster);
    if (record.cluster.length > 0) emit(sets.masquerade, { key });
  } else if (record.cluster.length === 0 && record.local.length === 0) {
    klass = empty;
  } else {
    klass = POLICY_LOCAL | (record.cluster.length === 0 ? 0 : clusterClass);
    writeList(sets.endpoints, record.cluster);
    writeList(sets.localEndpoints, record.local);
    emit(sets.localClasses, { key, data: [localClass] });
    emit(sets.masqueradeIfNode, { key });
  }
  const comment = nameComment(port, comments);
  if (kind === 'loadBalancerVIP' && port.sourceRanges.length > 0) {
    emit('services', { key, data: [GUARDED], ...comment });
    emit('guarded-services', { key, data: [klass] });
    rangeElements('source-ranges', key, port.sourceRanges, emit);
  } else {
    emit(sets.classes, { key, data: [klass], ...comment });
  }
  if (affinity !== undefined) emit(sets.affinity, { key, data: [affinity.id] });
}

/** Elements of a service port that its frontends share: those of session affinity. */
export function affinityElements({ port, affinity, cluster, local }: ServiceRecord, emit: Emit): void {
  if (affinity === undefined) return;
  emit('affinity-timeouts', { key: [affinity.id], data: [port.affinitySeconds] });
  for (const [name, handle] of affinity.handles) {
    const [ip = '', portText] = name.split(' ');
    emit('affinity-handles', { key: [affinity.id, ip, Number(portText)], data: [handle] });
  }
  const writeList = (set: SetName, list: readonly Slot[]): void => {
    for (const { ip, port: endpointPort } of list) {
      const handle = affinity.handles.get(`${ip} ${endpointPort}`);
      if (handle !== undefined) emit(set, { key: [handle], data: [ip, endpointPort] });
    }
  };
  writeList('affinity-endpoints', cluster);
  writeList('local-affinity-endpoints', local);
}

function count(list: readonly Slot[]): number {
  return Math.min(list.length, MAX_ENDPOINTS);
}
