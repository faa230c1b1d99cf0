/**
 * A dummy interface and its addresses, over rtnetlink (linux/if_link.h, if_addr.h):
 *
 *   ensure, delete   RTM_NEWLINK, RTM_DELLINK { IFNAME, LINKINFO { KIND "dummy" } }
 *   change           RTM_NEWADDR, RTM_DELADDR { LOCAL, ADDRESS } × many                pipeline.ts
 *   addresses        RTM_GETADDR                                                       route.ts
 *
 * The interface stays down. Its addresses are in the table "local" all the same: IPv4 ones as on any interface
 * (fib_add_ifaddr), IPv6 ones if they are added while it is down and are not first tested for being unique
 * (IFA_F_NODAD); up, it would only gain a link-local address and routes that nobody asked for.
 */
import type { DummyLink } from '../ipvs.ts';
import { attributed, type ErrnoMeaning, errnoMeaning, malformed, NetlinkError } from './errors.ts';
import { type Message, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, type Outcome } from './message.ts';
import { writeIPv4, writeIPv6 } from './nftables/addresses.ts';
import { createPipeline, type Pipeline } from './pipeline.ts';
import { type Conversation, openConversation } from './request.ts';
import { openRoute, type Route } from './route.ts';
import * as rt from './route-messages.ts';
import { NETLINK_ROUTE, openNetlink } from './socket.ts';
import type { Transport } from './transport.ts';
import type { MessageWriter } from './writer.ts';

const DUMMY = 'dummy';
/** Bytes, without the NUL that IFNAMSIZ counts. */
const LONGEST_NAME = 15;

export interface OpenDummyLink extends DummyLink {
  close(): void;
}

interface AddressStep {
  readonly type: typeof rt.RTM_NEWADDR | typeof rt.RTM_DELADDR;
  readonly ip: string;
  readonly linkIndex: number;
}

/**
 * `open` is called once for each of up to three sockets, when first needed, and again after a fault.
 * @throws NetlinkError KP_NETLINK_INVALID: no name of an interface.
 */
export function openDummyLink(
  name: string,
  open: () => Transport = () => openNetlink({ protocol: NETLINK_ROUTE }),
): OpenDummyLink {
  checkName(name);
  let conversation: Conversation | undefined;
  let route: Route | undefined;
  let pipeline: Pipeline<AddressStep> | undefined;
  let closed = false;

  /** About the link of an index, or else of our name. */
  function request(
    call: { readonly operation: string; readonly type: number; readonly flags?: number; readonly index?: number },
    rest: (writer: MessageWriter) => void = () => {},
    each?: (reply: Message) => void,
  ): void {
    const { operation, type, flags = 0, index = 0 } = call;
    if (closed) throw new NetlinkError({ code: 'KP_NETLINK_INVALID', operation, object: name, text: 'it is closed' });
    conversation ??= openConversation(open);
    const write = (writer: MessageWriter): void => {
      const header = new Uint8Array(rt.IFINFOMSG_BYTES);
      rt.writeLinkIndex(header, index);
      writer.raw(header);
      if (index === 0) writer.text(rt.IFLA_IFNAME, name);
      rest(writer);
    };
    conversation.request({ operation, object: name, type, flags, write }, each);
  }

  /** Index of the interface; undefined if there is none. @throws NetlinkError KP_NETLINK_CONFLICT */
  function find(operation: string): number | undefined {
    let found: { readonly index: number; readonly kind: string } | undefined;
    try {
      request(
        { operation, type: rt.RTM_GETLINK },
        (writer) => writer.u32(rt.IFLA_EXT_MASK, rt.RTEXT_FILTER_SKIP_STATS),
        ({ type, payload }) => {
          if (type === rt.RTM_NEWLINK) found = { index: rt.parseLink(payload).index, kind: rt.parseLinkKind(payload) };
        },
      );
    } catch (error) {
      if (errnoOf(error) === 'ENODEV') return undefined;
      throw error;
    }
    if (found === undefined) throw attributed(malformed('no description of the link'), operation, name);
    if (found.kind !== DUMMY) throw occupied(operation, name, found.kind);
    return found.index;
  }

  return {
    ensure() {
      const operation = 'link create';
      if (find(operation) !== undefined) return;
      try {
        request({ operation, type: rt.RTM_NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL }, (writer) => {
          writer.nest(rt.IFLA_LINKINFO, () => writer.text(rt.IFLA_INFO_KIND, DUMMY));
        });
      } catch (error) {
        // Somebody was faster; it is ours too if it is of the kind.
        if (errnoOf(error) === 'EEXIST' && find(operation) !== undefined) return;
        throw errnoOf(error) === 'EOPNOTSUPP' ? unsupported(operation, name) : error;
      }
    },
    delete() {
      const operation = 'link delete';
      const index = find(operation);
      if (index === undefined) return;
      try {
        request({ operation, type: rt.RTM_DELLINK, index });
      } catch (error) {
        if (errnoOf(error) !== 'ENODEV') throw error;
      }
    },
    addresses(family) {
      const linkIndex = find('address list');
      if (linkIndex === undefined) return undefined;
      route ??= openRoute(open);
      const whole = family === 'IPv4' ? 32 : 128;
      return route
        .addresses()
        .filter((address) => address.linkIndex === linkIndex && address.family === family)
        .filter(({ prefixLength, scope }) => prefixLength === whole && scope !== rt.RT_SCOPE_LINK)
        .map(({ ip }) => ip);
    },
    async change({ add = [], remove = [] }) {
      const operation = 'address change';
      const linkIndex = find(operation);
      if (linkIndex === undefined) {
        const remedy = 'create it again';
        throw new NetlinkError({
          code: 'KP_NETLINK_REFUSED',
          operation,
          object: name,
          errno: 'ENODEV',
          text: 'no such interface',
          remedy,
        });
      }
      pipeline ??= createPipeline<AddressStep>({ open, operation, encode: encodeAddress, isQuick: () => true });
      let taken = 0;
      let withoutEffect = 0;
      let faults = 0;
      let fault: NetlinkError | undefined;
      const steps = (function* (): Iterable<AddressStep> {
        for (const ip of remove) yield { type: rt.RTM_DELADDR, ip, linkIndex };
        for (const ip of add) yield { type: rt.RTM_NEWADDR, ip, linkIndex };
      })();
      const counted = (function* (): Iterable<AddressStep> {
        for (const step of steps) {
          taken++;
          yield step;
        }
      })();
      const bytes = await pipeline.run(counted, (step, reason) => {
        withoutEffect++;
        if (isSo(step, reason)) return;
        faults++;
        fault ??= addressFault(step, name, reason);
      });
      if (fault !== undefined) throw faults === 1 ? fault : oneOf(faults, fault);
      return { operations: taken - withoutEffect, bytes };
    },
    close() {
      closed = true;
      conversation?.close();
      route?.close();
      pipeline?.close();
    },
  };
}

