/**
 * The kernel's IP sets without the `ipset` tool: a socket kept open, 15 to 45 µs a command instead of a process each.
 *
 * Opening asks which protocol version the kernel speaks (6 until Linux 4.19, 7 since) and which revision of hash:ip it
 * has; both also make the kernel load its modules, so that what is missing is known before anything is created.
 *
 * Sets have the kernel's default of 1024 buckets (16 KiB of kernel memory each). A bucket takes 12 elements, and the
 * kernel adds buckets only for elements that come from user space: a set filled by rules (-j SET) loses the first
 * elements at about 5,000 and never holds more than 12,288, whatever its maximum (measured on Linux 6.18).
 */
import type { IPFamily, IPSetMember, IPSets } from '../backend.ts';
import { attributesByType, attributeText, attributeU8, attributeU32BE, NLA_F_NET_BYTEORDER } from './attributes.ts';
import { malformed, NetlinkError } from './errors.ts';
import { parseMembers } from './ipset-members.ts';
import * as ip from './ipset-protocol.ts';
import { type Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL } from './message.ts';
import {
  NFNL_SUBSYS_IPSET,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  nfnetlinkAttributes,
  nfnetlinkType,
  writeNfgenmsg,
} from './nfnetlink.ts';
import { type Call, openConversation } from './request.ts';
import { NETLINK_NETFILTER, openNetlink } from './socket.ts';
import type { Transport } from './transport.ts';
import type { MessageWriter } from './writer.ts';

const HASH_IP = 'hash:ip';
const NO_IP_SET = {
  text: 'this kernel has no IP sets',
  remedy: 'load the module ip_set or use a kernel with CONFIG_IP_SET',
};
const NO_HASH_IP = {
  text: 'this kernel has no sets of that type',
  remedy: 'load the module ip_set_hash_ip or use a kernel with CONFIG_IP_SET_HASH_IP',
};

export interface OpenIPSets extends IPSets {
  close(): void;
}

/** A set as the kernel describes it. */
interface SetHeader {
  readonly type: string;
  readonly family: number;
  /** Seconds; undefined: its elements cannot have timeouts. */
  readonly timeout: number | undefined;
}

/**
 * `open` is called again after a fault that leaves a socket unusable.
 * @throws NetlinkError KP_NETLINK_UNSUPPORTED naming the kernel option that is missing, or EPERM without CAP_NET_ADMIN.
 */
export function openIPSets(open: () => Transport = openNetfilterSocket): OpenIPSets {
  const conversation = openConversation(open);
  try {
    return setsOf(conversation);
  } catch (error) {
    conversation.close();
    throw error;
  }
}

function openNetfilterSocket(): Transport {
  return openNetlink({ protocol: NETLINK_NETFILTER });
}

