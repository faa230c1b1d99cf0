/**
 * The words of the kernel's ipset interface (linux/netfilter/ipset/ip_set.h): numbers of commands and attributes, and
 * what its private error numbers mean. A set is created by
 *
 *   PROTOCOL u8, SETNAME, TYPENAME, REVISION u8, FAMILY u8, DATA { TIMEOUT u32, HASHSIZE u32, MAXELEM u32 }
 *
 * and listed as
 *
 *   PROTOCOL, SETNAME, TYPENAME, FAMILY, REVISION, DATA { TIMEOUT, … }, ADT { DATA { IP { IPV4 }, TIMEOUT }, … }
 *
 * where a large set takes several messages, all but the first of which have only SETNAME and ADT. Numbers inside DATA
 * are big-endian and must say so (NLA_F_NET_BYTEORDER).
 */
import type { ErrnoMeaning } from './errors.ts';

export const IPSET_CMD_PROTOCOL = 1;
export const IPSET_CMD_CREATE = 2;
export const IPSET_CMD_DESTROY = 3;
export const IPSET_CMD_FLUSH = 4;
export const IPSET_CMD_LIST = 7;
export const IPSET_CMD_TYPE = 13;

// Attributes of a command.
export const IPSET_ATTR_PROTOCOL = 1;
export const IPSET_ATTR_SETNAME = 2;
export const IPSET_ATTR_TYPENAME = 3;
export const IPSET_ATTR_REVISION = 4;
export const IPSET_ATTR_FAMILY = 5;
export const IPSET_ATTR_FLAGS = 6;
export const IPSET_ATTR_DATA = 7;
export const IPSET_ATTR_ADT = 8;
/** Lowest protocol version; in an answer to TYPE, the lowest revision. */
export const IPSET_ATTR_PROTOCOL_MIN = 10;
export const IPSET_ATTR_REVISION_MIN = 10;

// Attributes inside DATA.
export const IPSET_ATTR_IP = 1;
export const IPSET_ATTR_TIMEOUT = 6;
export const IPSET_ATTR_HASHSIZE = 18;
export const IPSET_ATTR_MAXELEM = 19;

// Attributes inside IP.
export const IPSET_ATTR_IPADDR_IPV4 = 1;
export const IPSET_ATTR_IPADDR_IPV6 = 2;

// Bits of IPSET_ATTR_FLAGS.
export const IPSET_FLAG_LIST_SETNAME = 1 << 1;
export const IPSET_FLAG_LIST_HEADER = 1 << 2;

/** Versions that we speak. 6 and 7 differ only in commands that we do not use. */
export const IPSET_PROTOCOL_MIN = 6;
export const IPSET_PROTOCOL_MAX = 7;

/** Bytes of a set's name, without its NUL. */
export const IPSET_LONGEST_NAME = 31;
/** Seconds: more overflow when the kernel turns them into milliseconds. */
export const IPSET_LONGEST_TIMEOUT = 2147483;

export const IPSET_ERR_FIND_TYPE = 'IPSET_ERR_FIND_TYPE';

const privateErrors: Readonly<Record<number, readonly [name: string, text: string, remedy?: string]>> = {
  4097: ['IPSET_ERR_PROTOCOL', 'the kernel and we have no protocol version in common'],
  4098: [IPSET_ERR_FIND_TYPE, 'the kernel has no such set type, or not this revision or family of it'],
  4099: ['IPSET_ERR_MAX_SETS', 'the kernel has as many sets as it can hold', 'destroy unused sets'],
  4100: [
    'IPSET_ERR_BUSY',
    'a rule or a list of sets refers to it, or it is being listed',
    'remove what refers to it first',
  ],
  4101: ['IPSET_ERR_EXIST_SETNAME2', 'a set with the new name exists'],
  4102: ['IPSET_ERR_TYPE_MISMATCH', 'the two sets are of different types'],
  4103: ['IPSET_ERR_EXIST', 'the element is there already, or is not there'],
  4104: ['IPSET_ERR_INVALID_CIDR', 'the prefix length is invalid'],
  4105: ['IPSET_ERR_INVALID_NETMASK', 'the netmask is invalid'],
  4106: ['IPSET_ERR_INVALID_FAMILY', 'the set type does not support this address family'],
  4107: ['IPSET_ERR_TIMEOUT', 'the set was created without timeouts'],
  4108: ['IPSET_ERR_REFERENCED', 'something refers to the set', 'remove what refers to it first'],
  4109: ['IPSET_ERR_IPADDR_IPV4', 'an IPv4 address is required'],
  4110: ['IPSET_ERR_IPADDR_IPV6', 'an IPv6 address is required'],
  4111: ['IPSET_ERR_COUNTER', 'the set was created without counters'],
  4112: ['IPSET_ERR_COMMENT', 'the set was created without comments'],
  4113: ['IPSET_ERR_INVALID_MARKMASK', 'the mark mask is invalid'],
  4114: ['IPSET_ERR_SKBINFO', 'the set was created without skbinfo'],
  // From here on each set type has its own; these are of the hash types.
  4352: ['IPSET_ERR_HASH_FULL', 'the set has as many elements as it was created for'],
  4353: ['IPSET_ERR_HASH_ELEM', 'the element is null and cannot be stored'],
  4354: ['IPSET_ERR_INVALID_PROTO', 'the protocol is invalid'],
  4355: ['IPSET_ERR_MISSING_PROTO', 'the protocol is missing'],
  4356: ['IPSET_ERR_HASH_RANGE_UNSUPPORTED', 'this set type takes no ranges'],
  4357: ['IPSET_ERR_HASH_RANGE', 'the range is invalid'],
};

const ENOENT = 2;

/** Meaning of ipset's private error numbers, and of "no such file", which there are none of; else undefined. */
export function ipsetErrorMeaning(errno: number): ErrnoMeaning | undefined {
  if (errno === ENOENT) return { name: 'ENOENT', text: 'no such set', remedy: '' };
  if (errno < 4096) return undefined;
  const [name, text, remedy = ''] = privateErrors[errno] ?? [`ipset error ${errno}`, ''];
  return { name, text, remedy };
}
