/** The answers of rtnetlink, made by hand after linux/if_addr.h and if_link.h. */

import { attributesByType, attributeText } from '../../../core/netlink/attributes.ts';
import { NetlinkError } from '../../../core/netlink/errors.ts';
import { createFakeTransport, type FakeTransport } from '../../../core/netlink/fake-transport.ts';
import { type Message, parseMessages } from '../../../core/netlink/message.ts';
import type { Transport } from '../../../core/netlink/transport.ts';
import { createMessageWriter, type MessageWriter } from '../../../core/netlink/writer.ts';

const NLM_F_MULTI = 0x2;
const NLM_F_DUMP_INTR = 0x10;
const NLM_F_DUMP = 0x300;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const ENODEV = 19;
const RTM_GETLINK = 18;

export interface RawLink {
  readonly index: number;
  readonly flags?: number;
  /** IFLA_…, other than the name. */
  readonly attributes?: (writer: MessageWriter) => void;
  readonly name?: string;
}

export interface RawAddress {
  readonly family: number;
  readonly index: number;
  readonly prefixLength?: number;
  /** The 8 bits of the header. */
  readonly lowFlags?: number;
  readonly scope?: number;
  readonly attributes: (writer: MessageWriter) => void;
}

export interface RouteKernel {
  links: readonly RawLink[];
  addresses: readonly RawAddress[];
  /** So many dumps to come are marked as interrupted. */
  interruptions: number;
  /** Error number that ends each dump; 0 = none. */
  errno: number;
  /** Requests heard. */
  readonly requests: Uint8Array[];
  transport(): FakeTransport;
}

export function createRouteKernel(): RouteKernel {
  const kernel: RouteKernel = {
    links: [],
    addresses: [],
    interruptions: 0,
    errno: 0,
    requests: [],
    transport: () => createFakeTransport((request) => answer(kernel, request)),
  };
  return kernel;
}

function answer(kernel: RouteKernel, request: Uint8Array): readonly Uint8Array[] {
  kernel.requests.push(request);
  const [question] = parseMessages(request);
  const { sequence, type } = question!;
  const interrupted = kernel.interruptions > 0 ? NLM_F_DUMP_INTR : 0;
  kernel.interruptions -= interrupted ? 1 : 0;
  const flags = NLM_F_MULTI | interrupted;
  if (type === RTM_GETLINK && (question!.flags & NLM_F_DUMP) === 0) return linkNamed(kernel, question!);
  const objects = type === RTM_GETLINK ? kernel.links.map(linkBytes) : kernel.addresses.map(addressBytes);
  // One datagram for each object and one for the end, as a kernel with small buffers might.
  const datagrams = objects.map((write) => datagram((writer) => write(writer, { flags, sequence })));
  const done = new Uint8Array(new Int32Array([-kernel.errno]).buffer);
  datagrams.push(
    datagram((writer) => {
      writer.begin({ type: NLMSG_DONE, flags, sequence });
      writer.raw(done);
      writer.end();
    }),
  );
  return datagrams;
}

/** One link by its name, and an acknowledgement. */
function linkNamed(kernel: RouteKernel, { sequence, payload }: Message): readonly Uint8Array[] {
  const name = attributeText(attributesByType(payload.subarray(16)).get(3)!);
  const link = kernel.links.find((one) => one.name === name);
  const acknowledgement = new Int32Array([link === undefined ? -(kernel.errno || ENODEV) : 0, 16, 0, 0, 0]);
  return [
    ...(link === undefined ? [] : [datagram((writer) => linkBytes(link)(writer, { flags: 0, sequence }))]),
    datagram((writer) => {
      writer.begin({ type: NLMSG_ERROR, flags: 0, sequence });
      writer.raw(new Uint8Array(acknowledgement.buffer));
      writer.end();
    }),
  ];
}

/** The event of an address that came to a link, or went. */
export function addressEvent(linkIndex: number, type: 20 | 21 = 20): Uint8Array {
  return datagram((writer) => {
    writer.begin({ type, flags: 0, sequence: 0 });
    writer.raw(new Uint8Array(new Uint32Array([0, linkIndex]).buffer));
    writer.end();
  });
}

function datagram(write: (writer: MessageWriter) => void): Uint8Array {
  const writer = createMessageWriter();
  write(writer);
  return writer.bytes().slice();
}

type Numbered = { readonly flags: number; readonly sequence: number };

function linkBytes({ index, flags = 0, attributes, name }: RawLink) {
  return (writer: MessageWriter, numbered: Numbered): void => {
    writer.begin({ type: 16, ...numbered });
    const header = new DataView(new ArrayBuffer(16));
    header.setInt32(4, index, true);
    header.setUint32(8, flags, true);
    writer.raw(new Uint8Array(header.buffer));
    if (name !== undefined) writer.text(3, name);
    attributes?.(writer);
    writer.end();
  };
}

function addressBytes({ family, index, prefixLength = 0, lowFlags = 0, scope = 0, attributes }: RawAddress) {
  return (writer: MessageWriter, numbered: Numbered): void => {
    writer.begin({ type: 20, ...numbered });
    const header = new DataView(new ArrayBuffer(8));
    header.setUint32(4, index, true);
    const bytes = new Uint8Array(header.buffer);
    bytes.set([family, prefixLength, lowFlags, scope]);
    writer.raw(bytes);
    attributes(writer);
    writer.end();
  };
}

/** A socket that has these to tell, one a call: a datagram, or an error. Then, and at "nothing", it has nothing. */
export function eventTransport(events: (NetlinkError | Uint8Array | 'nothing')[]): Transport & { closed: boolean } {
  return {
    closed: false,
    send: () => undefined,
    receive() {
      const event = events.shift() ?? 'nothing';
      if (event instanceof Uint8Array) return event;
      throw event === 'nothing' ? new NetlinkError({ code: 'KP_NETLINK_TIMEOUT', text: 'no answer' }) : event;
    },
    close() {
      this.closed = true;
    },
  };
}
