/**
 * What can go wrong when talking to the kernel, as one error type that says which operation on which object failed,
 * how the kernel names the fault, and what to do about it:
 *
 *   ipset create KUBE-SEP-X: EPERM (operation not permitted): needs CAP_NET_ADMIN …
 *   ^operation   ^object     ^errno ^text                     ^remedy
 */
import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';

export type NetlinkErrorCode =
  /** The library that makes sockets cannot be loaded: nothing is known of the kernel. */
  | 'KP_NETLINK_LIBRARY'
  /** A socket cannot be had at all: the kernel lacks the protocol. */
  | 'KP_NETLINK_UNAVAILABLE'
  /** The kernel answered with an error number; `errno` names it. */
  | 'KP_NETLINK_REFUSED'
  /** No answer in time. The outcome is unknown. */
  | 'KP_NETLINK_TIMEOUT'
  /** Answers were lost because the receive buffer overflowed. The outcome is unknown. */
  | 'KP_NETLINK_OVERRUN'
  /** An answer breaks the format's rules. The outcome is unknown. */
  | 'KP_NETLINK_MALFORMED'
  /** What was to be sent does not fit an attribute or the socket's buffer. Nothing was sent. */
  | 'KP_NETLINK_TOO_LONG'
  /** The caller asked for something that the interface cannot express. Nothing was sent. */
  | 'KP_NETLINK_INVALID'
  /** The kernel lacks a feature that we need; the message names its configuration option. */
  | 'KP_NETLINK_UNSUPPORTED'
  /** An object of that name exists, and it is not what we need. */
  | 'KP_NETLINK_CONFLICT';

export interface NetlinkFault {
  readonly code: NetlinkErrorCode;
  /** For example "ipset create"; absent where the codec cannot know it (see `attributed`). */
  readonly operation?: string;
  /** The name of the object, if there is one. */
  readonly object?: string;
  /** "EPERM", "IPSET_ERR_BUSY"; absent when the fault is not an error number of the kernel's. */
  readonly errno?: string;
  /** What is wrong, without a capital letter and without a full stop. */
  readonly text: string;
  /** What to do about it, if there is something to say. */
  readonly remedy?: string;
}

/** Absent parts of the fault are "". */
export class NetlinkError extends Error {
  readonly code: NetlinkErrorCode;
  readonly operation: string;
  readonly object: string;
  readonly errno: string;
  readonly text: string;
  readonly remedy: string;

  constructor(fault: NetlinkFault) {
    super(sentence(fault));
    this.name = 'NetlinkError';
    this.code = fault.code;
    this.operation = fault.operation ?? '';
    this.object = fault.object ?? '';
    this.errno = fault.errno ?? '';
    this.text = fault.text;
    this.remedy = fault.remedy ?? '';
  }
}

function sentence({ operation, object, errno, text, remedy }: NetlinkFault): string {
  const subject = [operation || 'netlink', object].filter(Boolean).join(' ');
  const fault = errno && text ? `${errno} (${text})` : errno || text;
  return [subject, fault, remedy].filter(Boolean).join(': ');
}

/** The error of a codec, with the operation and object that it could not know; any other error as it is. */
export function attributed(error: unknown, operation: string, object: string): unknown {
  if (!(error instanceof NetlinkError) || error.operation !== '') return error;
  const { code, errno, text, remedy } = error;
  const inner = error.object;
  return new NetlinkError({ code, operation, object, errno, text: inner ? `${inner}: ${text}` : text, remedy });
}

/** An answer that breaks the format's rules; `what` says which. */
export function malformed(what: string): NetlinkError {
  return new NetlinkError({
    code: 'KP_NETLINK_MALFORMED',
    text: `malformed answer, ${what}`,
    remedy: 'this kernel speaks a dialect unknown to this version; please report it',
  });
}

/** What an error number means: its name, a text, and perhaps a remedy that holds whatever the operation. */
export interface ErrnoMeaning {
  readonly name: string;
  readonly text: string;
  readonly remedy: string;
}

const systemErrors = getSystemErrorMap();
/** The first name wins where two share a number (EAGAIN before EWOULDBLOCK), except for EOPNOTSUPP: netlink's word. */
const names = new Map<number, string>();
for (const [name, number] of Object.entries(constants.errno)) if (!names.has(number)) names.set(number, name);
names.set(constants.errno.EOPNOTSUPP, 'EOPNOTSUPP');
// Numbers that include/linux/errno.h calls internal to the kernel, but that nfnetlink lets through.
names.set(524, 'ENOTSUPP');

const remedies: Readonly<Record<string, string>> = {
  EPERM: 'needs CAP_NET_ADMIN in the user namespace that owns this network namespace',
  EPROTONOSUPPORT: 'this kernel has no such netlink protocol; load its module or use a kernel built with it',
  EMSGSIZE: 'the message exceeds the socket buffer; raise net.core.wmem_max or grant CAP_NET_ADMIN',
};

/** Meaning of a positive error number of the kernel. */
export function errnoMeaning(errno: number): ErrnoMeaning {
  const name = names.get(errno) ?? `errno ${errno}`;
  return { name, text: systemErrors.get(-errno)?.[1] ?? '', remedy: remedies[name] ?? '' };
}

/** Meaning of the code of an error that Node's fs functions throw, for example "EMSGSIZE". */
export function errnoMeaningByName(name: string): ErrnoMeaning {
  const number = (constants.errno as Readonly<Record<string, number>>)[name];
  return number === undefined ? { name, text: '', remedy: '' } : errnoMeaning(number);
}
