/**
 * Writing netlink messages into one growing buffer, to be sent as one datagram:
 *
 *   begin(header) family header… attribute… nest(type, () => attribute…) … end()   begin(…) … end()   bytes()
 *
 * Lengths are filled in when a message or nest ends. An attribute's length has 16 bits and the kernel takes a wrapped
 * one with a *success* ack, so exceeding it throws KP_NETLINK_TOO_LONG here. The buffer is reused after `reset`, which
 * is why padding is written explicitly.
 */
import { HOST_IS_LITTLE_ENDIAN as LITTLE, NLA_F_NESTED } from './attributes.ts';
import { NetlinkError } from './errors.ts';
import { align4, HEADER_BYTES } from './message.ts';

const LONGEST_ATTRIBUTE = 0xffff;

export interface MessageHeader {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
}

/** `type` of an attribute may carry NLA_F_NET_BYTEORDER where a family insists on it. */
export interface MessageWriter {
  begin(header: MessageHeader): void;
  end(): void;
  /** Bytes without an attribute around them: a family's own header. Padded to 4. */
  raw(data: Uint8Array): void;
  /** An attribute that says something by being there. */
  flag(type: number): void;
  u8(type: number, value: number): void;
  u16(type: number, value: number): void;
  u16be(type: number, value: number): void;
  u32(type: number, value: number): void;
  u32be(type: number, value: number): void;
  u64(type: number, value: bigint): void;
  u64be(type: number, value: bigint): void;
  /** UTF-8 with a NUL at its end. */
  text(type: number, value: string): void;
  binary(type: number, data: Uint8Array): void;
  /** An attribute made of the attributes that `inside` writes. */
  nest(type: number, inside: () => void): void;
  /** All complete messages: a view, good until the next write. */
  bytes(): Uint8Array;
  /** Start again with an empty buffer. */
  reset(): void;
}

export function createMessageWriter(initialBytes = 4096): MessageWriter {
  let buffer = new Uint8Array(initialBytes);
  let view = new DataView(buffer.buffer);
  let length = 0;
  let messageStart = -1;
  const encoder = new TextEncoder();

  /** Room for `count` bytes padded to 4, the padding zeroed; returns where they begin. */
  function reserve(count: number): number {
    const padded = align4(count);
    if (length + padded > buffer.length) {
      const grown = new Uint8Array(Math.max(buffer.length * 2, length + padded));
      grown.set(buffer.subarray(0, length));
      buffer = grown;
      view = new DataView(buffer.buffer);
    }
    const at = length;
    length += padded;
    buffer.fill(0, at + count, length);
    return at;
  }

  /** Header of an attribute with `count` bytes of data; returns where these begin. */
  function attribute(type: number, count: number): number {
    if (messageStart < 0) throw misuse('an attribute outside a message');
    if (4 + count > LONGEST_ATTRIBUTE) throw tooLong(type, 4 + count);
    const at = reserve(4 + count);
    view.setUint16(at, 4 + count, LITTLE);
    view.setUint16(at + 2, type, LITTLE);
    return at + 4;
  }

  function binary(type: number, data: Uint8Array): void {
    // After the call, not before: growing replaces `buffer`.
    const at = attribute(type, data.length);
    buffer.set(data, at);
  }

  return {
    begin({ type, flags, sequence }) {
      if (messageStart >= 0) throw misuse('a message inside a message');
      messageStart = reserve(HEADER_BYTES);
      view.setUint16(messageStart + 4, type, LITTLE);
      view.setUint16(messageStart + 6, flags, LITTLE);
      view.setUint32(messageStart + 8, sequence, LITTLE);
      view.setUint32(messageStart + 12, 0, LITTLE); // Port id: the kernel knows ours.
    },
    end() {
      if (messageStart < 0) throw misuse('the end of a message that was not begun');
      view.setUint32(messageStart, length - messageStart, LITTLE);
      messageStart = -1;
    },
    raw(data) {
      if (messageStart < 0) throw misuse('bytes outside a message');
      const at = reserve(data.length);
      buffer.set(data, at);
    },
    flag(type) {
      attribute(type, 0);
    },
    u8(type, value) {
      const at = attribute(type, 1);
      view.setUint8(at, value);
    },
    u16(type, value) {
      const at = attribute(type, 2);
      view.setUint16(at, value, LITTLE);
    },
    u16be(type, value) {
      const at = attribute(type, 2);
      view.setUint16(at, value, false);
    },
    u32(type, value) {
      const at = attribute(type, 4);
      view.setUint32(at, value, LITTLE);
    },
    u32be(type, value) {
      const at = attribute(type, 4);
      view.setUint32(at, value, false);
    },
    u64(type, value) {
      const at = attribute(type, 8);
      view.setBigUint64(at, value, LITTLE);
    },
    u64be(type, value) {
      const at = attribute(type, 8);
      view.setBigUint64(at, value, false);
    },
    text(type, value) {
      if (value.includes('\0')) throw misuse(`text with a NUL inside: ${JSON.stringify(value)}`);
      binary(type, encoder.encode(`${value}\0`));
    },
    binary,
    nest(type, inside) {
      const at = attribute(type | NLA_F_NESTED, 0) - 4;
      inside();
      if (length - at > LONGEST_ATTRIBUTE) throw tooLong(type, length - at);
      view.setUint16(at, length - at, LITTLE);
    },
    bytes() {
      if (messageStart >= 0) throw misuse('a message that was not ended');
      return buffer.subarray(0, length);
    },
    reset() {
      length = 0;
      messageStart = -1;
    },
  };
}

function tooLong(type: number, count: number): NetlinkError {
  return new NetlinkError({
    code: 'KP_NETLINK_TOO_LONG',
    text: `attribute ${type & 0x3fff} of ${count} bytes exceeds ${LONGEST_ATTRIBUTE}`,
    remedy: 'spread its content over several attributes or messages',
  });
}

/** A fault in our own code. */
function misuse(what: string): NetlinkError {
  return new NetlinkError({
    code: 'KP_NETLINK_INVALID',
    text: `cannot encode ${what}`,
  });
}
