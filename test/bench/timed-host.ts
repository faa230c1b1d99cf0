/** The real Host, with a stopwatch on every call that netlink sockets for nf_tables make into the kernel. */
import type { Host } from '../../core/backend.ts';
import { createNetlink } from '../../core/netlink/netlink.ts';
import { openNftables } from '../../core/netlink/nftables/kernel.ts';
import { NETLINK_NETFILTER, openNetlink } from '../../core/netlink/socket.ts';
import type { Transport } from '../../core/netlink/transport.ts';
import { createHost } from '../../core/node/host.ts';
import { quiet } from './synced.ts';

export interface TimedHost {
  readonly host: Host;
  /** Milliseconds spent in send and receive since the last time this was asked. The kernel commits inside send. */
  kernelMilliseconds(): number;
  close(): void;
}

export function createTimedHost(): TimedHost {
  let spent = 0;
  function timed<T>(call: () => T): T {
    const began = performance.now();
    try {
      return call();
    } finally {
      spent += performance.now() - began;
    }
  }
  async function timedAsync<T>(call: () => Promise<T>): Promise<T> {
    const began = performance.now();
    try {
      return await call();
    } finally {
      spent += performance.now() - began;
    }
  }
  function open(): Transport {
    const socket = openNetlink({ protocol: NETLINK_NETFILTER });
    const { sendOffLoop, receiveOffLoop, reserveSendBuffer } = socket;
    return {
      send: (datagram) => timed(() => socket.send(datagram)),
      receive: () => timed(() => socket.receive()),
      ...(sendOffLoop && { sendOffLoop: (datagram) => timedAsync(() => sendOffLoop(datagram)) }),
      ...(receiveOffLoop && { receiveOffLoop: () => timedAsync(() => receiveOffLoop()) }),
      ...(reserveSendBuffer && { reserveSendBuffer }),
      close: () => socket.close(),
    };
  }
  const netlink = createNetlink(undefined, undefined, () => openNftables(open));
  const host = createHost({ log: quiet, signal: new AbortController().signal, requestFullSync() {} });
  return {
    host: { ...host, netlink },
    kernelMilliseconds() {
      const result = spent;
      spent = 0;
      return result;
    },
    close: () => netlink.close(),
  };
}
