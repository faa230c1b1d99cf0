/**
 * Where the addresses of this host's interfaces come from: the kernel by netlink, or, where that cannot be had, Node.js.
 *
 *                          finds                                          notices changes
 *   netlink                every usable address                           when the kernel says so
 *   os.networkInterfaces   those of interfaces that are up and running    never by itself
 *
 * Interfaces that are down count as well: the kernel keeps the addresses of one that was never up local. Only those of
 * kube-ipvs0, which belong to Services, are nobody's business here: there may be 10,000 of them, and each Service that
 * comes or goes changes one. Their events ask for that link's index, and end there:
 *
 *   events of   this link alone ──▶ no change      others, too ──▶ list      lost (some 250 at once) ──▶ list
 *
 * The index is asked for each time, and never remembered: the link may go and come back with another one.
 */
import { networkInterfaces } from 'node:os';
import { parseIP } from '../model/ip.ts';
import type { InterfaceAddress } from '../model/node-settings.ts';
import { IPVS_DEVICE } from '../model/node-view.ts';
import { NetlinkError } from '../netlink/errors.ts';
import { openRoute, type Route } from '../netlink/route.ts';
import { type AddressEvents, type ChangedLinks, openAddressEvents } from '../netlink/route-events.ts';
import { isUsable, type Link, type LinkAddress } from '../netlink/route-messages.ts';

export interface AddressSource {
  /** All of now but those of kube-ipvs0, canonical, sorted, each address of an interface once. May throw. */
  list(): readonly InterfaceAddress[];
  /**
   * Whether they may have changed since the last call: cheap, to be asked often, and before listing. May throw.
   * undefined: this source cannot tell.
   */
  readonly changed?: () => boolean;
  close(): void;
}

export interface AddressSourceOptions {
  /** Netlink cannot be had, for the reason given. Called at most once, before `openAddressSource` returns. */
  readonly onFallback: (error: NetlinkError) => void;
  // Replaced by tests:
  readonly route?: () => Route;
  readonly events?: () => AddressEvents;
}

export function openAddressSource(options: AddressSourceOptions): AddressSource {
  try {
    return netlinkSource(options.route ?? openRoute, options.events ?? openAddressEvents);
  } catch (error) {
    if (!(error instanceof NetlinkError)) throw error;
    options.onFallback(error);
    return { list: () => addressesOfInterfaces(networkInterfaces()), close: () => undefined };
  }
}

/** Lists once as a trial: some sandboxes grant the socket and refuse the question. */
function netlinkSource(openListing: () => Route, openEvents: () => AddressEvents): AddressSource {
  const route = openListing();
  let events: AddressEvents | undefined;
  // Addresses first: of one whose link came after that listing there will be an event, and one whose link went is gone.
  const list = (): readonly InterfaceAddress[] => {
    const addresses = route.addresses(route.linkIndex(IPVS_DEVICE));
    return addressesOfLinks(addresses, route.links());
  };
  const concernsUs = (links: ChangedLinks): boolean => {
    if (links === 'any' || links.size > 1) return true;
    if (links.size === 0) return false;
    const index = route.linkIndex(IPVS_DEVICE);
    return index === undefined || !links.has(index);
  };
  try {
    const opened = openEvents();
    events = opened;
    list();
    return {
      list,
      changed: () => concernsUs(opened.changed()),
      close() {
        opened.close();
        route.close();
      },
    };
  } catch (error) {
    events?.close();
    route.close();
    throw error;
  }
}

/** The usable ones but those of kube-ipvs0, canonical and sorted, each address of an interface once. */
export function addressesOfLinks(
  addresses: readonly LinkAddress[],
  links: readonly Pick<Link, 'index' | 'name'>[],
): readonly InterfaceAddress[] {
  const names = new Map(
    links.filter(({ name }) => name !== IPVS_DEVICE).map(({ index, name }) => [index, name] as const),
  );
  return canonical(
    addresses.filter(isUsable).flatMap(({ linkIndex, ip }) => {
      const interfaceName = names.get(linkIndex);
      return interfaceName === undefined ? [] : [{ interfaceName, ip }];
    }),
  );
}

type Interfaces = Readonly<Record<string, readonly { readonly address: string }[] | undefined>>;

/** Canonical and sorted, each address of an interface once; zone ids ("%eth0") cut off. */
export function addressesOfInterfaces(interfaces: Interfaces): readonly InterfaceAddress[] {
  return canonical(
    Object.entries(interfaces).flatMap(([interfaceName, infos]) =>
      (infos ?? []).map(({ address }) => ({ interfaceName, ip: address.replace(/%.*$/s, '') })),
    ),
  );
}

function canonical(addresses: readonly InterfaceAddress[]): readonly InterfaceAddress[] {
  const found = new Map<string, InterfaceAddress>();
  for (const { interfaceName, ip } of addresses) {
    const parsed = parseIP(ip);
    if (parsed) found.set(`${interfaceName} ${parsed.ip}`, { interfaceName, ip: parsed.ip });
  }
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, address]) => address);
}
