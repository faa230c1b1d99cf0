/**
 * A ServiceCIDR object → the ranges from which ClusterIPs are allocated. What is in one but is no Service's has nobody
 * to answer, and backends may drop it instead of letting it leave the node.
 */
import { parseCIDR } from './ip.ts';
import type { Parsed, ServiceCIDR } from './objects.ts';
import { readEnvelope, readList, readMap, show } from './raw-object.ts';

export function parseServiceCIDR(raw: unknown): Parsed<ServiceCIDR> {
  const problems: string[] = [];
  const envelope = readEnvelope(raw, 'ServiceCIDR', problems);
  if (envelope === undefined) return { value: undefined, problems };
  const cidrs: string[] = [];
  const spec = readMap(envelope.raw.spec, 'spec', problems);
  readList(spec.cidrs, 'spec.cidrs', problems).forEach((value, index) => {
    const parsed = typeof value === 'string' ? parseCIDR(value) : undefined;
    if (parsed === undefined) problems.push(`spec.cidrs[${index}]: ${show(value)} is not a CIDR; ignored`);
    else if (!cidrs.includes(parsed.cidr)) cidrs.push(parsed.cidr);
  });
  return { value: { name: envelope.name, cidrs }, problems };
}
