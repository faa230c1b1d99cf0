/** The kernel interfaces as a plugin gets them: each is opened when first asked for, once, and kept. */
import type { Netlink } from '../backend.ts';
import { type OpenIPSets, openIPSets } from './ipset.ts';
import { type OpenIPVS, openIPVS } from './ipvs.ts';
import { type OpenDummyLink, openDummyLink } from './link.ts';
import { type OpenPacketCounters, openPacketCounters } from './nfacct.ts';
import { type OpenNftables, openNftables } from './nftables/kernel.ts';
import { type NftablesGeneration, openNftablesGeneration } from './nftables-generation.ts';

export interface OpenNetlink extends Netlink {
  /** Close what was opened. Asking again opens it again. */
  close(): void;
}

export function createNetlink(
  openSets: () => OpenIPSets = openIPSets,
  openGeneration: () => NftablesGeneration = openNftablesGeneration,
  openTables: () => OpenNftables = openNftables,
  openCounters: () => OpenPacketCounters = openPacketCounters,
  openBalancer: () => OpenIPVS = openIPVS,
  openLink: (name: string) => OpenDummyLink = openDummyLink,
): OpenNetlink {
  let sets: OpenIPSets | undefined;
  let generation: NftablesGeneration | undefined;
  let tables: OpenNftables | undefined;
  let counters: OpenPacketCounters | undefined;
  let balancer: OpenIPVS | undefined;
  const links = new Map<string, OpenDummyLink>();
  return {
    ipset() {
      sets ??= openSets();
      return sets;
    },
    nftablesGeneration() {
      generation ??= openGeneration();
      return generation.read();
    },
    nftables() {
      tables ??= openTables();
      return tables;
    },
    nfacct() {
      counters ??= openCounters();
      return counters;
    },
    ipvs() {
      balancer ??= openBalancer();
      return balancer;
    },
    dummyLink(name) {
      const link = links.get(name) ?? openLink(name);
      links.set(name, link);
      return link;
    },
    close() {
      sets?.close();
      generation?.close();
      tables?.close();
      counters?.close();
      balancer?.close();
      for (const link of links.values()) link.close();
      sets = undefined;
      generation = undefined;
      tables = undefined;
      counters = undefined;
      balancer = undefined;
      links.clear();
    },
  };
}
