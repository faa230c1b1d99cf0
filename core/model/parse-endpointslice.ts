/**
 * An EndpointSlice object → the addresses that may answer for one Service, in the slice's one family.
 *
 * The API server fills in what a hand-written slice may leave out; the same defaults hold here: protocol TCP, port
 * name "" (unnamed), ready and serving true, terminating false. Which endpoints are then used is decided in
 * select-endpoints.ts, not here: another node's choice differs.
 */
import type { IPFamily } from '../backend.ts';
import { isLoopback, parseIP } from './ip.ts';
import type { EndpointSlice, Parsed, SliceEndpoint, SlicePort } from './objects.ts';
import {
  absent,
  type Envelope,
  isObject,
  isPortName,
  isPortNumber,
  readEnvelope,
  readList,
  readMap,
  readOwnAnnotations,
  readText,
  show,
} from './raw-object.ts';

const SERVICE_LABEL = 'kubernetes.io/service-name';
/** Set by the controller on slices of headless Services, whatever its value. */
const HEADLESS_LABEL = 'service.kubernetes.io/headless';
const TRIGGER_TIME = 'endpoints.kubernetes.io/last-change-trigger-time';
const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/;
/** Most endpoints have no hints; a million of them share this list. */
const NO_HINTS: readonly string[] = [];

export function parseEndpointSlice(raw: unknown): Parsed<EndpointSlice> {
  const problems: string[] = [];
  const envelope = readEnvelope(raw, 'EndpointSlice', problems);
  if (envelope === undefined) return { value: undefined, problems };
  const { addressType } = envelope.raw;
  if (HEADLESS_LABEL in envelope.labels || addressType === 'FQDN') return { value: undefined, problems: [] };
  if (addressType !== 'IPv4' && addressType !== 'IPv6') {
    problems.push(`addressType: ${show(addressType)} is not IPv4, IPv6 or FQDN; the object is left out`);
    return { value: undefined, problems };
  }
  const serviceName = readText(envelope.labels[SERVICE_LABEL], `metadata.labels["${SERVICE_LABEL}"]`, problems);
  if (serviceName === '') {
    problems.push(`metadata.labels["${SERVICE_LABEL}"]: missing, so that no Service has this slice; it is left out`);
    return { value: undefined, problems };
  }
  const ports = readPorts(envelope, problems);
  if (ports === undefined) return { value: undefined, problems };
  const endpoints = readEndpoints(envelope, addressType, problems);
  const { namespace, name } = envelope;
  const triggerTimeMs = readTriggerTime(envelope.annotations[TRIGGER_TIME]);
  const annotations = readOwnAnnotations(envelope, problems);
  const value: EndpointSlice = { namespace, name, serviceName, family: addressType, ports, endpoints, triggerTimeMs };
  return { value: annotations ? { ...value, annotations } : value, problems };
}

/** Undefined when the list cannot be what the API would send. */
function readPorts(envelope: Envelope, problems: string[]): readonly SlicePort[] | undefined {
  const list = envelope.raw.ports;
  if (absent(list)) return [];
  if (!Array.isArray(list)) {
    problems.push(`ports: ${show(list)} is not a list; the object is left out`);
    return undefined;
  }
  const ports: SlicePort[] = [];
  for (const [index, entry] of list.entries()) {
    const field = `ports[${index}]`;
    if (!isObject(entry)) {
      problems.push(`${field}: ${show(entry)} is not an object; the object is left out`);
      return undefined;
    }
    const { name = '', protocol = 'TCP', port } = entry;
    if (!absent(port) && typeof port !== 'number') {
      problems.push(`${field}.port: ${show(port)} is not a number; the object is left out`);
      return undefined;
    }
    if (absent(port) || !isPortNumber(port)) {
      problems.push(`${field}.port: ${show(port)} is not a port number from 1 to 65535; the port is ignored`);
    } else if (!absent(name) && (typeof name !== 'string' || !isPortName(name))) {
      problems.push(`${field}.name: ${show(name)} is not a port name; the port is ignored`);
    } else if (!absent(protocol) && protocol !== 'TCP' && protocol !== 'UDP' && protocol !== 'SCTP') {
      problems.push(`${field}.protocol: ${show(protocol)} is not TCP, UDP or SCTP; the port is ignored`);
    } else {
      ports.push({ name: name ?? '', protocol: protocol ?? 'TCP', port });
    }
  }
  return ports;
}

