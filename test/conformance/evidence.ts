/**
 * What the kernel holds in this network namespace, who listens in it, and the files written in private ones, as lines
 * that can be compared: how the kit sees the work of a backend that it knows nothing about. What packets do and time
 * changes (counters, expiry) is left out.
 */

import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import type { Host, NftFamily, NftTableContent } from '../../core/backend.ts';
import { type Listener, listeners } from './listeners.ts';
import { privateFiles, removePrivateFiles } from './private-files.ts';

export interface Evidence {
  /** Sorted. Never rejects: what cannot be listed is left out. */
  look(): Promise<readonly string[]>;
  /** Sockets that wait for connections or datagrams, whoever's; they are lines of `look`, too. */
  listening(): readonly Listener[];
  /** Takes away what backends made and what can be taken away: each behaviour begins on an empty host. */
  wipe(): Promise<void>;
  /** Something of somebody else's, that no backend may touch; resolves to false if that cannot be made here. */
  plant(): Promise<boolean>;
  /** Is it still there, as it was? */
  planted(): Promise<boolean>;
}

/** Begin such lines. */
export const [FILE, LISTENER] = ['file ', 'listener '] as const;
/** Somebody else's table. */
const FOREIGN = 'kube-proxy-plugin-test';
const FAMILIES: readonly NftFamily[] = ['ip', 'ip6'];
/** Tables that iptables makes when it is asked for anything, and leaves. They count by what is in them. */
const IPTABLES_TABLES: readonly string[] = ['filter', 'nat', 'mangle', 'raw', 'security'];
/** A chain that the kubelet has, too: whoever comes first makes it, and nobody may remove it. */
const SHARED = 'KUBE-FIREWALL';
const SHARED_IN_FINGERPRINTS = Buffer.from(SHARED).toString('hex');
/** There since the first use of IPVS. */
const IP_VS = '/proc/net/ip_vs';
const OTHER_FAMILIES: readonly string[] = ['inet', 'arp', 'bridge', 'netdev'];

/** `read`: a file's text, or undefined. */
export function kernelEvidence(
  host: Host,
  read: (path: string) => string | undefined = readText,
  listening: () => readonly Listener[] = listeners,
): Evidence {
  const files = privateFiles();
  const links = new Set(linkNames(read));
  const sources: readonly (() => Promise<readonly string[]>)[] = [
    () => nftables(host),
    () => nftablesOfOtherFamilies(host),
    () => legacyIptables(host, read),
    async () =>
      host.netlink
        .ipset()
        .names()
        .map((name) => `ipset ${name}`),
    async () => virtualServers(read),
    async () => interfaces(read),
    async () => [...new Set(listening().map(({ name }) => `${LISTENER}${name}`))],
    async () => [...privateFiles()].map(([path, content]) => `${FILE}${path}: ${content}`),
  ];
  return {
    listening,
    async look() {
      const seen = await Promise.all(sources.map((source) => source().catch((): readonly string[] => [])));
      return seen.flat().sort();
    },
    async wipe() {
      for (const family of FAMILIES) {
        const tables = await host.netlink
          .nftables()
          .tables(family)
          .catch(() => []);
        for (const { name } of tables) await deleteTable(host, family, name);
      }
      if (read(IP_VS) !== undefined) await deleteVirtualServers(host).catch(() => {});
      for (const name of linkNames(read).filter((each) => !links.has(each))) deleteDummyLink(host, name);
      removePrivateFiles(files);
    },
    async plant() {
      try {
        for (const family of FAMILIES) {
          await host.netlink.nftables().commit({
            family,
            table: FOREIGN,
            operations: [
              { do: 'add table', owned: false },
              { do: 'add chain', chain: { name: 'KUBE-FOREIGN' } },
              { do: 'add rule', chain: 'KUBE-FOREIGN', rule: { statements: [{ counter: true }] } },
            ],
          });
        }
        return true;
      } catch {
        return false;
      }
    },
    async planted() {
      for (const family of FAMILIES) {
        const table = await host.netlink.nftables().read(family, FOREIGN);
        if (table?.chains.find(({ name }) => name === 'KUBE-FOREIGN')?.rules.length !== 1) return false;
      }
      return true;
    },
  };
}

async function deleteTable(host: Host, family: NftFamily, table: string): Promise<void> {
  await host.netlink
    .nftables()
    .commit({ family, table, operations: [{ do: 'delete table' }] })
    .catch(() => {});
}

