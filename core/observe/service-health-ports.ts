/**
 * Which healthCheckNodePorts this node must answer on, and what each has to say: followed from the changes that were
 * programmed, at the cost of what changed. Pure; service-health.ts does the listening.
 *
 * A load balancer asks every node "have you endpoints of this Service?". The number is that of distinct pods: the
 * addresses of ready endpoints on this node over all ports of the Service. One that terminates is not counted even
 * while it serves, so that balancers leave before the pod does.
 */
import type { Change, IPFamily, NodePortAddresses, ServicePort } from '../backend.ts';

/** A Service in one family. */
export interface HealthPort {
  readonly namespace: string;
  readonly name: string;
  /** The Service's healthCheckNodePort. */
  readonly port: number;
  readonly localEndpoints: number;
}

/** "namespace/name" */
export type ServiceName = string;

export interface HealthPortsDelta {
  readonly upsert: readonly HealthPort[];
  readonly remove: readonly ServiceName[];
}

export interface HealthPorts {
  /** A change of this family took effect. */
  apply(change: Change): HealthPortsDelta;
}

/** For one family. */
export function createHealthPorts(): HealthPorts {
  /** Only service ports of Services that have a healthCheckNodePort. */
  let portsOf = new Map<ServiceName, Map<string, ServicePort>>();
  let serviceOf = new Map<string, ServiceName>();
  const known = new Map<ServiceName, HealthPort>();

  /** Returns the Service that it was of. */
  function drop(key: string): ServiceName | undefined {
    const service = serviceOf.get(key);
    if (service === undefined) return undefined;
    serviceOf.delete(key);
    const ports = portsOf.get(service);
    ports?.delete(key);
    if (ports?.size === 0) portsOf.delete(service);
    return service;
  }

  function put(port: ServicePort): ServiceName | undefined {
    if (port.healthCheckNodePort === 0) return drop(port.key);
    const service = `${port.namespace}/${port.name}`;
    const ports = portsOf.get(service) ?? new Map<string, ServicePort>();
    portsOf.set(service, ports.set(port.key, port));
    serviceOf.set(port.key, service);
    return service;
  }

  return {
    apply({ full, upsert, remove }) {
      const touched = new Set<ServiceName | undefined>();
      if (full) {
        for (const service of known.keys()) touched.add(service);
        portsOf = new Map();
        serviceOf = new Map();
      }
      for (const key of remove) touched.add(drop(key));
      for (const port of upsert) touched.add(put(port));

      const delta: { upsert: HealthPort[]; remove: ServiceName[] } = { upsert: [], remove: [] };
      for (const service of touched) {
        if (service === undefined) continue;
        const before = known.get(service);
        const now = healthPort(portsOf.get(service));
        if (now && !sameHealthPort(before, now)) {
          known.set(service, now);
          delta.upsert.push(now);
        } else if (!now && known.delete(service)) {
          delta.remove.push(service);
        }
      }
      return delta;
    },
  };
}

/** Where the ports of one family are opened: every address of it, or just these. Never on loopback alone. */
export function healthPortHosts(family: IPFamily, nodePortAddresses: NodePortAddresses): readonly string[] {
  if (nodePortAddresses.match === 'all') return [family === 'IPv4' ? '0.0.0.0' : '::'];
  return nodePortAddresses.addresses.filter((address) => address !== '::1' && !address.startsWith('127.'));
}

export interface HealthPortReply {
  readonly status: 200 | 503;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export function healthPortReply({ namespace, name, localEndpoints }: HealthPort, healthy: boolean): HealthPortReply {
  const body = { service: { namespace, name }, localEndpoints, serviceProxyHealthy: healthy };
  return {
    status: localEndpoints > 0 && healthy ? 200 : 503,
    headers: {
      'Content-Type': 'application/json',
      'X-Content-Type-Options': 'nosniff',
      // Balancers that can weigh nodes do so by it.
      'X-Load-Balancing-Endpoint-Weight': String(localEndpoints),
    },
    body: JSON.stringify(body, undefined, '\t'),
  };
}

function healthPort(ports: ReadonlyMap<string, ServicePort> | undefined): HealthPort | undefined {
  const [first] = ports?.values() ?? [];
  if (!ports || !first) return undefined;
  const { namespace, name, healthCheckNodePort } = first;
  return { namespace, name, port: healthCheckNodePort, localEndpoints: readyHere(ports.values()) };
}

function readyHere(ports: Iterable<ServicePort>): number {
  const ips = new Set<string>();
  for (const port of ports) {
    // Endpoints that serve while they terminate never count: no new connections should come for them.
    for (const { ip, ready } of port.local) if (ready) ips.add(ip);
  }
  return ips.size;
}

function sameHealthPort(a: HealthPort | undefined, b: HealthPort): boolean {
  return a !== undefined && a.port === b.port && a.localEndpoints === b.localEndpoints;
}