function setsOf(conversation: ReturnType<typeof openConversation>): OpenIPSets {
  let protocol = ip.IPSET_PROTOCOL_MAX;
  protocol = negotiate();
  const revision = lowestRevision();

  /** All commands begin alike: family header, protocol version, and mostly the set's name. */
  function call(
    operation: string,
    command: number,
    name: string,
    rest?: (writer: MessageWriter) => void,
    flags = 0,
  ): Call {
    return {
      operation,
      object: name,
      type: nfnetlinkType(NFNL_SUBSYS_IPSET, command),
      flags,
      meaning: ip.ipsetErrorMeaning,
      write(writer) {
        writeNfgenmsg(writer, NFPROTO_IPV4); // Required and not looked at: the set's family is an attribute.
        writer.u8(ip.IPSET_ATTR_PROTOCOL, protocol);
        if (name !== '') writer.text(ip.IPSET_ATTR_SETNAME, name);
        rest?.(writer);
      },
    };
  }

  function negotiate(): number {
    let highest = 0;
    let lowest: number | undefined;
    try {
      conversation.request(call('ipset open', ip.IPSET_CMD_PROTOCOL, ''), (reply) => {
        const attributes = attributesByType(nfnetlinkAttributes(reply));
        highest = attributeU8(required(attributes, ip.IPSET_ATTR_PROTOCOL, 'a protocol version'));
        const minimum = attributes.get(ip.IPSET_ATTR_PROTOCOL_MIN);
        lowest = minimum && attributeU8(minimum);
      });
    } catch (error) {
      // What nfnetlink says about a subsystem that is not there.
      if (errnoOf(error) === 'EINVAL') throw unsupported('ipset open', NO_IP_SET, error);
      throw error;
    }
    const common = Math.min(highest, ip.IPSET_PROTOCOL_MAX);
    if (common < Math.max(lowest ?? highest, ip.IPSET_PROTOCOL_MIN)) {
      const ours = `${ip.IPSET_PROTOCOL_MIN} to ${ip.IPSET_PROTOCOL_MAX}`;
      const text = `the kernel speaks ipset protocol ${lowest ?? highest} to ${highest}, we ${ours}`;
      throw unsupported('ipset open', { text, remedy: 'use another kernel or another version of this program' });
    }
    return common;
  }

  /** Higher revisions of hash:ip only add features that we do not use. */
  function lowestRevision(): number {
    let revision = 0;
    const operation = `ipset find type ${HASH_IP}`;
    const query = call(operation, ip.IPSET_CMD_TYPE, '', (writer) => {
      writer.text(ip.IPSET_ATTR_TYPENAME, HASH_IP);
      writer.u8(ip.IPSET_ATTR_FAMILY, NFPROTO_IPV4);
    });
    try {
      conversation.request(query, (reply) => {
        const minimum = attributesByType(nfnetlinkAttributes(reply)).get(ip.IPSET_ATTR_REVISION_MIN);
        revision = minimum === undefined ? 0 : attributeU8(minimum);
      });
    } catch (error) {
      // Built without the type: FIND_TYPE. Module not found: EEXIST is what the kernel says after trying to load it.
      const errno = errnoOf(error);
      if (errno === ip.IPSET_ERR_FIND_TYPE || errno === 'EEXIST') throw unsupported(operation, NO_HASH_IP, error);
      throw error;
    }
    return revision;
  }

  function header(operation: string, name: string): SetHeader {
    let found: SetHeader | undefined;
    conversation.dump(listing(operation, name, ip.IPSET_FLAG_LIST_HEADER), (message) => {
      found ??= parseHeader(message);
    });
    if (found === undefined) throw malformed(`no description of set ${name}`);
    return found;
  }

  /** Old kernels report that a set is not there only if an ack is asked for. */
  function listing(operation: string, name: string, flags: number): Call {
    const withFlags = (writer: MessageWriter) => {
      if (flags !== 0) writer.u32be(ip.IPSET_ATTR_FLAGS | NLA_F_NET_BYTEORDER, flags);
    };
    return call(operation, ip.IPSET_CMD_LIST, name, withFlags, NLM_F_ACK);
  }

  function createHashIP(set: Parameters<IPSets['createHashIP']>[0]): void {
    const { name, timeoutSeconds, maxElements, buckets } = set;
    const operation = 'ipset create';
    checkName(operation, name);
    checkNumber(operation, name, 'timeout', timeoutSeconds, 0, ip.IPSET_LONGEST_TIMEOUT);
    checkNumber(operation, name, 'maximum of elements', maxElements, 1, 0xffffffff);
    checkNumber(operation, name, 'number of buckets', buckets ?? 1024, 64, 2 ** 31);
    const family = set.family === 'IPv4' ? NFPROTO_IPV4 : NFPROTO_IPV6;
    const creation = call(
      operation,
      ip.IPSET_CMD_CREATE,
      name,
      (writer) => {
        writer.text(ip.IPSET_ATTR_TYPENAME, HASH_IP);
        writer.u8(ip.IPSET_ATTR_REVISION, revision);
        writer.u8(ip.IPSET_ATTR_FAMILY, family);
        writer.nest(ip.IPSET_ATTR_DATA, () => {
          writer.u32be(ip.IPSET_ATTR_TIMEOUT | NLA_F_NET_BYTEORDER, timeoutSeconds);
          if (buckets !== undefined) writer.u32be(ip.IPSET_ATTR_HASHSIZE | NLA_F_NET_BYTEORDER, buckets);
          writer.u32be(ip.IPSET_ATTR_MAXELEM | NLA_F_NET_BYTEORDER, maxElements);
        });
      },
      // Without NLM_F_EXCL the kernel would call a set of the other family the same one, all else being equal.
      NLM_F_CREATE | NLM_F_EXCL,
    );
    try {
      conversation.request(creation);
    } catch (error) {
      // Another default timeout or size is no conflict: rules state their timeout themselves.
      if (errnoOf(error) !== 'EEXIST') throw error;
      const conflict = conflictWith(header(operation, name), set.family, family);
      if (conflict !== '') throw occupied(operation, name, conflict);
    }
  }

  return {
    createHashIP,
    destroy(name) {
      const operation = 'ipset destroy';
      checkName(operation, name); // Without a name the kernel would destroy every set.
      try {
        conversation.request(call(operation, ip.IPSET_CMD_DESTROY, name));
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT') throw error;
      }
    },
    flush(name) {
      const operation = 'ipset flush';
      checkName(operation, name); // As above.
      conversation.request(call(operation, ip.IPSET_CMD_FLUSH, name));
    },
    names() {
      const names = new Set<string>();
      conversation.dump(listing('ipset list', '', ip.IPSET_FLAG_LIST_SETNAME), (message) => {
        const attributes = attributesByType(nfnetlinkAttributes(message));
        names.add(attributeText(required(attributes, ip.IPSET_ATTR_SETNAME, 'a set name')));
      });
      return [...names];
    },
    members(name) {
      const operation = 'ipset list';
      checkName(operation, name);
      const members: IPSetMember[] = [];
      conversation.dump(listing(operation, name, 0), (message) => {
        parseMembers(nfnetlinkAttributes(message), members);
      });
      return members;
    },
    close: () => conversation.close(),
  };
}

