/**
 * The events there are. Reasons and actions of the first group are upstream's, for what matches them.
 *
 *   kubectl describe node NAME      Starting, FailedToStart…, readOnlySysFS, ConfigurationRefused
 *   kubectl describe service NAME   FailedToStartServiceHealthcheck, InvalidService, what a backend says
 */
import type { ObjectReference, ProxyEvent } from './event-format.ts';

const START = 'StartKubeProxy';

/**
 * The uid is the node's name, as kubelet and upstream's kube-proxy write it: `kubectl describe node` has always asked
 * for events with that, and only newer ones ask for those with the real uid as well. So it is also the same before and
 * after the Node is known.
 */
export function nodeReference(name: string): ObjectReference {
  return { apiVersion: 'v1', kind: 'Node', namespace: '', name, uid: name };
}

function aboutNode(
  nodeName: string,
  type: ProxyEvent['type'],
  reason: string,
  note: string,
  action = START,
): ProxyEvent {
  return { type, reason, action, note, regarding: nodeReference(nodeName) };
}

export function starting(nodeName: string, backend: string): ProxyEvent {
  return aboutNode(nodeName, 'Normal', 'Starting', `kube-proxy starts with the backend ${backend}`);
}

/** `problem`: why, with the address. */
export function healthServerFailed(nodeName: string, problem: string): ProxyEvent {
  return aboutNode(
    nodeName,
    'Warning',
    'FailedToStartProxierHealthcheck',
    `the health server does not start: ${problem}`,
  );
}

export function metricsServerFailed(nodeName: string, problem: string): ProxyEvent {
  return aboutNode(nodeName, 'Warning', 'FailedToStartMetricServer', `the metrics server does not start: ${problem}`);
}

/** Conntrack's hash table stays smaller than configured, mostly because /sys is mounted read-only. */
export function hashTableTooSmall(nodeName: string, shortfall: string): ProxyEvent {
  return aboutNode(nodeName, 'Warning', 'readOnlySysFS', shortfall);
}

export interface ServiceName {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** The real uid, where upstream writes "namespace/name", with which `kubectl describe service` finds nothing. */
export function serviceHealthServerFailed(
  { namespace, name, uid }: ServiceName,
  nodeName: string,
  port: number,
  problem: string,
): ProxyEvent {
  return {
    type: 'Warning',
    reason: 'FailedToStartServiceHealthcheck',
    action: 'Listen',
    note: `node ${nodeName} does not answer health checks on port ${port}: ${problem}`,
    regarding: { apiVersion: 'v1', kind: 'Service', namespace, name, uid },
  };
}

/**
 * A backend cannot do what the Service's author asks for. Most of it every node finds alike, so that one text is one
 * event; what is this node's alone has the node's name in it.
 */
export function serviceWarning({ namespace, name, uid }: ServiceName, reason: string, note: string): ProxyEvent {
  return {
    type: 'Warning',
    reason,
    action: 'Program',
    note,
    regarding: { apiVersion: 'v1', kind: 'Service', namespace, name, uid },
    everyNode: true,
  };
}

/** A new configuration was not taken; the one before stays in effect. */
export function configurationRefused(nodeName: string, file: string, problem: string): ProxyEvent {
  const note = `${file} is refused, the configuration before it stays in effect: ${problem}`;
  return aboutNode(nodeName, 'Warning', 'ConfigurationRefused', note, 'Reconfigure');
}

const API_VERSIONS = {
  Service: 'v1',
  Node: 'v1',
  EndpointSlice: 'discovery.k8s.io/v1',
  ServiceCIDR: 'networking.k8s.io/v1',
} as const;

export interface FaultyObject {
  readonly kind: keyof typeof API_VERSIONS;
  /** "" for Nodes and ServiceCIDRs. */
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** An object makes no sense in part (`ignored: 'faults'`) or at all. Every node finds the same. */
export function badObject(object: FaultyObject, problems: readonly string[], ignored: 'faults' | 'object'): ProxyEvent {
  const { kind, namespace, name, uid } = object;
  return {
    type: 'Warning',
    reason: `Invalid${kind}`,
    action: ignored === 'object' ? `Ignore${kind}` : 'IgnoreFaults',
    note: problems.join('; '),
    regarding: kind === 'Node' ? nodeReference(name) : { apiVersion: API_VERSIONS[kind], kind, namespace, name, uid },
    everyNode: kind !== 'Node', // Of Nodes, each proxy sees only its own.
  };
}
