/** The two SCTP packets that the packet tests send: what a kernel would check. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { crc32c, decodeSctp, encodeSctp, type SctpPacket } from '../../netns/agent-sctp-packet.ts';

const test = suite('SCTP packets');

const ack: SctpPacket = {
  kind: 'INIT ACK',
  sourcePort: 80,
  destinationPort: 40000,
  verificationTag: 0xfedcba98,
  initiateTag: 1,
  cookie: 'odd',
};

test('the checksum is the Castagnoli CRC: the check values of RFC 3720, B.4', () => {
  assert.is(crc32c(Buffer.from('123456789')), 0xe3069283);
  assert.is(crc32c(Buffer.alloc(32)), 0x8a9136aa);
  assert.is(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43);
});

test('what is encoded is decoded alike', () => {
  assert.equal(decodeSctp(encodeSctp(ack)), ack);
  const init: SctpPacket = { ...ack, kind: 'INIT', verificationTag: 0, cookie: '' };
  assert.equal(decodeSctp(encodeSctp(init)), init);
});

test('a packet is padded to 4 bytes while the lengths in it are true', () => {
  const bytes = encodeSctp(ack);
  assert.is(bytes.length, 40);
  assert.is(bytes.readUInt16BE(14), 27);
  assert.is(bytes.readUInt16BE(34), 7);
});

test('a damaged packet is not taken', () => {
  const bytes = encodeSctp(ack);
  bytes[20] = bytes[20]! ^ 1;
  assert.is(decodeSctp(bytes), undefined);
});

test('another chunk or a stump is not taken', () => {
  const abort = encodeSctp(ack);
  abort.writeUInt8(6, 12);
  abort.writeUInt32LE(0, 8);
  abort.writeUInt32LE(crc32c(abort), 8);
  assert.is(decodeSctp(abort), undefined);
  assert.is(decodeSctp(encodeSctp(ack).subarray(0, 16)), undefined);
});

test.run();
