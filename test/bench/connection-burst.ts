/**
 * Sends the first packets of many new connections as fast as this kernel takes them, to measure what each costs.
 *
 *   one memory block:  mmsghdr × N │ iovec × N │ sockaddr × N │ packet (IPv4 + TCP SYN) × N
 *   sendmmsg, 1024 at a time ─▶ raw socket ─▶ nat output (translated) ─▶ postrouting (confirmed) ─▶ link without carrier
 *
 * Nothing is built or copied in JavaScript while the clock runs, every packet has a 5-tuple of its own, and nobody
 * answers: the time is that of routing, conntrack and the rules. Sources are a pod's, so nothing is masqueraded.
 */
import { spawnSync } from 'node:child_process';
import koffi from 'koffi';
import { openNetlink } from '../../core/netlink/socket.ts';

const NETLINK_NETFILTER = 12;
const AF_INET = 2;
const SOCK_RAW = 3;
/** Of raw(7): we write the IP header. */
const IPPROTO_RAW = 255;
const IPPROTO_TCP = 6;
/** UIO_MAXIOV: most messages that one sendmmsg takes. */
const MOST_MESSAGES = 1024;

// Sizes on 64-bit Linux.
const MMSGHDR_BYTES = 64;
const IOVEC_BYTES = 16;
const SOCKADDR_BYTES = 16;
const IP_HEADER_BYTES = 20;
const PACKET_BYTES = IP_HEADER_BYTES + 20;

export interface BurstCost {
  readonly packets: number;
  readonly wallNanoseconds: number;
  /** Of this process, which sends; interrupts of others are not in it. */
  readonly cpuNanoseconds: number;
}

export interface Burst {
  /** Send all packets once. Connections of the last time must be forgotten before, or these are not new. */
  send(): BurstCost;
}

/** A default route into a link that takes everything and passes nothing on. For an empty namespace. */
export function prepareLink(): void {
  for (const line of [
    'link set lo up',
    'link add out0 type veth peer name out1',
    'address add 10.244.0.1/32 dev out0',
    'link set out0 up',
    'neighbour add 192.0.2.1 lladdr 02:00:00:00:00:01 dev out0 nud permanent',
    'route add default via 192.0.2.1 dev out0 onlink',
  ]) {
    const run = spawnSync('ip', line.split(' '), { encoding: 'utf8' });
    if (run.status !== 0) throw new Error(`ip ${line}: ${run.stderr}`);
  }
}

/** One connection to each destination in turn, `packets` in all; port 80. */
export function prepareBurst(packets: number, destination: (packet: number) => string): Burst {
  const libc = koffi.load(null);
  const sendmmsg = libc.func('int sendmmsg(int fd, uint64_t messages, uint32_t count, int flags)');
  const descriptor: number = libc.func('int socket(int family, int type, int protocol)')(
    AF_INET,
    SOCK_RAW,
    IPPROTO_RAW,
  );
  if (descriptor < 0) throw new Error(`raw socket: errno ${koffi.errno()} (needs CAP_NET_RAW)`);

  const bytes = packets * (MMSGHDR_BYTES + IOVEC_BYTES + SOCKADDR_BYTES + PACKET_BYTES);
  const block: unknown = koffi.alloc('uint8_t', bytes);
  const base = koffi.address(block);
  const memory = koffi.view(block, bytes);
  new Uint8Array(memory).fill(0);
  const view = new DataView(memory);
  const iovecs = packets * MMSGHDR_BYTES;
  const addresses = iovecs + packets * IOVEC_BYTES;
  const payloads = addresses + packets * SOCKADDR_BYTES;
  for (let i = 0; i < packets; i++) {
    const header = i * MMSGHDR_BYTES;
    const iovec = iovecs + i * IOVEC_BYTES;
    const address = addresses + i * SOCKADDR_BYTES;
    const packet = payloads + i * PACKET_BYTES;
    view.setBigUint64(header, base + BigInt(address), true);
    view.setUint32(header + 8, SOCKADDR_BYTES, true);
    view.setBigUint64(header + 16, base + BigInt(iovec), true);
    view.setBigUint64(header + 24, 1n, true);
    view.setBigUint64(iovec, base + BigInt(packet), true);
    view.setBigUint64(iovec + 8, BigInt(PACKET_BYTES), true);
    const to = destination(i).split('.').map(Number);
    view.setUint16(address, AF_INET, true);
    to.forEach((byte, at) => {
      view.setUint8(address + 4 + at, byte);
    });
    writeSyn(view, packet, i, to);
  }

  return {
    send() {
      const cpu = process.cpuUsage();
      const began = process.hrtime.bigint();
      for (let sent = 0; sent < packets; ) {
        const count = Math.min(MOST_MESSAGES, packets - sent);
        const accepted: number = sendmmsg(descriptor, base + BigInt(sent * MMSGHDR_BYTES), count, 0);
        if (accepted <= 0) throw new Error(`sendmmsg: errno ${koffi.errno()} at packet ${sent}`);
        sent += accepted;
      }
      const wallNanoseconds = Number(process.hrtime.bigint() - began);
      const { user, system } = process.cpuUsage(cpu);
      return { packets, wallNanoseconds, cpuNanoseconds: (user + system) * 1000 };
    },
  };
}

