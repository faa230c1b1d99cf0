/**
 * What an ELF file asks the loader for (elf(5)): its interpreter and the libraries that it names. For files of any
 * 64-bit little-endian architecture, since nothing of it is run.
 *
 *   header ─▶ program headers ─▶ INTERP   a path
 *                             ├▶ LOAD     which part of the file lies at which address
 *                             └▶ DYNAMIC  pairs of (tag, value): NEEDED is an offset into STRTAB, which is an address
 */
import { closeSync, openSync, readSync } from 'node:fs';

export interface ElfFile {
  readonly machine: 'x64' | 'arm64' | 'other';
  /** "" for a library. */
  readonly interpreter: string;
  /** "libc.so.6", … */
  readonly needed: readonly string[];
}

const MACHINES: Readonly<Record<number, ElfFile['machine']>> = { 62: 'x64', 183: 'arm64' };
const [PT_LOAD, PT_DYNAMIC, PT_INTERP] = [1, 2, 3];
const [DT_NEEDED, DT_STRTAB, DT_STRSZ] = [1n, 5n, 10n];

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: bigint;
  readonly size: number;
}

/** Undefined for what is no such file. */
export function readElf(path: string): ElfFile | undefined {
  const descriptor = openSync(path, 'r');
  try {
    const read = (offset: number, length: number): Buffer => {
      const buffer = Buffer.alloc(length);
      return buffer.subarray(0, readSync(descriptor, buffer, 0, length, offset));
    };
    const header = read(0, 64);
    // 64 bits, little-endian.
    if (header.length < 64 || header.toString('latin1', 0, 6) !== '\x7fELF\x02\x01') return undefined;
    const segments = segmentsOf(header, read);
    const part = (type: number): Buffer | undefined => {
      const segment = segments.find((each) => each.type === type);
      return segment && read(segment.offset, segment.size);
    };
    const text = (buffer: Buffer | undefined): string => buffer?.toString('latin1').split('\0', 1)[0] ?? '';

    const dynamic = part(PT_DYNAMIC) ?? Buffer.alloc(0);
    const entries = Array.from({ length: Math.floor(dynamic.length / 16) }, (_, at) => ({
      tag: dynamic.readBigUInt64LE(at * 16),
      value: dynamic.readBigUInt64LE(at * 16 + 8),
    }));
    const value = (tag: bigint): bigint => entries.find((entry) => entry.tag === tag)?.value ?? 0n;
    const strings = read(fileOffset(segments, value(DT_STRTAB)), Number(value(DT_STRSZ)));
    return {
      machine: MACHINES[header.readUInt16LE(18)] ?? 'other',
      interpreter: text(part(PT_INTERP)),
      needed: entries
        .filter(({ tag }) => tag === DT_NEEDED)
        .map((entry) => text(strings.subarray(Number(entry.value)))),
    };
  } finally {
    closeSync(descriptor);
  }
}

function segmentsOf(header: Buffer, read: (offset: number, length: number) => Buffer): readonly Segment[] {
  const [start, size, count] = [Number(header.readBigUInt64LE(32)), header.readUInt16LE(54), header.readUInt16LE(56)];
  return Array.from({ length: count }, (_, at) => {
    const entry = read(start + at * size, size);
    return {
      type: entry.readUInt32LE(0),
      offset: Number(entry.readBigUInt64LE(8)),
      address: entry.readBigUInt64LE(16),
      size: Number(entry.readBigUInt64LE(32)),
    };
  });
}

function fileOffset(segments: readonly Segment[], address: bigint): number {
  const holder = segments.find(
    (segment) =>
      segment.type === PT_LOAD && address >= segment.address && address < segment.address + BigInt(segment.size),
  );
  return holder ? holder.offset + Number(address - holder.address) : 0;
}
