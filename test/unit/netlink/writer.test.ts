import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  attributesByType,
  attributeText,
  attributeU8,
  attributeU16,
  attributeU16BE,
  attributeU32,
  attributeU32BE,
  attributeU64,
  attributeU64BE,
  NLA_F_NET_BYTEORDER,
  parseAttributes,
} from '../../../core/netlink/attributes.ts';
import { NetlinkError } from '../../../core/netlink/errors.ts';
import { parseMessages } from '../../../core/netlink/message.ts';
import { createMessageWriter, type MessageWriter } from '../../../core/netlink/writer.ts';

const header = { type: 0x602, flags: 0x605, sequence: 3 };

function message(write: (writer: MessageWriter) => void, writer = createMessageWriter()): Uint8Array {
  writer.begin(header);
  write(writer);
  writer.end();
  return writer.bytes().slice();
}

function attributesOf(write: (writer: MessageWriter) => void): ReadonlyMap<number, Uint8Array> {
  return attributesByType(parseMessages(message(write))[0]!.payload);
}

function code(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    return error instanceof NetlinkError ? error.code : String(error);
  }
  return 'no error';
}

const writing = suite('netlink writer');

writing('writes byte for byte what the ipset tool sends to create a set', () => {
  const bytes = message((w) => {
    w.raw(Uint8Array.of(2, 0, 0, 0));
    w.u8(1, 7);
    w.text(2, 'KUBE-A');
    w.text(3, 'hash:ip');
    w.u8(4, 6);
    w.u8(5, 2);
    w.nest(7, () => {
      w.u32be(6 | NLA_F_NET_BYTEORDER, 100);
      w.u32be(19 | NLA_F_NET_BYTEORDER, 1000);
    });
  });
  assert.is(
    Buffer.from(bytes).toString('hex'),
    '5800000002060506030000000000000002000000' +
      '0500010007000000' +
      '0b0002004b5542452d410000' +
      '0c000300686173683a697000' +
      '0500040006000000' +
      '0500050002000000' +
      '14000780080006400000006408001340000003e8',
  );
});

writing('writes every kind of attribute so that it reads back as it was', () => {
  const attributes = attributesOf((w) => {
    w.flag(1);
    w.u8(2, 0xfe);
    w.u16(3, 0xfedc);
    w.u16be(4, 0xfedc);
    w.u32(5, 0xfedcba98);
    w.u32be(6, 0xfedcba98);
    w.u64(7, 0xfedcba9876543210n);
    w.u64be(8, 0xfedcba9876543210n);
    w.text(9, 'größe');
    w.binary(10, Uint8Array.of(1, 2, 3, 4, 5));
  });
  assert.is(attributes.get(1)?.length, 0);
  assert.is(attributeU8(attributes.get(2)!), 0xfe);
  assert.is(attributeU16(attributes.get(3)!), 0xfedc);
  assert.is(attributeU16BE(attributes.get(4)!), 0xfedc);
  assert.equal([...attributes.get(4)!], [0xfe, 0xdc]);
  assert.is(attributeU32(attributes.get(5)!), 0xfedcba98);
  assert.is(attributeU32BE(attributes.get(6)!), 0xfedcba98);
  assert.equal([...attributes.get(6)!], [0xfe, 0xdc, 0xba, 0x98]);
  assert.is(attributeU64(attributes.get(7)!), 0xfedcba9876543210n);
  assert.is(attributeU64BE(attributes.get(8)!), 0xfedcba9876543210n);
  assert.equal([...attributes.get(8)!].slice(0, 2), [0xfe, 0xdc]);
  assert.is(attributeText(attributes.get(9)!), 'größe');
  assert.equal([...attributes.get(10)!], [1, 2, 3, 4, 5]);
});

writing('grows its buffer without losing what was written', () => {
  const writer = createMessageWriter(16);
  const bytes = message((w) => {
    for (let i = 0; i < 1000; i++) w.nest(1, () => w.u32(2, i));
  }, writer);
  const inner = parseAttributes(parseMessages(bytes)[0]!.payload).map(({ data }) =>
    attributeU32(attributesByType(data).get(2)!),
  );
  assert.equal(inner, [...Array(1000).keys()]);
});

writing('puts several messages into one datagram', () => {
  const writer = createMessageWriter();
  for (const sequence of [1, 2]) {
    writer.begin({ type: 5, flags: 1, sequence });
    writer.binary(1, Uint8Array.of(sequence));
    writer.end();
  }
  const messages = parseMessages(writer.bytes());
  assert.equal(
    messages.map(({ sequence, payload }) => [sequence, attributesByType(payload).get(1)?.[0]]),
    [
      [1, 1],
      [2, 2],
    ],
  );
});

writing('clears the padding when its buffer is used again', () => {
  const writer = createMessageWriter();
  message((w) => w.binary(1, new Uint8Array(64).fill(0xff)), writer);
  writer.reset();
  const bytes = message((w) => w.u8(1, 7), writer);
  assert.equal([...bytes.subarray(16)], [5, 0, 1, 0, 7, 0, 0, 0]);
});

writing('refuses an attribute whose length does not fit 16 bits, which the kernel would accept wrapped', () => {
  assert.is(
    code(() => message((w) => w.binary(1, new Uint8Array(65531)))),
    'no error',
  );
  assert.is(
    code(() => message((w) => w.binary(1, new Uint8Array(65532)))),
    'KP_NETLINK_TOO_LONG',
  );
});

writing('refuses a nest whose length does not fit 16 bits', () => {
  const nestOf = (count: number) => (w: MessageWriter) =>
    w.nest(1, () => {
      for (let i = 0; i < count; i++) w.u32(1, i);
    });
  assert.is(
    code(() => message(nestOf(8191))),
    'no error',
  );
  assert.is(
    code(() => message(nestOf(8192))),
    'KP_NETLINK_TOO_LONG',
  );
});

writing('refuses text with a NUL inside, which the kernel would cut there', () => {
  assert.is(
    code(() => message((w) => w.text(2, 'KUBE\0X'))),
    'KP_NETLINK_INVALID',
  );
});

writing('refuses attributes outside a message, nested messages and unfinished ones', () => {
  assert.is(
    code(() => createMessageWriter().u8(1, 1)),
    'KP_NETLINK_INVALID',
  );
  assert.is(
    code(() => message((w) => w.begin(header))),
    'KP_NETLINK_INVALID',
  );
  const unfinished = createMessageWriter();
  unfinished.begin(header);
  assert.is(
    code(() => unfinished.bytes()),
    'KP_NETLINK_INVALID',
  );
  assert.is(
    code(() => createMessageWriter().end()),
    'KP_NETLINK_INVALID',
  );
});

writing.run();
