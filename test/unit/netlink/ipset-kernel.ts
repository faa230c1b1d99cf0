/**
 * As much of the kernel's ipset as the tests need: answers requests with messages laid out as recorded from Linux 6.18.
 * It reads the requests' bytes by itself (fixed places and a small scan), not with the codec under test.
 */
import { NLA_F_NET_BYTEORDER } from '../../../core/netlink/attributes.ts';
import { createMessageWriter } from '../../../core/netlink/writer.ts';

export interface FakeMember {
  readonly ip: readonly number[];
  readonly remaining: number;
}

export interface FakeSet {
  readonly type: string;
  readonly family: number;
  readonly timeout: number | undefined;
  readonly members: readonly FakeMember[];
}

export interface FakeIPSetKernel {
  readonly sets: Map<string, FakeSet>;
  /** An IPv4 hash:ip set with timeouts. */
  create(name: string, members?: readonly FakeMember[]): void;
  answer(request: Uint8Array): Uint8Array[];
}

export interface FakeKernelOptions {
  /** Highest and lowest protocol version; no lowest = a kernel older than 4.20. */
  readonly protocol?: readonly [highest: number, lowest?: number];
  /** Commands answered with an error number, whatever they ask. */
  readonly errors?: Readonly<Record<number, number>>;
  /** Members in one message of a list. */
  readonly membersPerMessage?: number;
}

export function createIPSetKernel(options: FakeKernelOptions = {}): FakeIPSetKernel {
  const { protocol = [7, 6], errors = {}, membersPerMessage = 100 } = options;
  const sets = new Map<string, FakeSet>();
  return {
    sets,
    create(name, members = []) {
      sets.set(name, { type: 'hash:ip', family: 2, timeout: 10, members });
    },
    answer(request) {
      const view = new DataView(request.buffer, request.byteOffset);
      const type = view.getUint16(4, true);
      const sequence = view.getUint32(8, true);
      const command = type & 0xff;
      const attributes = scan(request, 20);
      const name = text(attributes.get(2));
      const ack = (errno: number) => [acknowledgement(request, sequence, errno)];
      if (errors[command] !== undefined) return ack(errors[command]);
      if (command === 1) return [versions(sequence, protocol), ...ack(0)];
      if (command === 13) return [revisions(sequence), ...ack(0)];
      if (command === 2) {
        if (sets.has(name)) return ack(17);
        const timeout = scan(attributes.get(7)!, 0).get(6)!;
        sets.set(name, {
          type: text(attributes.get(3)),
          family: attributes.get(5)![0]!,
          timeout: Buffer.from(timeout).readUInt32BE(),
          members: [],
        });
        return ack(0);
      }
      if (command === 3) return ack(sets.delete(name) ? 0 : 2);
      if (command === 4) {
        const set = sets.get(name);
        if (set === undefined) return ack(2);
        sets.set(name, { ...set, members: [] });
        return ack(0);
      }
      if (command === 7) {
        // The kernel reports a set that is not there twice.
        if (name !== '' && !sets.has(name)) return [...ack(2), ...ack(2)];
        const flags = attributes.get(6);
        return listing(sets, name, flags ? flags[3]! : 0, sequence, membersPerMessage);
      }
      return ack(22);
    },
  };
}

/** Attributes by type without flags. */
function scan(bytes: Uint8Array, from: number): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  for (let at = from; at < bytes.length; at += (bytes[at]! + 3) & ~3) {
    found.set(bytes[at + 2]!, bytes.subarray(at + 4, at + bytes[at]!));
  }
  return found;
}

function text(bytes: Uint8Array | undefined): string {
  return Buffer.from(bytes ?? [])
    .toString()
    .replace(/\0$/, '');
}

function acknowledgement(request: Uint8Array, sequence: number, errno: number): Uint8Array {
  const bytes = Buffer.alloc(36);
  bytes.writeUInt32LE(36, 0);
  bytes.writeUInt16LE(2, 4);
  bytes.writeUInt16LE(0x100, 6);
  bytes.writeUInt32LE(sequence, 8);
  bytes.writeInt32LE(-errno, 16);
  bytes.set(request.subarray(0, 16), 20);
  return new Uint8Array(bytes);
}

function reply(
  sequence: number,
  command: number,
  flags: number,
  write: (w: ReturnType<typeof createMessageWriter>) => void,
) {
  const writer = createMessageWriter();
  writer.begin({ type: 0x600 | command, flags, sequence });
  writer.raw(Uint8Array.of(2, 0, 0, 0));
  writer.u8(1, 7);
  write(writer);
  writer.end();
  return writer.bytes();
}

function versions(sequence: number, [highest, lowest]: readonly [number, number?]): Uint8Array {
  const writer = createMessageWriter();
  writer.begin({ type: 0x601, flags: 0, sequence });
  writer.raw(Uint8Array.of(2, 0, 0, 0));
  writer.u8(1, highest);
  if (lowest !== undefined) writer.u8(10, lowest);
  writer.end();
  return writer.bytes();
}

function revisions(sequence: number): Uint8Array {
  return reply(sequence, 13, 0, (w) => {
    w.text(3, 'hash:ip');
    w.u8(5, 2);
    w.u8(4, 6);
    w.u8(10, 0);
  });
}

function listing(
  sets: ReadonlyMap<string, FakeSet>,
  wanted: string,
  flags: number,
  sequence: number,
  membersPerMessage: number,
): Uint8Array[] {
  const messages: Uint8Array[] = [];
  for (const [name, set] of sets) {
    if (wanted !== '' && wanted !== name) continue;
    const members = flags === 0 ? [...set.members] : [];
    let first = true;
    do {
      const some = members.splice(0, membersPerMessage);
      const withHeader = first && flags !== 2;
      messages.push(
        reply(sequence, 7, 2, (w) => {
          w.text(2, name);
          if (withHeader) {
            w.text(3, set.type);
            w.u8(5, set.family);
            w.u8(4, 0);
            w.nest(7, () => {
              w.u32be(18 | NLA_F_NET_BYTEORDER, 1024);
              if (set.timeout !== undefined) w.u32be(6 | NLA_F_NET_BYTEORDER, set.timeout);
            });
          }
          if (some.length === 0) return;
          w.nest(8, () => {
            for (const { ip, remaining } of some) {
              w.nest(7, () => {
                w.nest(1, () => w.binary((ip.length === 4 ? 1 : 2) | NLA_F_NET_BYTEORDER, Uint8Array.from(ip)));
                if (set.timeout !== undefined) w.u32be(6 | NLA_F_NET_BYTEORDER, remaining);
              });
            }
          });
        }),
      );
      first = false;
    } while (members.length > 0);
  }
  const done = Buffer.alloc(20);
  done.writeUInt32LE(20, 0);
  done.writeUInt16LE(3, 4);
  done.writeUInt16LE(2, 6);
  done.writeUInt32LE(sequence, 8);
  return [...messages, new Uint8Array(done)];
}
