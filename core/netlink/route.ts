/**
 * The links of this network namespace and the addresses on them, from rtnetlink (NETLINK_ROUTE; needs no privilege).
 *
 *   addresses()   RTM_GETADDR dump, all families ──▶ LinkAddress …
 *   links()       RTM_GETLINK dump               ──▶ Link …
 *   linkIndex()   RTM_GETLINK { IFNAME }         ──▶ its index
 *
 * Unlike os.networkInterfaces(), which is getifaddrs(3) without the interfaces that are not running, this lists what
 * the kernel has: addresses on an interface without carrier belong to the node as much as any other.
 *
 * The kernel does not lock what it lists. When it says that a listing was overtaken by a change, we ask again.
 */
import { NetlinkError } from './errors.ts';
import { type Call, openConversation } from './request.ts';
import {
  AF_UNSPEC,
  IFADDRMSG_BYTES,
  IFINFOMSG_BYTES,
  IFLA_EXT_MASK,
  IFLA_IFNAME,
  type Link,
  type LinkAddress,
  parseLink,
  parseLinkAddress,
  RTEXT_FILTER_SKIP_STATS,
  RTM_GETADDR,
  RTM_GETLINK,
  RTM_NEWADDR,
  RTM_NEWLINK,
  readLinkIndex,
} from './route-messages.ts';
import { NETLINK_ROUTE, openNetlink } from './socket.ts';
import type { Transport } from './transport.ts';

/** A host on which each of so many listings is overtaken changes all the time. */
const MOST_LISTINGS = 10;

// AF_UNSPEC also for addresses: asked for IPv6 alone, a kernel without it would list all families instead.
const LINKS: Call = {
  operation: 'link list',
  object: '',
  type: RTM_GETLINK,
  write(writer) {
    writer.raw(new Uint8Array(IFINFOMSG_BYTES).fill(AF_UNSPEC, 0, 1));
    writer.u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  },
};
const ADDRESSES: Call = {
  operation: 'address list',
  object: '',
  type: RTM_GETADDR,
  write: (writer) => writer.raw(new Uint8Array(IFADDRMSG_BYTES).fill(AF_UNSPEC, 0, 1)),
};

/**
 * Methods throw NetlinkError: KP_NETLINK_REFUSED, also when changes overtook every listing (EINTR), and the codes of a
 * broken conversation (TIMEOUT, OVERRUN, MALFORMED). The next call starts afresh.
 */
export interface Route {
  /** All links, up or not, in the kernel's order. */
  links(): readonly Link[];
  /** Index of the link of this name, by one question; undefined if there is none. */
  linkIndex(name: string): number | undefined;
  /**
   * All IPv4 and IPv6 addresses in the kernel's order, also those that are not usable (see `isUsable`). Those of the link
   * `except` are left out before they are parsed: the kernel can list the addresses of one link or of all, no others.
   */
  addresses(except?: number): readonly LinkAddress[];
  close(): void;
}

/**
 * `open` is called again after a fault that leaves a socket unusable.
 * @throws NetlinkError KP_NETLINK_UNAVAILABLE
 */
export function openRoute(open: () => Transport = () => openNetlink({ protocol: NETLINK_ROUTE })): Route {
  const conversation = openConversation(open);

  /** What `parse` makes of each answer of that type; others, and undefined, are left out. */
  function list<T>(call: Call, answer: number, parse: (payload: Uint8Array) => T | undefined): readonly T[] {
    for (let attempt = 0; attempt < MOST_LISTINGS; attempt++) {
      const found: T[] = [];
      try {
        const { interrupted } = conversation.dump(call, ({ type, payload }) => {
          const parsed = type === answer ? parse(payload) : undefined;
          if (parsed !== undefined) found.push(parsed);
        });
        if (!interrupted) return found;
      } catch (error) {
        if (!(error instanceof NetlinkError && error.errno === 'EINTR')) throw error;
      }
    }
    throw overtaken(call);
  }

  return {
    links: () => list(LINKS, RTM_NEWLINK, parseLink),
    linkIndex(name) {
      let index: number | undefined;
      try {
        conversation.request(linkNamed(name), ({ type, payload }) => {
          if (type === RTM_NEWLINK) index = parseLink(payload).index;
        });
      } catch (error) {
        if (!(error instanceof NetlinkError && error.errno === 'ENODEV')) throw error;
      }
      return index;
    },
    addresses: (except) =>
      list(ADDRESSES, RTM_NEWADDR, (payload) =>
        except !== undefined && readLinkIndex(payload) === except ? undefined : parseLinkAddress(payload),
      ),
    close: () => conversation.close(),
  };
}

function linkNamed(name: string): Call {
  return {
    operation: 'link find',
    object: name,
    type: RTM_GETLINK,
    write(writer) {
      writer.raw(new Uint8Array(IFINFOMSG_BYTES));
      writer.text(IFLA_IFNAME, name);
      writer.u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    },
  };
}

function overtaken({ operation, object }: Call): NetlinkError {
  return new NetlinkError({
    code: 'KP_NETLINK_REFUSED',
    operation,
    object,
    errno: 'EINTR',
    text: `changes overtook ${MOST_LISTINGS} listings in a row`,
    remedy: 'find out what changes the interfaces of this host all the time',
  });
}
