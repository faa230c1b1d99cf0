/**
 * Having the kernel load ip_vs where it does not do so by itself, without a modprobe of our own (which a container has
 * not, nor the host's modules).
 *
 * Since Linux 5.17 ip_vs says that it is the family "IPVS", and looking that up suffices. Before, something must be
 * asked for that needs it: the iptables match "ipvs" (xt_ipvs depends on ip_vs), which nf_tables' compatibility layer
 * looks for when asked whether it has it:
 *
 *   NFNL_MSG_COMPAT_GET { NAME "ipvs", REV 0, TYPE match } ──▶ request_module("ipt_ipvs") ──▶ xt_ipvs, ip_vs
 *
 * It is a question: nothing is made of it.
 */
import { NFPROTO_IPV4, nfnetlinkType, writeNfgenmsg } from './nfnetlink.ts';
import { openConversation } from './request.ts';
import type { Transport } from './transport.ts';

const NFNL_SUBSYS_NFT_COMPAT = 11;
const NFNL_MSG_COMPAT_GET = 0;
const NFTA_COMPAT_NAME = 1;
const NFTA_COMPAT_REV = 2;
const NFTA_COMPAT_TYPE = 3;
const MATCH = 0;

/** Whether it helped is seen by looking the family up again: any answer to the question will do, also a refusal. */
export function askForIPVSModule(openNetfilter: () => Transport): void {
  let conversation: ReturnType<typeof openConversation> | undefined;
  try {
    conversation = openConversation(openNetfilter);
    conversation.request({
      operation: 'ipvs load module',
      object: '',
      type: nfnetlinkType(NFNL_SUBSYS_NFT_COMPAT, NFNL_MSG_COMPAT_GET),
      write(writer) {
        writeNfgenmsg(writer, NFPROTO_IPV4);
        writer.text(NFTA_COMPAT_NAME, 'ipvs');
        writer.u32be(NFTA_COMPAT_REV, 0);
        writer.u32be(NFTA_COMPAT_TYPE, MATCH);
      },
    });
  } catch {
    // Without nf_tables, or without that match, there is no other way than the operator's.
  } finally {
    conversation?.close();
  }
}
