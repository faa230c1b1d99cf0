/**
 * Have the kernel load conntrack, by asking it something about it: a message to a netfilter subsystem that is not there
 * makes the kernel load the module behind it, and with nf_conntrack_netlink comes nf_conntrack. The kernel runs the
 * host's own modprobe for that, so that it works from a container, too.
 */
import { NFPROTO_UNSPEC, nfnetlinkType, writeNfgenmsg } from '../netlink/nfnetlink.ts';
import { openConversation } from '../netlink/request.ts';
import { NETLINK_NETFILTER, openNetlink } from '../netlink/socket.ts';
import type { Transport } from '../netlink/transport.ts';

// linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h
const NFNL_SUBSYS_CTNETLINK = 1;
const IPCTNL_MSG_CT_GET_STATS = 5;

/** @throws NetlinkError, also where the kernel has no conntrack to load. */
export function loadConntrack(open: () => Transport = () => openNetlink({ protocol: NETLINK_NETFILTER })): void {
  const conversation = openConversation(open);
  try {
    conversation.request({
      operation: 'conntrack statistics',
      object: '',
      type: nfnetlinkType(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET_STATS),
      write: (writer) => writeNfgenmsg(writer, NFPROTO_UNSPEC),
    });
  } finally {
    conversation.close();
  }
}
