/**
 * What the kernel holds of the proxy, as text that is the same whenever it does the same, and what somebody else may do
 * to it. One of these for each backend.
 */
import type { IPFamily } from '../../core/backend.ts';
import { listTable, NFT_FAMILY, TABLE, tableNames } from '../netns/backend-nftables.ts';
import { save } from '../netns/iptables-scene.ts';
import type { World } from '../netns/world.ts';
import { NODE_NAME } from '../netns/world-topology.ts';
import type { BackendName } from './configuration.ts';
import { FAMILIES } from './places.ts';

export interface Kernel {
  /** Lines; counters and what packets made are left out. */
  list(): Promise<readonly string[]>;
  /** Change something; which act is chosen by any whole number. It may be refused. */
  vandalize(act: number): Promise<void>;
  /** What another backend left, in a few words; "" for nothing. */
  leftovers(): Promise<string>;
  /** Of lines that a full sync took away, those that nothing led to: it may. */
  spare(gone: readonly string[]): readonly string[];
}

export function kernelOf(backend: BackendName, world: World): Kernel {
  return backend === 'iptables' ? iptables(world) : nftables(world);
}

const TOOLS: Readonly<Record<IPFamily, string>> = { IPv4: 'iptables-nft', IPv6: 'ip6tables-nft' };

/** Each is a list of command lines, run for both families. */
const IPTABLES_ACTS: readonly (readonly string[])[] = [
  ['-t nat -F'],
  ['-t nat -F PREROUTING'],
  ['-t nat -F KUBE-SERVICES'],
  ['-t nat -F KUBE-POSTROUTING'],
  ['-F', '-X', '-t nat -F', '-t nat -X', '-t mangle -F', '-t mangle -X'],
  ['-F FORWARD'],
  ['-I KUBE-FORWARD -j DROP'],
  ['-F KUBE-SERVICES'],
];

function iptables(world: World): Kernel {
  const run = (line: string, family: IPFamily) =>
    world.exec(NODE_NAME, TOOLS[family], ['-w', '5', ...line.split(' ')], { anyStatus: true });
  return {
    async list() {
      const rules = await Promise.all(FAMILIES.map((family) => save(world, 'nft', family)));
      const sets = await world.exec(NODE_NAME, 'ipset', ['list', '-name']);
      return [...rules, sets.stdout].flatMap((text) => text.split('\n')).filter((line) => line !== '');
    },
    async vandalize(act) {
      const chains = [...(await save(world, 'nft')).matchAll(/^:(KUBE-(?:SVC|SVL|EXT)-\S+)/gm)].map(
        ([, name]) => name!,
      );
      const ofAService = chains[act % Math.max(1, chains.length)];
      const acts = [...IPTABLES_ACTS, ...(ofAService === undefined ? [] : [[`-t nat -F ${ofAService}`]])];
      for (const line of acts[act % acts.length]!) for (const family of FAMILIES) await run(line, family);
    },
    async leftovers() {
      const tables = (await tableNames(world)).filter((name) => name.endsWith(` ${TABLE}`));
      return tables.length === 0 ? '' : `tables ${tables.join(', ')} of the nftables backend`;
    },
    spare: () => [],
  };
}

function nftables(world: World): Kernel {
  const run = (line: string) => world.exec(NODE_NAME, 'nft', line.split(' '), { anyStatus: true });
  const acts: readonly (readonly string[])[] = [
    ['flush ruleset'],
    FAMILIES.map((family) => `delete table ${NFT_FAMILY[family]} ${TABLE}`),
    FAMILIES.map((family) => `flush map ${NFT_FAMILY[family]} ${TABLE} services`),
    FAMILIES.map((family) => `flush map ${NFT_FAMILY[family]} ${TABLE} endpoints`),
    FAMILIES.map((family) => `flush chain ${NFT_FAMILY[family]} ${TABLE} translated`),
  ];
  return {
    async list() {
      const tables = await Promise.all(FAMILIES.map((family) => listTable(world, family)));
      return tables.flatMap((text) => text.split('\n'));
    },
    async vandalize(act) {
      for (const line of acts[act % acts.length]!) await run(line);
    },
    async leftovers() {
      const rules = await Promise.all(FAMILIES.map((family) => save(world, 'nft', family)));
      // KUBE-FIREWALL and its jump stay: kubelet uses the same chain.
      const chains = rules.flatMap((text) => text.match(/^:KUBE-(?!FIREWALL|MARK-DROP)\S+/gm) ?? []);
      return chains.length === 0 ? '' : `${chains.length} chains of the iptables backend, among them ${chains[0]}`;
    },
    // Chains wait for a class of Services to come back, and so do elements from classes to chains. One that is needed
    // is in the plan, so that a restart would not take it away.
    spare(gone) {
      const names = gone.flatMap((line) => /^chain (?!.*"hook").*"name":"([^"]+)"/.exec(line)?.[1] ?? []);
      return gone.filter((line) => {
        const chain = /^(?:chain .*"name"|rule .*"chain"):"([^"]+)"/.exec(line)?.[1];
        return chain === undefined
          ? /^ {2}ip6? .*\{"goto":\{"target":"[^"]+"\}\}\]$/.test(line)
          : names.includes(chain);
      });
    },
  };
}
