/**
 * As much of the kernel's connection tracking as the tests need: dumps its entries, shows one by the tuple of its
 * replies, deletes by tuple and id, and writes down what it was asked. It reads requests by fixed places and a scan of its own.
 */
import { constants } from 'node:os';
import { createFakeTransport, type FakeTransport } from '../../../core/netlink/fake-transport.ts';
import { createMessageWriter } from '../../../core/netlink/writer.ts';

export interface FakeEntry {
  readonly family?: 2 | 10;
  readonly protocol?: number;
  /** "10.0.0.1:1000" */
  readonly source: string;
  readonly destination: string;
  readonly answerer: string;
  readonly id: number;
  readonly zone?: number;
}

export interface FakeConntrackOptions {
  readonly entries: readonly FakeEntry[];
  /** Error numbers by command, 1 = get, 2 = delete; a function is asked with the request's attributes. */
  readonly refuse?: (command: number, attributes: ReadonlyMap<number, Uint8Array>) => number;
  /** Error number at the end of dumps, after the entries. */
  readonly endOfDump?: () => number;
  readonly interrupted?: () => boolean;
  readonly entriesPerDatagram?: number;
  /** Shows entries of the family that was not asked for, too. */
  readonly everyFamily?: boolean;
}

export interface FakeConntrack {
  readonly entries: FakeEntry[];
  readonly transport: FakeTransport;
  /** The attributes of each dump asked for. */
  readonly dumps: ReadonlyMap<number, Uint8Array>[];
  /** Deletes in each datagram. */
  readonly batches: number[];
  answer(request: Uint8Array): Uint8Array[];
}

const NEW = 0x100;
const ERROR = 2;
const DONE = 3;

export function createConntrackKernel(options: FakeConntrackOptions): FakeConntrack {
  const { refuse = () => 0, endOfDump = () => 0, interrupted = () => false, entriesPerDatagram = 3 } = options;
  const entries = [...options.entries];
  const dumps: ReadonlyMap<number, Uint8Array>[] = [];
  const batches: number[] = [];

  function dump(request: Uint8Array, sequence: number): Uint8Array[] {
    const attributes = scan(request, 20);
    dumps.push(attributes);
    const errno = refuse(1, attributes);
    if (errno !== 0) return [outcome(ERROR, sequence, errno, request)];
    const family = request[16];
    const shown = entries.filter((entry) => options.everyFamily || (entry.family ?? 2) === family);
    const datagrams: Uint8Array[] = [];
    for (let at = 0; at < shown.length; at += entriesPerDatagram) {
      const writer = createMessageWriter();
      for (const entry of shown.slice(at, at + entriesPerDatagram)) writeEntry(writer, sequence, entry, interrupted());
      datagrams.push(writer.bytes());
    }
    return [...datagrams, outcome(DONE, sequence, endOfDump(), request)];
  }

  /** By the tuple of its replies; an entry, if there is one, comes before the acknowledgement. */
  function get(request: Uint8Array, sequence: number): Uint8Array[] {
    const attributes = scan(request, 20);
    const errno = refuse(1, attributes);
    if (errno !== 0) return [outcome(ERROR, sequence, errno, request)];
    for (const entry of entries) {
      const writer = createMessageWriter();
      writeEntry(writer, sequence, entry, false);
      if (!same(scan(writer.bytes(), 20).get(2)!, attributes.get(2)!)) continue;
      return [writer.bytes(), outcome(ERROR, sequence, 0, request)];
    }
    return [outcome(ERROR, sequence, constants.errno.ENOENT, request)];
  }

  function remove(request: Uint8Array, sequence: number): number {
    const attributes = scan(request, 20);
    const tuple = attributes.get(1);
    if (tuple === undefined) {
      entries.length = 0;
      return 0;
    }
    const errno = refuse(2, attributes);
    if (errno !== 0) return errno;
    const id = attributes.get(12);
    const found = entries.findIndex((entry) => {
      const writer = createMessageWriter();
      writeEntry(writer, sequence, entry, false);
      const own = scan(writer.bytes(), 20);
      return same(own.get(1)!, tuple) && (id === undefined || same(own.get(12)!, id));
    });
    if (found < 0) return constants.errno.ENOENT;
    entries.splice(found, 1);
    return 0;
  }

  function answer(datagram: Uint8Array): Uint8Array[] {
    const answers: Uint8Array[] = [];
    let deletes = 0;
    for (let at = 0; at < datagram.length; ) {
      const view = new DataView(datagram.buffer, datagram.byteOffset + at);
      const request = datagram.subarray(at, at + view.getUint32(0, true));
      at += (request.length + 3) & ~3;
      const sequence = view.getUint32(8, true);
      const type = view.getUint16(4, true);
      const isDump = (view.getUint16(6, true) & 0x300) === 0x300;
      if (type === 0x101) answers.push(...(isDump ? dump : get)(request, sequence));
      else if (type === 0x102) {
        deletes++;
        const errno = remove(request, sequence);
        const wantsAck = (view.getUint16(6, true) & 4) !== 0;
        if (wantsAck || errno !== 0) answers.push(outcome(ERROR, sequence, errno, request));
      } else throw new Error(`a request of type ${type}`);
    }
    if (deletes > 0) batches.push(deletes);
    return answers;
  }

  return { entries, dumps, batches, answer, transport: createFakeTransport(answer) };
}