/** struct ifaddrmsg: family, prefix length, flags, scope (0: global), index. */
function encodeAddress(writer: MessageWriter, { type, ip, linkIndex }: AddressStep, sequence: number): void {
  const isV6 = ip.includes(':');
  const bytes = new Uint8Array(isV6 ? 16 : 4);
  if (isV6) writeIPv6(ip, bytes, 0);
  else writeIPv4(ip, bytes, 0);
  const header = new Uint8Array(rt.IFADDRMSG_BYTES);
  header.set([isV6 ? rt.AF_INET6 : rt.AF_INET, bytes.length * 8, rt.IFA_F_NODAD]);
  rt.writeLinkIndex(header, linkIndex);
  const flags = type === rt.RTM_NEWADDR ? NLM_F_CREATE | NLM_F_EXCL : 0;
  writer.begin({ type, flags: NLM_F_REQUEST | flags, sequence });
  writer.raw(header);
  writer.binary(rt.IFA_LOCAL, bytes);
  writer.binary(rt.IFA_ADDRESS, bytes);
  writer.end();
}

/** It was there, or gone, already. */
function isSo({ type }: AddressStep, reason: Outcome | NetlinkError): boolean {
  if (reason instanceof NetlinkError) return false;
  return errnoMeaning(reason.errno).name === (type === rt.RTM_NEWADDR ? 'EEXIST' : 'EADDRNOTAVAIL');
}

function addressFault({ type, ip }: AddressStep, link: string, reason: Outcome | NetlinkError): NetlinkError {
  const operation = type === rt.RTM_NEWADDR ? 'address add' : 'address delete';
  const object = `${ip} on ${link}`;
  if (reason instanceof NetlinkError) {
    const { code, text } = reason;
    return new NetlinkError({ code, operation, object, text });
  }
  const { name, text, remedy } = meaningOf(reason.errno, link);
  const words = [text, reason.text].filter(Boolean).join('; ');
  return new NetlinkError({ code: 'KP_NETLINK_REFUSED', operation, object, errno: name, text: words, remedy });
}

/** addrconf_add_dev says so of an interface that does without IPv6; of a kernel without it, rtnetlink itself. */
function meaningOf(errno: number, link: string): ErrnoMeaning {
  const meaning = errnoMeaning(errno);
  if (meaning.name !== 'EACCES') return meaning;
  return { name: 'EACCES', text: 'IPv6 is off on it', remedy: `set net.ipv6.conf.${link}.disable_ipv6 to 0` };
}

function oneOf(count: number, { code, operation, object, errno, text, remedy }: NetlinkError): NetlinkError {
  return new NetlinkError({
    code,
    operation,
    object,
    errno,
    text: `${text}; the first of ${count} that failed`,
    remedy,
  });
}

function errnoOf(error: unknown): string {
  return error instanceof NetlinkError ? error.errno : '';
}

function checkName(name: string): void {
  const bytes = Buffer.byteLength(name);
  // dev_valid_name.
  if (bytes >= 1 && bytes <= LONGEST_NAME && !/[/:\s\0]/.test(name) && name !== '.' && name !== '..') return;
  throw new NetlinkError({
    code: 'KP_NETLINK_INVALID',
    operation: 'link open',
    object: JSON.stringify(name),
    text: `an interface's name has 1 to ${LONGEST_NAME} bytes without space, slash and colon`,
  });
}

function occupied(operation: string, object: string, kind: string): NetlinkError {
  return new NetlinkError({
    code: 'KP_NETLINK_CONFLICT',
    operation,
    object,
    text: `an interface of this name exists, ${kind === '' ? 'a physical one' : `of kind ${kind}`}, not ${DUMMY}`,
    remedy: 'rename or delete it',
  });
}

function unsupported(operation: string, object: string): NetlinkError {
  return new NetlinkError({
    code: 'KP_NETLINK_UNSUPPORTED',
    operation,
    object,
    errno: 'EOPNOTSUPP',
    text: 'this kernel has no dummy interfaces',
    remedy: 'load the module dummy or use a kernel with CONFIG_DUMMY',
  });
}
