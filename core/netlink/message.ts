/**
 * Netlink messages as the kernel sends them (linux/netlink.h). A datagram is a run of messages:
 *
 *   0      4     6      8         12       16
 *   length type  flags  sequence  port id  payload …  padding to 4   next message …
 *   u32    u16   u16    u32       u32
 *
 * Numbers of the header are in host byte order. Parsing trusts nothing: every length is checked against what is
 * there, so that no input makes it read outside, crash or loop; a breach is a KP_NETLINK_MALFORMED error.
 */
import { type Attribute, attributeText, attributeU32, HOST_IS_LITTLE_ENDIAN, parseAttributes } from './attributes.ts';
import { malformed } from './errors.ts';

export const HEADER_BYTES = 16;

export const NLMSG_NOOP = 1;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLMSG_OVERRUN = 4;

// Flags of requests.
export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_ECHO = 0x8;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
// Flags of answers.
export const NLM_F_MULTI = 0x2;
/** What was dumped changed meanwhile: the dump may lack or repeat objects. */
export const NLM_F_DUMP_INTR = 0x10;
/** The error message repeats only the header of the request, not all of it. */
const NLM_F_CAPPED = 0x100;
/** The error message ends with attributes that explain it. */
const NLM_F_ACK_TLVS = 0x200;

const NLMSGERR_ATTR_MSG = 1;
const NLMSGERR_ATTR_OFFS = 2;
const NLMSGERR_ATTR_MISS_TYPE = 5;

/** One message. `payload` is a view of the datagram: copy what outlives it. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly portId: number;
  readonly payload: Uint8Array;
}

/** The messages of one datagram, in order. */
export function parseMessages(datagram: Uint8Array): Message[] {
  if (datagram.length === 0) throw malformed('an empty datagram');
  const view = viewOf(datagram);
  const messages: Message[] = [];
  for (let at = 0; at < datagram.length; ) {
    const left = datagram.length - at;
    if (left < HEADER_BYTES) throw malformed(`${left} bytes where a message header should be`);
    const length = view.getUint32(at, HOST_IS_LITTLE_ENDIAN);
    if (length < HEADER_BYTES || length > left)
      throw malformed(`a message of length ${length} with ${left} bytes left`);
    messages.push({
      type: view.getUint16(at + 4, HOST_IS_LITTLE_ENDIAN),
      flags: view.getUint16(at + 6, HOST_IS_LITTLE_ENDIAN),
      sequence: view.getUint32(at + 8, HOST_IS_LITTLE_ENDIAN),
      portId: view.getUint32(at + 12, HOST_IS_LITTLE_ENDIAN),
      payload: datagram.subarray(at + HEADER_BYTES, at + length),
    });
    at += align4(length);
  }
  return messages;
}

/** How an operation ended. */
export interface Outcome {
  /** Positive; 0 = success. */
  readonly errno: number;
  /** The kernel's own words ("extended ack"), with where in the request the fault is; "" when it says nothing. */
  readonly text: string;
}

/** NLMSG_ERROR: error number (negative, i32), the request's header, all of the request unless capped, attributes. */
export function parseError(message: Message): Outcome {
  const { payload, flags } = message;
  if (payload.length < 4 + HEADER_BYTES) throw malformed(`an error message of ${payload.length} bytes`);
  const view = viewOf(payload);
  const requestLength = view.getUint32(4, HOST_IS_LITTLE_ENDIAN);
  const repeated = (flags & NLM_F_CAPPED) !== 0 ? HEADER_BYTES : Math.max(HEADER_BYTES, align4(requestLength));
  const explained = (flags & NLM_F_ACK_TLVS) !== 0;
  return { errno: errorNumber(view), text: explained ? explanation(payload.subarray(4 + repeated)) : '' };
}

/** Where in the request, counted from its header, an NLMSG_ERROR finds the fault; undefined if it does not say. */
export function parseErrorOffset({ payload, flags }: Message): number | undefined {
  if ((flags & NLM_F_ACK_TLVS) === 0 || (flags & NLM_F_CAPPED) === 0) return undefined;
  try {
    const offset = parseAttributes(payload.subarray(4 + HEADER_BYTES)).find(({ type }) => type === NLMSGERR_ATTR_OFFS);
    return offset && attributeU32(offset.data);
  } catch {
    return undefined; // A courtesy, like the words that come with it.
  }
}

/** NLMSG_DONE: the end of a dump. Carries an error number too since it may fail half-way; old kernels omit it. */
export function parseDone(message: Message): Outcome {
  const { payload, flags } = message;
  if (payload.length < 4) return { errno: 0, text: '' };
  const explained = (flags & NLM_F_ACK_TLVS) !== 0;
  return { errno: errorNumber(viewOf(payload)), text: explained ? explanation(payload.subarray(4)) : '' };
}

function errorNumber(view: DataView): number {
  const value = view.getInt32(0, HOST_IS_LITTLE_ENDIAN);
  // Some dumps end with a positive count; only negative numbers are errors. -0 must not leak out.
  return value < 0 ? -value : 0;
}

/** Explanations are a courtesy: a broken one must not hide the error that it explains. */
function explanation(bytes: Uint8Array): string {
  let attributes: readonly Attribute[];
  try {
    attributes = parseAttributes(bytes);
  } catch {
    return '';
  }
  const parts: string[] = [];
  for (const { type, data } of attributes) {
    if (type === NLMSGERR_ATTR_MSG) parts.push(attributeText(data));
    else if (data.length !== 4) continue;
    else if (type === NLMSGERR_ATTR_OFFS) parts.push(`at byte ${attributeU32(data)} of the request`);
    else if (type === NLMSGERR_ATTR_MISS_TYPE) parts.push(`attribute ${attributeU32(data)} is missing`);
  }
  return parts.filter(Boolean).join(', ');
}

export function align4(length: number): number {
  // Not a bit operation: lengths are unsigned 32-bit and must not turn negative.
  return Math.ceil(length / 4) * 4;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
