/**
 * The kernel's named packet counters (linux/netfilter/nfnetlink_acct.h), without the `nfacct` tool:
 *
 *   NEW, GET, DEL   NAME
 *   answer to GET   NAME, PKTS u64 be, BYTES u64 be, USE u32 be
 *
 * A counter belongs to its network namespace. Rules find it by name when they are loaded and hold it from then on: it
 * cannot be deleted while one refers to it. One that exists is to keep its value, so that NEW never carries
 * NLM_F_REPLACE, which would set it to zero; EEXIST is success.
 */
import type { PacketCounters } from '../backend.ts';
import { attributesByType, attributeU64BE } from './attributes.ts';
import { type ErrnoMeaning, malformed, NetlinkError } from './errors.ts';
import { type Message, NLM_F_CREATE, NLM_F_EXCL } from './message.ts';
import { NFNL_SUBSYS_ACCT, NFPROTO_UNSPEC, nfnetlinkAttributes, nfnetlinkType, writeNfgenmsg } from './nfnetlink.ts';
import { type Call, openConversation } from './request.ts';
import { NETLINK_NETFILTER, openNetlink } from './socket.ts';
import type { Transport } from './transport.ts';

const NFNL_MSG_ACCT_NEW = 0;
const NFNL_MSG_ACCT_GET = 1;
const NFNL_MSG_ACCT_DEL = 3;

const NFACCT_NAME = 1;
const NFACCT_PKTS = 2;
const NFACCT_BYTES = 3;

/** Bytes of a name without its NUL (NFACCT_NAME_MAX counts it). */
const LONGEST_NAME = 31;

export interface OpenPacketCounters extends PacketCounters {
  close(): void;
}

/** `open` is called again after a fault that leaves a socket unusable. */
export function openPacketCounters(
  open: () => Transport = () => openNetlink({ protocol: NETLINK_NETFILTER }),
): OpenPacketCounters {
  const conversation = openConversation(open);

  function ask(operation: string, command: number, name: string, flags: number, each?: (reply: Message) => void): void {
    checkName(operation, name);
    const call: Call = {
      operation,
      object: name,
      type: nfnetlinkType(NFNL_SUBSYS_ACCT, command),
      flags,
      meaning: errorMeaning,
      write(writer) {
        writeNfgenmsg(writer, NFPROTO_UNSPEC);
        writer.text(NFACCT_NAME, name);
      },
    };
    try {
      conversation.request(call, each);
    } catch (error) {
      throw errnoOf(error) === 'EINVAL' ? unsupported(operation) : error;
    }
  }

  return {
    ensure(name) {
      try {
        ask('nfacct create', NFNL_MSG_ACCT_NEW, name, NLM_F_CREATE | NLM_F_EXCL);
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST') throw error;
      }
    },
    read(name) {
      let found: ReturnType<PacketCounters['read']>;
      try {
        ask('nfacct read', NFNL_MSG_ACCT_GET, name, 0, (reply) => {
          found = counts(reply);
        });
      } catch (error) {
        if (errnoOf(error) === 'ENOENT') return undefined;
        throw error;
      }
      if (found === undefined) throw malformed(`no counts of ${name}`);
      return found;
    },
    delete(name) {
      try {
        ask('nfacct delete', NFNL_MSG_ACCT_DEL, name, 0); // Without a name the kernel would delete every idle counter.
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT') throw error;
      }
    },
    close: () => conversation.close(),
  };
}

function counts(reply: Message): { readonly packets: number; readonly bytes: number } {
  const attributes = attributesByType(nfnetlinkAttributes(reply));
  const number = (type: number): number => {
    const data = attributes.get(type);
    if (data === undefined) throw malformed(`attribute ${type} is missing`);
    return Number(attributeU64BE(data));
  };
  return { packets: number(NFACCT_PKTS), bytes: number(NFACCT_BYTES) };
}

function checkName(operation: string, name: string): void {
  const bytes = Buffer.byteLength(name);
  if (bytes >= 1 && bytes <= LONGEST_NAME && !name.includes('\0')) return;
  throw new NetlinkError({
    code: 'KP_NETLINK_INVALID',
    operation,
    object: JSON.stringify(name),
    text: `a counter's name has 1 to ${LONGEST_NAME} bytes and no NUL, this one has ${bytes} bytes`,
  });
}

function errnoOf(error: unknown): string {
  return error instanceof NetlinkError ? error.errno : '';
}

const EBUSY = 16;

function errorMeaning(errno: number): ErrnoMeaning | undefined {
  if (errno !== EBUSY) return undefined;
  return { name: 'EBUSY', text: 'a rule refers to it', remedy: 'remove what refers to it first' };
}

/** EINVAL is what nfnetlink says about a subsystem that is not there; our messages give no other reason for it. */
function unsupported(operation: string): NetlinkError {
  return new NetlinkError({
    code: 'KP_NETLINK_UNSUPPORTED',
    operation,
    errno: 'EINVAL',
    text: 'this kernel has no packet counters',
    remedy: 'load the module nfnetlink_acct or use a kernel with CONFIG_NETFILTER_NETLINK_ACCT',
  });
}