function readEndpoints(envelope: Envelope, family: IPFamily, problems: string[]): readonly SliceEndpoint[] {
  const endpoints: SliceEndpoint[] = [];
  readList(envelope.raw.endpoints, 'endpoints', problems).forEach((entry, index) => {
    const endpoint = readEndpoint(entry, `endpoints[${index}]`, family, problems);
    if (endpoint !== undefined) endpoints.push(endpoint);
  });
  return endpoints;
}

function readEndpoint(entry: unknown, field: string, family: IPFamily, problems: string[]): SliceEndpoint | undefined {
  if (!isObject(entry)) {
    problems.push(`${field}: ${show(entry)} is not an object; ignored`);
    return undefined;
  }
  // The API allows several addresses that mean the same endpoint; consumers use the first.
  const addresses = readList(entry.addresses, `${field}.addresses`, problems);
  if (addresses.length === 0) return undefined;
  const parsed = typeof addresses[0] === 'string' ? parseIP(addresses[0]) : undefined;
  if (parsed?.family !== family) {
    problems.push(`${field}.addresses[0]: ${show(addresses[0])} is not an ${family} address; the endpoint is ignored`);
    return undefined;
  }
  // As the API server does: translating to it would open this node's own loopback services to everyone.
  if (isLoopback(parsed.ip)) {
    problems.push(
      `${field}.addresses[0]: ${parsed.ip} is a loopback address; the endpoint is ignored: name another address of its host`,
    );
    return undefined;
  }
  const conditions = readMap(entry.conditions, `${field}.conditions`, problems);
  const ready = readCondition(conditions.ready, true, `${field}.conditions.ready`, problems);
  const serving = readCondition(conditions.serving, true, `${field}.conditions.serving`, problems);
  const terminating = readCondition(conditions.terminating, false, `${field}.conditions.terminating`, problems);
  if (ready === undefined || serving === undefined || terminating === undefined) return undefined;
  const nodeName = readText(entry.nodeName, `${field}.nodeName`, problems);
  const zone = readText(entry.zone, `${field}.zone`, problems);
  const hints = readMap(entry.hints, `${field}.hints`, problems);
  const hintZones = readHints(hints.forZones, `${field}.hints.forZones`, problems);
  const hintNodes = readHints(hints.forNodes, `${field}.hints.forNodes`, problems);
  return { ip: parsed.ip, nodeName, zone, ready, serving, terminating, hintZones, hintNodes };
}

/** Undefined when it is neither: sending traffic on a guess is worse than not using the endpoint. */
function readCondition(value: unknown, standard: boolean, field: string, problems: string[]): boolean | undefined {
  if (absent(value)) return standard;
  if (typeof value === 'boolean') return value;
  problems.push(`${field}: ${show(value)} is not true or false; the endpoint is ignored`);
  return undefined;
}

function readHints(value: unknown, field: string, problems: string[]): readonly string[] {
  const list = readList(value, field, problems);
  if (list.length === 0) return NO_HINTS;
  const names: string[] = [];
  list.forEach((entry, index) => {
    const name = isObject(entry) ? entry.name : entry;
    if (isObject(entry) && typeof name === 'string' && name !== '') names.push(name);
    else problems.push(`${field}[${index}]: ${show(name)} is not an object with a name; ignored`);
  });
  return names;
}

/** Only feeds a metric, so a bad one is worth no warning. */
function readTriggerTime(value: unknown): number {
  if (typeof value !== 'string' || !RFC3339.test(value)) return 0;
  const time = Date.parse(value);
  return Number.isNaN(time) ? 0 : time;
}
