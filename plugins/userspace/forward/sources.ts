/** Sets of source addresses, given as addresses and CIDRs of both families. */
import { BlockList } from 'node:net';

export interface Sources {
  has(ip: string): boolean;
  /** Whether it was given by itself, as this node's own addresses are. */
  names(ip: string): boolean;
}

export function openSources(list: readonly string[]): Sources {
  // Single addresses, most of them this node's, are looked up; only CIDRs are compared one by one.
  const single = new Set(list.filter((source) => !source.includes('/')));
  const subnets = new BlockList();
  for (const source of list) {
    const [network, bits] = source.split('/');
    if (network !== undefined && bits !== undefined) subnets.addSubnet(network, Number(bits), familyOf(network));
  }
  return {
    names: (ip) => single.has(ip),
    has(ip) {
      // Sockets give link-local addresses a zone ("%eth0"), which is no part of the address.
      const [plain = ''] = ip.split('%');
      return single.has(plain) || subnets.check(plain, familyOf(plain));
    },
  };
}

function familyOf(ip: string): 'ipv4' | 'ipv6' {
  return ip.includes(':') ? 'ipv6' : 'ipv4';
}
