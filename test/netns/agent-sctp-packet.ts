/**
 * Just enough SCTP (RFC 9260) to ask and answer without a kernel that speaks it: the first two packets.
 *
 *   client ── INIT ──▶ server        common header: source port, destination port, verification tag, CRC32c
 *          ◀─ INIT ACK ──            chunk: type, flags, length, initiate tag, window, streams out and in, TSN
 *                                    INIT ACK adds the state cookie, any bytes of the server's: our answer travels there
 */
export interface SctpPacket {
  readonly kind: 'INIT' | 'INIT ACK';
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** The receiver's initiate tag; 0 in an INIT. */
  readonly verificationTag: number;
  /** The sender's, 1 to 2^32-1. */
  readonly initiateTag: number;
  /** Of an INIT ACK; empty in an INIT. */
  readonly cookie: string;
}

const HEADER_BYTES = 12;
const CHUNK_BYTES = 20;
const COOKIE_PARAMETER = 7;

export function encodeSctp(packet: SctpPacket): Buffer {
  const cookie = Buffer.from(packet.cookie);
  const parameter = packet.kind === 'INIT' ? 0 : 4 + cookie.length;
  const bytes = Buffer.alloc(HEADER_BYTES + CHUNK_BYTES + Math.ceil(parameter / 4) * 4);
  bytes.writeUInt16BE(packet.sourcePort, 0);
  bytes.writeUInt16BE(packet.destinationPort, 2);
  bytes.writeUInt32BE(packet.verificationTag, 4);
  bytes.writeUInt8(packet.kind === 'INIT' ? 1 : 2, 12);
  bytes.writeUInt16BE(CHUNK_BYTES + parameter, 14);
  bytes.writeUInt32BE(packet.initiateTag, 16);
  bytes.writeUInt32BE(65536, 20);
  bytes.writeUInt16BE(1, 24);
  bytes.writeUInt16BE(1, 26);
  bytes.writeUInt32BE(1, 28);
  if (parameter > 0) {
    bytes.writeUInt16BE(COOKIE_PARAMETER, 32);
    bytes.writeUInt16BE(parameter, 34);
    cookie.copy(bytes, 36);
  }
  bytes.writeUInt32LE(crc32c(bytes), 8);
  return bytes;
}

/** Undefined for anything but an intact INIT or INIT ACK. */
export function decodeSctp(bytes: Buffer): SctpPacket | undefined {
  if (bytes.length < HEADER_BYTES + CHUNK_BYTES) return undefined;
  const unsummed = Buffer.from(bytes);
  unsummed.writeUInt32LE(0, 8);
  if (crc32c(unsummed) !== bytes.readUInt32LE(8)) return undefined;
  const type = bytes.readUInt8(12);
  if (type !== 1 && type !== 2) return undefined;
  const hasCookie = bytes.length >= 36 && bytes.readUInt16BE(32) === COOKIE_PARAMETER;
  return {
    kind: type === 1 ? 'INIT' : 'INIT ACK',
    sourcePort: bytes.readUInt16BE(0),
    destinationPort: bytes.readUInt16BE(2),
    verificationTag: bytes.readUInt32BE(4),
    initiateTag: bytes.readUInt32BE(16),
    cookie: hasCookie ? bytes.toString('utf8', 36, 32 + bytes.readUInt16BE(34)) : '',
  };
}

/** The Castagnoli CRC, bit by bit: packets are few and small. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}
