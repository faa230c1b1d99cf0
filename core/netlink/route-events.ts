/**
 * Which links' addresses may have changed in this network namespace: a socket that hears the kernel's multicasts about
 * addresses and is asked now and then, without waiting and without a thread.
 *
 *   kernel ── RTM_NEWADDR, RTM_DELADDR ──▶ receive queue ── changed()? ──▶ links: list addresses again (route.ts)
 *
 * What else the events say is not used: a listing tells the whole truth, also after events were lost (ENOBUFS).
 *
 * Links have a group too, but its events are many (every veth of a pod, every port of a bridge) and none adds or removes
 * an address without an event of its own. Only a renamed interface goes unnoticed.
 */
import { NetlinkError } from './errors.ts';
import { parseMessages } from './message.ts';
import { RTM_DELADDR, RTM_NEWADDR, readLinkIndex } from './route-messages.ts';
import { NETLINK_ROUTE, openNetlink } from './socket.ts';
import type { Transport } from './transport.ts';

// linux/rtnetlink.h: bit masks of RTNLGRP_IPV4_IFADDR (5) and RTNLGRP_IPV6_IFADDR (9).
const RTMGRP_IPV4_IFADDR = 0x10;
const RTMGRP_IPV6_IFADDR = 0x100;

/** An event is 100 bytes and costs about 1 KiB of this. More than fit are as good as one. */
const RECEIVE_BUFFER_BYTES = 256 << 10;
const DATAGRAM_BYTES = 16 << 10;
/** More than the buffer holds; the rest, if events come faster than they are read, waits for the next call. */
const MOST_DATAGRAMS = 2000;

/** Indices of links; 'any': events were lost, or cannot be read. */
export type ChangedLinks = ReadonlySet<number> | 'any';

export interface AddressEvents {
  /**
   * The links of which there were events since the last call. List addresses *afterwards*, and nothing is missed.
   * @throws NetlinkError when the socket is broken; the next call uses a new one, and says 'any'.
   */
  changed(): ChangedLinks;
  close(): void;
}

/** @throws NetlinkError KP_NETLINK_UNAVAILABLE */
export function openAddressEvents(open: () => Transport = openEventSocket): AddressEvents {
  let transport: Transport | undefined = open();
  let closed = false;

  function drain(socket: Transport): ChangedLinks {
    const links = new Set<number>();
    let lost = false;
    for (let count = 0; count < MOST_DATAGRAMS; count++) {
      try {
        if (!readLinks(socket.receive(), links)) lost = true;
      } catch (error) {
        const code = error instanceof NetlinkError ? error.code : undefined;
        if (code === 'KP_NETLINK_TIMEOUT') break;
        if (code !== 'KP_NETLINK_OVERRUN' && code !== 'KP_NETLINK_MALFORMED') throw error;
        // Lost, or nothing that we can read: it happened, and the socket goes on once its queue is empty.
        lost = true;
      }
    }
    return lost ? 'any' : links;
  }

  return {
    changed() {
      if (closed) return new Set();
      if (transport === undefined) {
        transport = open();
        return 'any';
      }
      try {
        return drain(transport);
      } catch (error) {
        transport.close();
        transport = undefined;
        throw error;
      }
    },
    close() {
      closed = true;
      transport?.close();
      transport = undefined;
    },
  };
}

/** False: something else than events of addresses. */
function readLinks(datagram: Uint8Array, links: Set<number>): boolean {
  return parseMessages(datagram).every(({ type, payload }) => {
    if (type !== RTM_NEWADDR && type !== RTM_DELADDR) return false;
    links.add(readLinkIndex(payload));
    return true;
  });
}

function openEventSocket(): Transport {
  return openNetlink({
    protocol: NETLINK_ROUTE,
    groups: RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR,
    nonBlocking: true,
    receiveBufferBytes: RECEIVE_BUFFER_BYTES,
    datagramBytes: DATAGRAM_BYTES,
  });
}