async function deleteVirtualServers(host: Host): Promise<void> {
  const ipvs = host.netlink.ipvs();
  for (const family of ['IPv4', 'IPv6'] as const) {
    const servers = await ipvs.virtualServers(family);
    await ipvs.apply(servers.map((server) => ({ do: 'delete virtual server', server })));
  }
}

function deleteDummyLink(host: Host, name: string): void {
  try {
    host.netlink.dummyLink(name).delete();
  } catch {
    // It is of another kind.
  }
}

/** Each real server with its virtual server; connections left out. Three lines of headings come first. */
function virtualServers(read: (path: string) => string | undefined): readonly string[] {
  let server = '';
  return lines(read(IP_VS))
    .slice(3)
    .map((line) => {
      const words = line.trim().split(/\s+/);
      if (words[0] === '->') return `ipvs ${server} ${words.slice(0, -2).join(' ')}`;
      server = words.join(' ');
      return `ipvs ${server}`;
    });
}

async function nftables(host: Host): Promise<readonly string[]> {
  const found: string[] = [];
  for (const family of FAMILIES) {
    for (const { name } of await host.netlink.nftables().tables(family)) {
      const content = await host.netlink.nftables().read(family, name);
      if (content !== undefined && name !== FOREIGN) found.push(...tableLines(family, content));
    }
  }
  return found;
}

function tableLines(family: NftFamily, { name, chains, sets }: NftTableContent): readonly string[] {
  const table = `nftables ${family} ${name}`;
  const content = [
    ...chains.flatMap(({ name: chain, hook, policy, rules }) => {
      if (chain === SHARED) return [];
      const own = rules.filter((rule) => !rule.includes(SHARED_IN_FINGERPRINTS));
      return [
        ...(hook && policy === undefined ? [] : [`${table} chain ${chain}${policy ? ` policy ${policy}` : ''}`]),
        ...own.map((rule, index) => `${table} chain ${chain} rule ${index}: ${rule}`),
      ];
    }),
    ...sets.map((set) => `${table} set ${set.name}`),
  ];
  return IPTABLES_TABLES.includes(name) ? content : [table, ...content];
}

async function nftablesOfOtherFamilies(host: Host): Promise<readonly string[]> {
  const found: string[] = [];
  for (const family of OTHER_FAMILIES) {
    const { status, stdout } = await host.exec('nft', ['list', 'ruleset', family], { timeoutMs: 5000 });
    if (status !== 0) continue;
    const plain = stdout.replace(/ (counter) packets \d+ bytes \d+/g, ' $1').replace(/ expires \S+/g, '');
    found.push(...lines(plain).map((line) => `nftables ${line.trim()}`));
  }
  return found;
}

async function legacyIptables(host: Host, read: (path: string) => string | undefined): Promise<readonly string[]> {
  const found: string[] = [];
  for (const [command, loaded] of [
    ['iptables', '/proc/net/ip_tables_names'],
    ['ip6tables', '/proc/net/ip6_tables_names'],
  ] as const) {
    for (const table of lines(read(loaded))) {
      const { stdout } = await host.exec(`${command}-legacy-save`, ['-t', table], { timeoutMs: 5000 });
      const content = lines(stdout).filter((line) => /^(-A |:\S+ - )/.test(line) && !line.includes(SHARED));
      found.push(...content.map((line) => `${command} ${table} ${line.replace(/ \[\d+:\d+\]$/, '')}`));
    }
  }
  return found;
}

function interfaces(read: (path: string) => string | undefined): readonly string[] {
  const names = linkNames(read).map((name) => `interface ${name}`);
  const addresses = Object.entries(networkInterfaces()).flatMap(([name, own = []]) =>
    own.filter(({ address }) => !address.startsWith('fe80:')).map(({ cidr }) => `address ${cidr} on ${name}`),
  );
  return names.length === 0 ? [] : [...names, ...addresses];
}

/** Two lines of headings come first. */
function linkNames(read: (path: string) => string | undefined): readonly string[] {
  return lines(read('/proc/net/dev'))
    .slice(2)
    .map((line) => line.split(':')[0]!.trim());
}

function lines(text: string | undefined): string[] {
  return (text ?? '').split('\n').filter((line) => line.trim() !== '');
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