function parseHeader(message: Message): SetHeader {
  const attributes = attributesByType(nfnetlinkAttributes(message));
  const data = attributes.get(ip.IPSET_ATTR_DATA);
  const timeout = data && attributesByType(data).get(ip.IPSET_ATTR_TIMEOUT);
  return {
    type: attributeText(required(attributes, ip.IPSET_ATTR_TYPENAME, 'a type')),
    family: attributeU8(required(attributes, ip.IPSET_ATTR_FAMILY, 'a family')),
    timeout: timeout && attributeU32BE(timeout),
  };
}

/** Why a set cannot serve as the one that was asked for; "" if it can. */
function conflictWith(existing: SetHeader, familyName: IPFamily, family: number): string {
  if (existing.type !== HASH_IP) return `of type ${existing.type}, not ${HASH_IP}`;
  if (existing.family !== family) return `not of family ${familyName}`;
  // Elements would be taken and never expire.
  if (existing.timeout === undefined) return 'without timeouts';
  return '';
}

function required(attributes: ReadonlyMap<number, Uint8Array>, type: number, what: string): Uint8Array {
  const data = attributes.get(type);
  if (data === undefined) throw malformed(`${what} is missing`);
  return data;
}

function errnoOf(error: unknown): string {
  return error instanceof NetlinkError ? error.errno : '';
}

function checkName(operation: string, name: string): void {
  const bytes = Buffer.byteLength(name);
  if (bytes >= 1 && bytes <= ip.IPSET_LONGEST_NAME && !name.includes('\0')) return;
  throw new NetlinkError({
    code: 'KP_NETLINK_INVALID',
    operation,
    object: JSON.stringify(name),
    text: `a set's name has 1 to ${ip.IPSET_LONGEST_NAME} bytes and no NUL, this one has ${bytes} bytes`,
  });
}

function checkNumber(operation: string, object: string, what: string, value: number, low: number, high: number): void {
  if (Number.isInteger(value) && value >= low && value <= high) return;
  const text = `its ${what} must be a whole number from ${low} to ${high}, not ${value}`;
  throw new NetlinkError({ code: 'KP_NETLINK_INVALID', operation, object, text });
}

function occupied(operation: string, object: string, conflict: string): NetlinkError {
  return new NetlinkError({
    code: 'KP_NETLINK_CONFLICT',
    operation,
    object,
    errno: 'EEXIST',
    text: `a set of this name exists, ${conflict}`,
    remedy: `destroy it ("ipset destroy ${object}") or let what uses it choose another name`,
  });
}

interface Lack {
  readonly text: string;
  readonly remedy: string;
}

function unsupported(operation: string, lack: Lack, cause?: unknown): NetlinkError {
  return new NetlinkError({ code: 'KP_NETLINK_UNSUPPORTED', operation, errno: errnoOf(cause), ...lack });
}
