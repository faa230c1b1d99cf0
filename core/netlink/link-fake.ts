/**
 * Dummy interfaces in memory, for tests of whatever uses `DummyLink`:
 *
 *   const links = createFakeLinks();                          // a Host's netlink.dummyLink is links.dummyLink
 *   links.occupy('kube-ipvs0', 'bridge');                     // the name is another's
 *   assert.equal(links.addresses('kube-ipvs0'), […]);         // undefined: no such interface
 */
import type { DummyLink } from '../ipvs.ts';
import { NetlinkError, type NetlinkFault } from './errors.ts';

export interface FakeLinks {
  dummyLink(name: string): DummyLink;
  /** Its addresses in the order of their adding; undefined: there is no such interface. */
  addresses(name: string): readonly string[] | undefined;
  /** From now on the name belongs to an interface of another kind. */
  occupy(name: string, kind: string): void;
  /** The next call of any method fails with this error, and nothing happens. May be called ahead. */
  failNext(fault: NetlinkFault): void;
}

export function createFakeLinks(): FakeLinks {
  const links = new Map<string, { readonly kind: string; readonly addresses: Set<string> }>();
  const faults: NetlinkFault[] = [];

  function find(operation: string, name: string): Set<string> | undefined {
    const fault = faults.shift();
    if (fault !== undefined) throw new NetlinkError({ operation, object: name, ...fault });
    const link = links.get(name);
    if (link === undefined || link.kind === 'dummy') return link?.addresses;
    const text = `an interface of this name exists, of kind ${link.kind}, not dummy`;
    const remedy = 'rename or delete it';
    throw new NetlinkError({ code: 'KP_NETLINK_CONFLICT', operation, object: name, text, remedy });
  }

  return {
    dummyLink: (name) => ({
      ensure() {
        if (find('link create', name) === undefined) links.set(name, { kind: 'dummy', addresses: new Set() });
      },
      delete() {
        if (find('link delete', name) !== undefined) links.delete(name);
      },
      addresses(family) {
        const all = find('address list', name);
        return all && [...all].filter((ip) => ip.includes(':') === (family === 'IPv6'));
      },
      async change({ add = [], remove = [] }) {
        const operation = 'address change';
        const addresses = find(operation, name);
        if (addresses === undefined) {
          const fault = { errno: 'ENODEV', text: 'no such interface', remedy: 'create it again' };
          throw new NetlinkError({ code: 'KP_NETLINK_REFUSED', operation, object: name, ...fault });
        }
        let operations = 0;
        let bytes = 0;
        for (const ip of remove) {
          if (addresses.delete(ip)) operations++;
          bytes += ip.length;
        }
        for (const ip of add) {
          if (!addresses.has(ip)) operations++;
          addresses.add(ip);
          bytes += ip.length;
        }
        return { operations, bytes };
      },
    }),
    addresses: (name) => {
      const link = links.get(name);
      return link && [...link.addresses];
    },
    occupy: (name, kind) => void links.set(name, { kind, addresses: new Set() }),
    failNext: (fault) => void faults.push(fault),
  };
}
