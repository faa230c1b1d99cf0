/**
 * The generation of nf_tables: a number that every commit to it changes, whoever commits, in this network namespace.
 * While it stays the same, nothing in any nftables table (those of iptables-nft included) has changed: one message of
 * 20 bytes answers what would otherwise take a listing.
 */
import { attributesByType, attributeU32BE } from './attributes.ts';
import { malformed } from './errors.ts';
import {
  NFNL_SUBSYS_NFTABLES,
  NFPROTO_UNSPEC,
  nfnetlinkAttributes,
  nfnetlinkType,
  writeNfgenmsg,
} from './nfnetlink.ts';
import { openConversation } from './request.ts';
import { NETLINK_NETFILTER, openNetlink } from './socket.ts';
import type { Transport } from './transport.ts';

// linux/netfilter/nf_tables.h
const NFT_MSG_GETGEN = 16;
const NFTA_GEN_ID = 1;

export interface NftablesGeneration {
  /** @throws NetlinkError, also where the kernel has no nf_tables. */
  read(): number;
  close(): void;
}

/** `open` is called again after a fault that leaves a socket unusable. */
export function openNftablesGeneration(
  open: () => Transport = () => openNetlink({ protocol: NETLINK_NETFILTER }),
): NftablesGeneration {
  const conversation = openConversation(open);
  return {
    read() {
      let generation: number | undefined;
      const call = {
        operation: 'nftables generation',
        object: '',
        type: nfnetlinkType(NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN),
        write: (writer: Parameters<typeof writeNfgenmsg>[0]) => writeNfgenmsg(writer, NFPROTO_UNSPEC),
      };
      conversation.request(call, (reply) => {
        const id = attributesByType(nfnetlinkAttributes(reply)).get(NFTA_GEN_ID);
        generation = id && attributeU32BE(id);
      });
      if (generation === undefined) throw malformed('no generation of nf_tables');
      return generation;
    },
    close: () => conversation.close(),
  };
}
