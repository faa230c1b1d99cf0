/**
 * A Service object → what this proxy serves of it. Decides which Services are ours at all, splits the families,
 * and settles once what policies, affinity and health check really hold for the Service's type.
 *
 *   not ours, silently: label service.kubernetes.io/service-proxy-name, clusterIP None (headless), type ExternalName
 *
 * targetPort, spec.loadBalancerIP and the old source-range annotation are never read: endpoint ports come from
 * EndpointSlices, load-balancer addresses from the status.
 */
import type { IPFamily, Protocol } from '../backend.ts';
import { parseCIDR, parseIP } from './ip.ts';
import type { Parsed, Service, ServiceAddresses, ServicePortSpec } from './objects.ts';
import {
  absent,
  isObject,
  isPortName,
  isPortNumber,
  type RawObject,
  readChoice,
  readEnvelope,
  readList,
  readMap,
  readOwnAnnotations,
  show,
} from './raw-object.ts';

const PROXY_NAME_LABEL = 'service.kubernetes.io/service-proxy-name';
const DEFAULT_AFFINITY_SECONDS = 10_800;
const MAX_AFFINITY_SECONDS = 86_400;
const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];

type ByFamily = Record<IPFamily, string[]>;

export function parseService(raw: unknown): Parsed<Service> {
  const problems: string[] = [];
  const envelope = readEnvelope(raw, 'Service', problems);
  if (envelope === undefined) return { value: undefined, problems };
  if (PROXY_NAME_LABEL in envelope.labels) return { value: undefined, problems: [] };
  const { spec } = envelope.raw;
  if (!isObject(spec)) return leftOut(problems, `spec: ${show(spec)} is not an object`);
  // The API server keeps clusterIP and clusterIPs[0] the same; a hand-written object may give only one of them.
  const clusterIP = spec.clusterIP ?? (Array.isArray(spec.clusterIPs) ? spec.clusterIPs[0] : undefined);
  if (spec.type === 'ExternalName' || clusterIP === 'None') return { value: undefined, problems: [] };
  if (typeof clusterIP !== 'string' || clusterIP === '') {
    const given = clusterIP === undefined || clusterIP === '' ? 'missing' : `${show(clusterIP)} is no address`;
    return leftOut(problems, `spec.clusterIP: ${given}; give the Service the one it is to have`);
  }
  const ports = readPorts(spec.ports, problems);
  if (ports === undefined) return { value: undefined, problems };

  const type = readChoice(spec.type, ['ClusterIP', 'NodePort', 'LoadBalancer'], 'spec.type', problems);
  const policies = ['Cluster', 'Local'] as const;
  const internalPolicy = readChoice(spec.internalTrafficPolicy, policies, 'spec.internalTrafficPolicy', problems);
  const wanted = readChoice(spec.externalTrafficPolicy, policies, 'spec.externalTrafficPolicy', problems);
  // A plain ClusterIP Service has no external destination that could be Local; the API keeps stale values there.
  const hasExternalIPs = Array.isArray(spec.externalIPs) && spec.externalIPs.length > 0;
  const externalPolicy = type === 'ClusterIP' && !hasExternalIPs ? 'Cluster' : wanted;
  const needsHealthCheck = type === 'LoadBalancer' && externalPolicy === 'Local';

  const { namespace, name } = envelope;
  const value: Service = {
    namespace,
    name,
    uid: envelope.uid,
    families: readFamilies(spec, envelope.raw, problems),
    ports,
    internalPolicy,
    externalPolicy,
    affinitySeconds: readAffinity(spec, problems),
    healthCheckNodePort: needsHealthCheck ? readHealthCheckNodePort(spec.healthCheckNodePort, problems) : 0,
    annotations: readOwnAnnotations(envelope, problems) ?? {},
  };
  return { value, problems };
}

