/** Where a client wanted to go, and hence what serves it. */
import type { SocketAddress } from '../../../core/backend.ts';
import type { ForwardedProtocol, FrontendAddress, FrontendKind, FrontendsUpdate } from './messages.ts';

export interface Destination {
  readonly service: string;
  readonly kind: FrontendKind;
}

export interface Frontends {
  update(update: FrontendsUpdate): void;
  find(protocol: ForwardedProtocol, original: SocketAddress): Destination | undefined;
  /** Another number when a UDP client may mean another Service than before. */
  generation(): number;
  /** Whether it is found by its address, not as a node port. */
  has(protocol: ForwardedProtocol, address: SocketAddress): boolean;
}

export function openFrontends(): Frontends {
  const known = new Map<string, Destination>();
  let generation = 0;
  return {
    generation: () => generation,
    update({ delete: gone = [], set = [] }) {
      if ([...gone, ...set].some(({ protocol }) => protocol === 'UDP')) generation++;
      for (const address of gone) known.delete(nameOf(address));
      for (const { service, kind, ...address } of set) known.set(nameOf(address), { service, kind });
    },
    has: (protocol, { ip, port }) => known.has(`${protocol} ${port} ${ip}`),
    find(protocol, { ip, port }) {
      const family = ip.includes(':') ? 'IPv6' : 'IPv4';
      return known.get(`${protocol} ${port} ${ip}`) ?? known.get(`${protocol} ${port} ${family}`);
    },
  };
}

function nameOf({ protocol, family, ip, port }: FrontendAddress): string {
  return `${protocol} ${port} ${ip === '' ? family : ip}`;
}
