/** As much of the kernel's nfacct as the tests need, with messages laid out as Linux 6.18 sends them. */
import { createMessageWriter } from '../../../core/netlink/writer.ts';

export interface FakeCounter {
  readonly packets: bigint;
  readonly bytes: bigint;
  /** A rule refers to it. */
  readonly used?: boolean;
}

const [NEW, GET, DEL] = [0, 1, 3];
const [ENOENT, EBUSY, EEXIST, EINVAL] = [2, 16, 17, 22];

export interface FakeCounterKernel {
  readonly counters: Map<string, FakeCounter>;
  answer(request: Uint8Array): Uint8Array[];
}

/** `fault`: what is answered to everything. */
export function createCounterKernel(fault = 0): FakeCounterKernel {
  const counters = new Map<string, FakeCounter>();
  return {
    counters,
    answer(request) {
      const bytes = Buffer.from(request);
      const ack = (errno: number) => [acknowledgement(bytes, errno)];
      if (fault !== 0) return ack(fault);
      if (bytes[5] !== 7) return ack(EINVAL);
      // After header and nfgenmsg there is only the name, with a NUL at its end.
      const name = bytes.toString('utf8', 24, 20 + bytes.readUInt16LE(20) - 1);
      const counter = counters.get(name);
      const command = bytes[4];
      if (command === NEW) {
        const exclusive = (bytes.readUInt16LE(6) & 0x200) !== 0;
        if (counter !== undefined) return ack(exclusive ? EEXIST : EBUSY);
        counters.set(name, { packets: 0n, bytes: 0n });
        return ack(0);
      }
      if (counter === undefined) return ack(ENOENT);
      if (command === GET) return [reply(bytes.readUInt32LE(8), name, counter), ...ack(0)];
      if (command !== DEL) return ack(EINVAL);
      if (counter.used) return ack(EBUSY);
      counters.delete(name);
      return ack(0);
    },
  };
}

function reply(sequence: number, name: string, counter: FakeCounter): Uint8Array {
  const writer = createMessageWriter();
  writer.begin({ type: 0x700, flags: 0, sequence });
  writer.raw(Uint8Array.of(0, 0, 0, 0));
  writer.text(1, name);
  writer.u64be(2, counter.packets);
  writer.u64be(3, counter.bytes);
  writer.u32be(4, 1);
  writer.end();
  return writer.bytes();
}

function acknowledgement(request: Buffer, errno: number): Uint8Array {
  const bytes = Buffer.alloc(36);
  bytes.writeUInt32LE(36, 0);
  bytes.writeUInt16LE(2, 4);
  bytes.writeUInt16LE(0x100, 6);
  bytes.writeUInt32LE(request.readUInt32LE(8), 8);
  bytes.writeInt32LE(-errno, 16);
  bytes.set(request.subarray(0, 16), 20);
  return new Uint8Array(bytes);
}