/** Undefined when the list cannot be what the API would send. */
function readPorts(list: unknown, problems: string[]): readonly ServicePortSpec[] | undefined {
  if (absent(list)) return [];
  if (!Array.isArray(list)) return leftOut(problems, `spec.ports: ${show(list)} is not a list`).value;
  const ports: ServicePortSpec[] = [];
  const seen = new Set<string>();
  for (const [index, entry] of list.entries()) {
    const field = `spec.ports[${index}]`;
    if (!isObject(entry)) return leftOut(problems, `${field}: ${show(entry)} is not an object`).value;
    const { port, nodePort } = entry;
    if (typeof port !== 'number') return leftOut(problems, `${field}.port: ${show(port)} is not a number`).value;
    if (!absent(nodePort) && typeof nodePort !== 'number') {
      return leftOut(problems, `${field}.nodePort: ${show(nodePort)} is not a number`).value;
    }
    const name = entry.name ?? '';
    const protocol = entry.protocol ?? 'TCP';
    if (!isPortNumber(port)) {
      problems.push(`${field}.port: ${port} is not a port number from 1 to 65535; the port is ignored`);
    } else if (typeof name !== 'string' || !isPortName(name)) {
      problems.push(`${field}.name: ${show(name)} is not a port name; the port is ignored`);
    } else if (!isProtocol(protocol)) {
      problems.push(`${field}.protocol: ${show(protocol)} is not TCP, UDP or SCTP; the port is ignored`);
    } else if (seen.has(`${name}/${protocol}`)) {
      problems.push(`${field}: name ${show(name)} and protocol ${protocol} are those of an earlier port; ignored`);
    } else {
      seen.add(`${name}/${protocol}`);
      ports.push({ name, protocol, port, nodePort: readNodePort(nodePort ?? 0, `${field}.nodePort`, problems) });
    }
  }
  return ports;
}

function readNodePort(nodePort: number, field: string, problems: string[]): number {
  if (nodePort === 0 || isPortNumber(nodePort)) return nodePort;
  problems.push(`${field}: ${nodePort} is not a port number from 1 to 65535; no node port is served`);
  return 0;
}

function readFamilies(spec: RawObject, raw: RawObject, problems: string[]): Service['families'] {
  const clusterIPs = readClusterIPs(spec, problems);
  const externalIPs = readExternalIPs(spec, problems);
  const loadBalancerVIPs = readLoadBalancerVIPs(raw, problems);
  const sourceRanges = readSourceRanges(spec, problems);
  const families: { IPv4?: ServiceAddresses; IPv6?: ServiceAddresses } = {};
  for (const family of FAMILIES) {
    const clusterIP = clusterIPs[family];
    if (clusterIP === undefined) continue;
    families[family] = {
      clusterIP,
      externalIPs: externalIPs[family],
      loadBalancerVIPs: loadBalancerVIPs[family],
      sourceRanges: sourceRanges[family],
    };
  }
  return families;
}

/** clusterIPs[i] belongs to ipFamilies[i]; without ipFamilies, clusterIP alone counts, by its own family. */
function readClusterIPs(spec: RawObject, problems: string[]): Partial<Record<IPFamily, string>> {
  const chosen: Partial<Record<IPFamily, string>> = {};
  const add = (value: unknown, field: string, expected: unknown): void => {
    const parsed = typeof value === 'string' ? parseIP(value) : undefined;
    if (parsed === undefined) problems.push(`${field}: ${show(value)} is not an IP address; ignored`);
    else if (expected !== undefined && parsed.family !== expected) {
      problems.push(
        `${field}: ${show(value)} is not of the family ${show(expected)} that spec.ipFamilies says; ignored`,
      );
    } else chosen[parsed.family] ??= parsed.ip;
  };
  const ipFamilies = readList(spec.ipFamilies, 'spec.ipFamilies', problems);
  if (ipFamilies.length === 0) {
    add(spec.clusterIP, 'spec.clusterIP', undefined);
    return chosen;
  }
  const list = readList(spec.clusterIPs, 'spec.clusterIPs', problems);
  if (list.length === 0) add(spec.clusterIP, 'spec.clusterIP', ipFamilies[0]);
  ipFamilies.slice(0, list.length).forEach((family, index) => {
    add(list[index], `spec.clusterIPs[${index}]`, family);
  });
  return chosen;
}

function readExternalIPs(spec: RawObject, problems: string[]): ByFamily {
  const byFamily: ByFamily = { IPv4: [], IPv6: [] };
  readList(spec.externalIPs, 'spec.externalIPs', problems).forEach((value, index) => {
    addIP(byFamily, value, `spec.externalIPs[${index}]`, problems);
  });
  return byFamily;
}

