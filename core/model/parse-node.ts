/**
 * A Node object → what the proxy of that node reads of it: addresses, zone, pod CIDRs, and whether load balancers may use it.
 */
import { parseCIDR, parseIP } from './ip.ts';
import type { Node, Parsed } from './objects.ts';
import { absent, isObject, type RawObject, readEnvelope, readList, readMap, readText, show } from './raw-object.ts';

const ZONE_LABEL = 'topology.kubernetes.io/zone';
/** Set by the cluster autoscaler on a node that it is about to take away; effect and value do not matter. */
const TO_BE_DELETED_TAINT = 'ToBeDeletedByClusterAutoscaler';

export function parseNode(raw: unknown): Parsed<Node> {
  const problems: string[] = [];
  const envelope = readEnvelope(raw, 'Node', problems);
  if (envelope === undefined) return { value: undefined, problems };
  const spec = readMap(envelope.raw.spec, 'spec', problems);
  const status = readMap(envelope.raw.status, 'status', problems);
  const zone = readText(envelope.labels[ZONE_LABEL], `metadata.labels["${ZONE_LABEL}"]`, problems);
  const ips = readAddresses(status, problems);
  const podCIDRs = readPodCIDRs(spec, problems);
  const { name, uid } = envelope;
  return { value: { name, uid, zone, ips, podCIDRs, eligible: isEligible(envelope.raw, spec, problems) }, problems };
}

function isEligible(raw: RawObject, spec: RawObject, problems: string[]): boolean {
  const { deletionTimestamp } = readMap(raw.metadata, 'metadata', problems);
  if (!absent(deletionTimestamp)) return false;
  return !readList(spec.taints, 'spec.taints', problems).some(
    (taint) => isObject(taint) && taint.key === TO_BE_DELETED_TAINT,
  );
}

/** InternalIPs before ExternalIPs: the first one is the address other nodes know this one by. */
function readAddresses(status: RawObject, problems: string[]): readonly string[] {
  const internal: string[] = [];
  const external: string[] = [];
  readList(status.addresses, 'status.addresses', problems).forEach((entry, index) => {
    const field = `status.addresses[${index}]`;
    if (!isObject(entry)) {
      problems.push(`${field}: ${show(entry)} is not an object; ignored`);
      return;
    }
    if (entry.type !== 'InternalIP' && entry.type !== 'ExternalIP') return;
    const parsed = typeof entry.address === 'string' ? parseIP(entry.address) : undefined;
    if (parsed === undefined) problems.push(`${field}.address: ${show(entry.address)} is not an IP address; ignored`);
    else (entry.type === 'InternalIP' ? internal : external).push(parsed.ip);
  });
  return [...new Set([...internal, ...external])];
}

function readPodCIDRs(spec: RawObject, problems: string[]): readonly string[] {
  const cidrs: string[] = [];
  const add = (value: unknown, field: string): void => {
    if (value === '') return;
    const parsed = typeof value === 'string' ? parseCIDR(value) : undefined;
    if (parsed === undefined) problems.push(`${field}: ${show(value)} is not a CIDR; ignored`);
    else if (!cidrs.includes(parsed.cidr)) cidrs.push(parsed.cidr);
  };
  const list = readList(spec.podCIDRs, 'spec.podCIDRs', problems);
  list.forEach((value, index) => {
    add(value, `spec.podCIDRs[${index}]`);
  });
  if (list.length === 0 && spec.podCIDR !== undefined && spec.podCIDR !== null) add(spec.podCIDR, 'spec.podCIDR');
  return cidrs;
}