function writeEntry(
  writer: ReturnType<typeof createMessageWriter>,
  sequence: number,
  { family = 2, protocol = 17, source, destination, answerer, id, zone }: FakeEntry,
  interrupted: boolean,
): void {
  const [ipSource, ipDestination] = family === 2 ? [1, 2] : [3, 4];
  const tuple = (type: number, from: string, to: string): void =>
    writer.nest(type, () => {
      writer.nest(1, () => {
        writer.binary(ipSource, address(from));
        writer.binary(ipDestination, address(to));
      });
      writer.nest(2, () => {
        writer.u8(1, protocol);
        writer.u16be(2, port(from));
        writer.u16be(3, port(to));
      });
    });
  writer.begin({ type: NEW, flags: interrupted ? 0x12 : 2, sequence });
  writer.raw(Uint8Array.of(family, 0, 0, 0));
  tuple(1, source, destination);
  tuple(2, answerer, source);
  writer.u32be(3, 0x188);
  writer.u32be(7, 30);
  writer.nest(9, () => writer.u64be(1, 5n));
  writer.u32be(12, id);
  if (zone !== undefined) writer.u16be(18, zone);
  writer.binary(4000, Uint8Array.of(1, 2, 3)); // Unknown to us.
  writer.end();
}

function address(endpoint: string): Uint8Array {
  const text = endpoint.slice(0, endpoint.lastIndexOf(':'));
  if (!text.startsWith('[')) return Uint8Array.from(text.split('.').map(Number));
  const [head = '', tail = ''] = text.slice(1, -1).split('::');
  const groups = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
  const [first, last] = [groups(head), groups(tail)];
  const all = [...first, ...new Array<number>(8 - first.length - last.length).fill(0), ...last];
  return Uint8Array.from(all.flatMap((group) => [group >> 8, group & 255]));
}

function port(endpoint: string): number {
  return Number(endpoint.slice(endpoint.lastIndexOf(':') + 1));
}

function outcome(type: number, sequence: number, errno: number, request: Uint8Array): Uint8Array {
  const writer = createMessageWriter();
  writer.begin({ type, flags: 0, sequence });
  writer.raw(Uint8Array.of(...new Uint8Array(new Int32Array([-errno]).buffer), ...request.subarray(0, 16)));
  writer.end();
  return writer.bytes();
}

/** Content by type, without flags. */
export function scan(bytes: Uint8Array, start: number): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  for (let at = start; at + 4 <= bytes.length; ) {
    const length = bytes[at]! | (bytes[at + 1]! << 8);
    found.set((bytes[at + 2]! | (bytes[at + 3]! << 8)) & 0x3fff, bytes.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  return found;
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
