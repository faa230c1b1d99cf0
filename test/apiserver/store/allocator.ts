/**
 * Who holds which ClusterIP and which node port. Claims are kept by owner ("namespace/name" of a Service), so that
 * what a failed or superseded write had claimed is given back by stating what the owner keeps.
 */
import { BlockList } from 'node:net';
import { ipFamily } from '../api/field-errors.ts';
import type { Allocator, Claims } from '../kinds/kind.ts';

type Family = 'IPv4' | 'IPv6';

export interface OwnAllocator extends Allocator {
  /** CIDRs from which to allocate, primary family first. Addresses that are held stay so. */
  setRanges(cidrs: readonly string[]): void;
  /** Exactly these are held. */
  reset(claims: readonly Claims[]): void;
}

const [FIRST_NODE_PORT, LAST_NODE_PORT] = [30_000, 32_767];
/** No range is searched further: more Services than that are not kept here. */
const MOST_IPS = 1_000_000n;

interface Range {
  readonly cidr: string;
  readonly family: Family;
  readonly first: bigint;
  readonly size: bigint;
  readonly members: BlockList;
}

export function createAllocator(): OwnAllocator {
  let ranges: readonly Range[] = [];
  const ips = new Map<string, string>();
  const ports = new Map<number, string>();
  const held = new Map<string, { ips: Set<string>; ports: Set<number> }>();
  /** Where the last search of a range ended. */
  const cursors = new Map<string, bigint>();
  let portCursor = 0;

  const claims = (owner: string) => {
    const known = held.get(owner) ?? { ips: new Set<string>(), ports: new Set<number>() };
    held.set(owner, known);
    return known;
  };
  const takeIP = (ip: string, owner: string): void => {
    ips.set(canonical(ip), owner);
    claims(owner).ips.add(canonical(ip));
  };
  const takePort = (port: number, owner: string): void => {
    ports.set(port, owner);
    claims(owner).ports.add(port);
  };

  return {
    setRanges(cidrs) {
      ranges = cidrs.map(parseRange);
    },
    reset(list) {
      ips.clear();
      ports.clear();
      held.clear();
      for (const { owner, ips: ownIPs, nodePorts } of list) {
        for (const ip of ownIPs) takeIP(ip, owner);
        for (const port of nodePorts) takePort(port, owner);
      }
    },
    families: () => [...new Set(ranges.map(({ family }) => family))],
    claimIP(family, ip, owner) {
      const own = ranges.filter((range) => range.family === family);
      if (!own.some(({ members }) => members.check(ip, family === 'IPv4' ? 'ipv4' : 'ipv6'))) {
        const list = own.map(({ cidr }) => cidr).join(', ');
        return `the provided IP (${ip}) is not in the valid range. The range of valid IPs is ${list}`;
      }
      const holder = ips.get(canonical(ip));
      if (holder !== undefined && holder !== owner) return 'provided IP is already allocated';
      takeIP(ip, owner);
      return undefined;
    },
    nextIP(family, owner) {
      for (const range of ranges) {
        if (range.family !== family) continue;
        const start = cursors.get(range.cidr) ?? 0n;
        for (let step = 0n; step < range.size; step++) {
          const offset = (start + step) % range.size;
          const ip = format(range.first + offset, family);
          if (ips.has(ip)) continue;
          cursors.set(range.cidr, offset + 1n);
          takeIP(ip, owner);
          return ip;
        }
      }
      return undefined;
    },
    claimNodePort(port, owner) {
      if (port < FIRST_NODE_PORT || port > LAST_NODE_PORT) {
        return `provided port is not in the valid range. The range of valid ports is ${FIRST_NODE_PORT}-${LAST_NODE_PORT}`;
      }
      const holder = ports.get(port);
      if (holder !== undefined && holder !== owner) return 'provided port is already allocated';
      takePort(port, owner);
      return undefined;
    },
    nextNodePort(owner) {
      const count = LAST_NODE_PORT - FIRST_NODE_PORT + 1;
      for (let step = 0; step < count; step++) {
        const port = FIRST_NODE_PORT + ((portCursor + step) % count);
        if (ports.has(port)) continue;
        portCursor += step + 1;
        takePort(port, owner);
        return port;
      }
      return undefined;
    },
    retain(owner, keepIPs, keepPorts) {
      const own = held.get(owner);
      if (own === undefined) return;
      const kept = new Set(keepIPs.map(canonical));
      for (const ip of own.ips) {
        if (kept.has(ip)) continue;
        ips.delete(ip);
        own.ips.delete(ip);
      }
      for (const port of own.ports) {
        if (keepPorts.includes(port)) continue;
        ports.delete(port);
        own.ports.delete(port);
      }
      if (own.ips.size === 0 && own.ports.size === 0) held.delete(owner);
    },
  };
}

function parseRange(cidr: string): Range {
  const [address = '', length = ''] = cidr.split('/');
  const family = ipFamily(address) ?? 'IPv4';
  const bits = BigInt((family === 'IPv4' ? 32 : 128) - Number(length));
  const base = (toNumber(address, family) >> bits) << bits;
  const members = new BlockList();
  members.addSubnet(address, Number(length), family === 'IPv4' ? 'ipv4' : 'ipv6');
  // The network's own address is never given out, nor IPv4's broadcast address.
  const all = 1n << bits;
  const usable = family === 'IPv4' ? all - 2n : all - 1n;
  return { cidr, family, first: base + 1n, size: usable < MOST_IPS ? usable : MOST_IPS, members };
}

function toNumber(address: string, family: Family): bigint {
  if (family === 'IPv4') return address.split('.').reduce((sum, octet) => sum * 256n + BigInt(octet), 0n);
  return groups(address).reduce((sum, group) => sum * 65_536n + BigInt(group), 0n);
}

function groups(address: string): readonly number[] {
  const [head = '', tail] = address.split('::');
  const parse = (text: string) =>
    text === ''
      ? []
      : text.split(':').flatMap((group) => {
          if (!group.includes('.')) return [Number.parseInt(group, 16)];
          const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number);
          return [a * 256 + b, c * 256 + d];
        });
  const [first, last] = [parse(head), tail === undefined ? [] : parse(tail)];
  return [...first, ...Array<number>(8 - first.length - last.length).fill(0), ...last];
}

function format(value: bigint, family: Family): string {
  if (family === 'IPv4') return [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 255n)).join('.');
  const parts = [112n, 96n, 80n, 64n, 48n, 32n, 16n, 0n].map((shift) => ((value >> shift) & 65_535n).toString(16));
  return new URL(`http://[${parts.join(':')}]`).hostname.slice(1, -1);
}

function canonical(ip: string): string {
  return ip.includes(':') ? format(toNumber(ip, 'IPv6'), 'IPv6') : ip;
}
