/** A kernel's generic netlink as far as the tests need it: the control family, acks, dumps; byte by byte. */
import { type Message, parseMessages } from '../../../core/netlink/message.ts';

const [NOOP, ERROR, DONE] = [1, 2, 3];
const [REQUEST_ACK, DUMP] = [0x4, 0x300];
const [MULTI, DUMP_INTR, CAPPED] = [0x2, 0x10, 0x100];
const CTRL = 16;
const ENOENT = 2;

export interface GenericAnswer {
  /** Positive; refuses the request, or ends the dump. */
  readonly errno?: number;
  /** What follows the message header of each object: genlmsghdr and attributes. */
  readonly objects?: readonly Uint8Array[];
  readonly interrupted?: boolean;
}

export interface GenericKernel {
  /** Id of the family; undefined: there is none. */
  id: number | undefined;
  /** Messages to the family, in order. */
  readonly requests: Message[];
  answer(datagram: Uint8Array): Uint8Array[];
}

/** `answer`: what the family says to each request. */
export function createGenericKernel(
  name: string,
  answer: (request: Message) => GenericAnswer = () => ({}),
): GenericKernel {
  const kernel: GenericKernel = {
    id: 29,
    requests: [],
    answer: (datagram) => parseMessages(datagram).flatMap((message) => respond(message)),
  };

  function respond(message: Message): Uint8Array[] {
    const { type, sequence, flags } = message;
    // netlink itself acknowledges what is no message of a family.
    if (type === NOOP) return [errorMessage(sequence, 0)];
    if (type === CTRL) {
      const asked = Buffer.from(message.payload.subarray(8)).toString('latin1');
      if (kernel.id === undefined || !asked.startsWith(`${name}\0`)) return [errorMessage(sequence, ENOENT)];
      return [messageBytes(CTRL, 0, sequence, familyDescription(kernel.id, name)), errorMessage(sequence, 0)];
    }
    if (type !== kernel.id) return [errorMessage(sequence, ENOENT)];
    kernel.requests.push({ ...message, payload: message.payload.slice() });
    const { errno = 0, objects = [], interrupted = false } = answer(message);
    if ((flags & DUMP) === DUMP) {
      const marks = MULTI | (interrupted ? DUMP_INTR : 0);
      const done = Buffer.alloc(4);
      done.writeInt32LE(-errno);
      return [
        ...objects.map((object) => messageBytes(type, marks, sequence, object)),
        messageBytes(DONE, marks, sequence, done),
      ];
    }
    const replies = errno === 0 ? objects.map((object) => messageBytes(type, 0, sequence, object)) : [];
    const isHeard = errno !== 0 || (flags & REQUEST_ACK) !== 0;
    return isHeard ? [...replies, errorMessage(sequence, errno)] : replies;
  }

  return kernel;
}

/** genlmsghdr of CTRL_CMD_NEWFAMILY, FAMILY_NAME (padded to 4), FAMILY_ID, VERSION, HDRSIZE, as Linux 6.1 begins it. */
function familyDescription(id: number, name: string): Uint8Array {
  const bytes = Buffer.alloc(4 + 4 + Math.ceil((name.length + 1) / 4) * 4 + 24);
  bytes[0] = 1;
  bytes[1] = 2;
  bytes.writeUInt16LE(4 + name.length + 1, 4);
  bytes.writeUInt16LE(2, 6);
  bytes.write(name, 8, 'latin1');
  const at = bytes.length - 24;
  for (const [index, [length, type, value]] of [
    [6, 1, id],
    [8, 3, 1],
    [8, 4, 0],
  ].entries()) {
    bytes.writeUInt16LE(length!, at + 8 * index);
    bytes.writeUInt16LE(type!, at + 8 * index + 2);
    bytes.writeUInt16LE(value!, at + 8 * index + 4);
  }
  return bytes;
}

export function messageBytes(type: number, flags: number, sequence: number, payload: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(16 + Math.ceil(payload.length / 4) * 4);
  bytes.writeUInt32LE(16 + payload.length, 0);
  bytes.writeUInt16LE(type, 4);
  bytes.writeUInt16LE(flags, 6);
  bytes.writeUInt32LE(sequence, 8);
  bytes.set(payload, 16);
  return new Uint8Array(bytes);
}

/** NLMSG_ERROR; the request's header that it repeats is left zero but for its length. */
export function errorMessage(sequence: number, errno: number): Uint8Array {
  const payload = Buffer.alloc(20);
  payload.writeInt32LE(-errno, 0);
  payload.writeUInt32LE(16, 4);
  return messageBytes(ERROR, CAPPED, sequence, payload);
}
