/** Elements of a hash:ip set, out of the messages that list it. */
import ipaddr from 'ipaddr.js';
import type { IPSetMember } from '../backend.ts';
import { type Attribute, attributesByType, attributeU32BE, parseAttributes } from './attributes.ts';
import { malformed } from './errors.ts';
import * as ip from './ipset-protocol.ts';

/** Appends the elements in one message's attributes to `members`. */
export function parseMembers(attributes: Uint8Array, members: IPSetMember[]): void {
  const elements = attributesByType(attributes).get(ip.IPSET_ATTR_ADT);
  if (elements === undefined) return; // An empty set.
  for (const element of parseAttributes(elements)) {
    if (element.type === ip.IPSET_ATTR_DATA) members.push(parseMember(element));
  }
}

function parseMember({ data }: Attribute): IPSetMember {
  const attributes = attributesByType(data);
  const address = attributes.get(ip.IPSET_ATTR_IP);
  if (address === undefined) throw malformed('an element without an address');
  const timeout = attributes.get(ip.IPSET_ATTR_TIMEOUT);
  return { ip: parseAddress(address), remainingSeconds: timeout === undefined ? 0 : attributeU32BE(timeout) };
}

function parseAddress(bytes: Uint8Array): string {
  const attributes = attributesByType(bytes);
  const v4 = attributes.get(ip.IPSET_ATTR_IPADDR_IPV4);
  if (v4 !== undefined && v4.length === 4) return v4.join('.');
  const v6 = attributes.get(ip.IPSET_ATTR_IPADDR_IPV6);
  if (v6 !== undefined && v6.length === 16) return new ipaddr.IPv6([...v6]).toRFC5952String();
  throw malformed('an element whose address is neither IPv4 nor IPv6');
}