/** The kernel fills in length, identification and checksum of the IP header; nobody checks TCP's. */
function writeSyn(view: DataView, at: number, index: number, to: readonly number[]): void {
  view.setUint8(at, 0x45);
  view.setUint8(at + 8, 64);
  view.setUint8(at + 9, IPPROTO_TCP);
  // 16,384 source ports for each of the pod addresses 10.244.1.1, .2 …
  [10, 244, 1, 1 + (index >> 14)].forEach((byte, i) => {
    view.setUint8(at + 12 + i, byte);
  });
  to.forEach((byte, i) => {
    view.setUint8(at + 16 + i, byte);
  });
  const tcp = at + IP_HEADER_BYTES;
  view.setUint16(tcp, 32768 + (index & 16383));
  view.setUint16(tcp + 2, 80);
  view.setUint32(tcp + 4, 1 + index);
  view.setUint8(tcp + 12, 5 << 4);
  view.setUint8(tcp + 13, 0x02);
  view.setUint16(tcp + 14, 65535);
}

/** Makes the kernel forget every connection of this network namespace. */
export function flushConnections(): void {
  const socket = openNetlink({ protocol: NETLINK_NETFILTER });
  try {
    // nlmsghdr and nfgenmsg: IPCTNL_MSG_CT_DELETE without a tuple, request and ack, IPv4.
    const request = new Uint8Array(20);
    const view = new DataView(request.buffer);
    view.setUint32(0, request.length, true);
    view.setUint16(4, (1 << 8) | 2, true);
    view.setUint16(6, 0x5, true);
    view.setUint8(16, AF_INET);
    socket.send(request);
    const errno = -new DataView(Uint8Array.from(socket.receive()).buffer).getInt32(16, true);
    if (errno !== 0) throw new Error(`conntrack flush: errno ${errno}`);
  } finally {
    socket.close();
  }
}

/** Connections that the kernel tracks in this network namespace, and how many of them are translated. */
export function countConnections(): { readonly tracked: number; readonly translated: number } {
  const socket = openNetlink({ protocol: NETLINK_NETFILTER });
  try {
    // IPCTNL_MSG_CT_GET as a dump.
    const request = new Uint8Array(20);
    const view = new DataView(request.buffer);
    view.setUint32(0, request.length, true);
    view.setUint16(4, (1 << 8) | 1, true);
    view.setUint16(6, 0x301, true);
    view.setUint8(16, AF_INET);
    socket.send(request);
    let tracked = 0;
    let translated = 0;
    for (;;) {
      const reply = Uint8Array.from(socket.receive());
      const data = new DataView(reply.buffer);
      for (let at = 0; at < reply.length; at += (data.getUint32(at, true) + 3) & ~3) {
        const type = data.getUint16(at + 4, true);
        if (type === 2) throw new Error(`conntrack dump: errno ${-data.getInt32(at + 16, true)}`);
        if (type === 3) return { tracked, translated };
        tracked++;
        if (isTranslated(data, at + 20, at + data.getUint32(at, true))) translated++;
      }
    }
  } finally {
    socket.close();
  }
}

function isTranslated(data: DataView, from: number, to: number): boolean {
  const CTA_STATUS = 3;
  const IPS_DST_NAT = 1 << 5;
  for (let at = from; at < to; at += (data.getUint16(at, true) + 3) & ~3) {
    if ((data.getUint16(at + 2, true) & 0x3fff) === CTA_STATUS) return (data.getUint32(at + 4) & IPS_DST_NAT) !== 0;
  }
  return false;
}