/** ipMode Proxy (and whatever comes later) means that traffic has to leave for the load balancer itself. */
function readLoadBalancerVIPs(raw: RawObject, problems: string[]): ByFamily {
  const byFamily: ByFamily = { IPv4: [], IPv6: [] };
  const status = readMap(raw.status, 'status', problems);
  const loadBalancer = readMap(status.loadBalancer, 'status.loadBalancer', problems);
  readList(loadBalancer.ingress, 'status.loadBalancer.ingress', problems).forEach((entry, index) => {
    const field = `status.loadBalancer.ingress[${index}]`;
    if (!isObject(entry)) problems.push(`${field}: ${show(entry)} is not an object; ignored`);
    else if (!absent(entry.ip) && (absent(entry.ipMode) || entry.ipMode === 'VIP')) {
      addIP(byFamily, entry.ip, `${field}.ip`, problems);
    }
  });
  return byFamily;
}

function addIP(byFamily: ByFamily, value: unknown, field: string, problems: string[]): void {
  if (typeof value === 'string' && value.trim() === '') return;
  const parsed = typeof value === 'string' ? parseIP(value) : undefined;
  if (parsed === undefined) problems.push(`${field}: ${show(value)} is not an IP address; ignored`);
  else if (!byFamily[parsed.family].includes(parsed.ip)) byFamily[parsed.family].push(parsed.ip);
}

/** A range of everything makes the list of its family empty, which means the same and costs no rule. */
function readSourceRanges(spec: RawObject, problems: string[]): ByFamily {
  const byFamily: ByFamily = { IPv4: [], IPv6: [] };
  const open = new Set<IPFamily>();
  readList(spec.loadBalancerSourceRanges, 'spec.loadBalancerSourceRanges', problems).forEach((value, index) => {
    const text = typeof value === 'string' ? value.trim() : undefined;
    if (text === '') return;
    const parsed = text === undefined ? undefined : parseCIDR(text);
    if (parsed === undefined) {
      problems.push(`spec.loadBalancerSourceRanges[${index}]: ${show(value)} is not a CIDR; ignored`);
    } else if (parsed.prefixLength === 0) {
      open.add(parsed.family);
    } else if (!byFamily[parsed.family].includes(parsed.cidr)) {
      byFamily[parsed.family].push(parsed.cidr);
    }
  });
  for (const family of open) byFamily[family] = [];
  return byFamily;
}

function readAffinity(spec: RawObject, problems: string[]): number {
  if (readChoice(spec.sessionAffinity, ['None', 'ClientIP'], 'spec.sessionAffinity', problems) === 'None') return 0;
  const config = readMap(spec.sessionAffinityConfig, 'spec.sessionAffinityConfig', problems);
  const clientIP = readMap(config.clientIP, 'spec.sessionAffinityConfig.clientIP', problems);
  const seconds = clientIP.timeoutSeconds;
  if (absent(seconds)) return DEFAULT_AFFINITY_SECONDS;
  if (typeof seconds === 'number' && Number.isInteger(seconds) && seconds >= 1 && seconds <= MAX_AFFINITY_SECONDS) {
    return seconds;
  }
  const field = 'spec.sessionAffinityConfig.clientIP.timeoutSeconds';
  problems.push(
    `${field}: ${show(seconds)} is not from 1 to ${MAX_AFFINITY_SECONDS}; ${DEFAULT_AFFINITY_SECONDS} is used`,
  );
  return DEFAULT_AFFINITY_SECONDS;
}

function readHealthCheckNodePort(value: unknown, problems: string[]): number {
  if (typeof value === 'number' && isPortNumber(value)) return value;
  problems.push(
    `spec.healthCheckNodePort: ${show(value)} is not a port number from 1 to 65535, which type LoadBalancer with ` +
      'externalTrafficPolicy Local needs; no health check is served',
  );
  return 0;
}

function isProtocol(value: unknown): value is Protocol {
  return value === 'TCP' || value === 'UDP' || value === 'SCTP';
}

function leftOut(problems: string[], problem: string): { readonly value: undefined; readonly problems: string[] } {
  problems.push(`${problem}; the object is left out`);
  return { value: undefined, problems };
}
