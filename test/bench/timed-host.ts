/** The real Host, with a stopwatch on every call that netlink sockets for nf_tables, IPVS and addresses make into the kernel. */
import type { Host } from '../../core/backend.ts';
import { openIPVS } from '../../core/netlink/ipvs.ts';
import { openDummyLink } from '../../core/netlink/link.ts';
import { createNetlink } from '../../core/netlink/netlink.ts';
import { openNftables } from '../../core/netlink/nftables/kernel.ts';
import { NETLINK_GENERIC, NETLINK_NETFILTER, NETLINK_ROUTE, openNetlink } from '../../core/netlink/socket.ts';
import type { Transport } from '../../core/netlink/transport.ts';
import { createHost } from '../../core/node/host.ts';
import { quiet } from './synced.ts';

/** Milliseconds by interface: "nftables", "ipvs", "addresses"; those that were used. */
export type KernelTimes = Readonly<Record<string, number>>;

export interface TimedHost {
  readonly host: Host;
  /** Spent in send and receive since the last time this was asked. The kernel commits inside send. */
  kernelTimes(): KernelTimes;
  close(): void;
}

export function createTimedHost(): TimedHost {
  const spent = new Map<string, number>();

  function stopwatch(name: string, protocol: number): () => Transport {
    const add = (began: number): void => void spent.set(name, (spent.get(name) ?? 0) + performance.now() - began);
    function timed<T>(call: () => T): T {
      const began = performance.now();
      try {
        return call();
      } finally {
        add(began);
      }
    }
    async function timedAsync<T>(call: () => Promise<T>): Promise<T> {
      const began = performance.now();
      try {
        return await call();
      } finally {
        add(began);
      }
    }
    return () => {
      const socket = openNetlink({ protocol });
      const { sendOffLoop, receiveOffLoop, reserveSendBuffer } = socket;
      spent.set(name, spent.get(name) ?? 0);
      return {
        send: (datagram) => timed(() => socket.send(datagram)),
        receive: () => timed(() => socket.receive()),
        ...(sendOffLoop && { sendOffLoop: (datagram) => timedAsync(() => sendOffLoop(datagram)) }),
        ...(receiveOffLoop && { receiveOffLoop: () => timedAsync(() => receiveOffLoop()) }),
        ...(reserveSendBuffer && { reserveSendBuffer }),
        close: () => socket.close(),
      };
    };
  }

  const netlink = createNetlink(
    undefined,
    undefined,
    () => openNftables(stopwatch('nftables', NETLINK_NETFILTER)),
    undefined,
    () => openIPVS({ open: stopwatch('ipvs', NETLINK_GENERIC) }),
    (name) => openDummyLink(name, stopwatch('addresses', NETLINK_ROUTE)),
  );
  const host = createHost({ log: quiet, signal: new AbortController().signal, requestFullSync() {} });
  return {
    host: { ...host, netlink },
    kernelTimes() {
      const times = Object.fromEntries(spent);
      for (const name of spent.keys()) spent.set(name, 0);
      return times;
    },
    close: () => netlink.close(),
  };
}
