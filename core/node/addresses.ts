/**
 * The addresses on this host's interfaces, watched by asking again every two seconds: node ports answer on them, and
 * an address that comes or goes must take effect without a restart.
 */
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { parseIP } from '../model/ip.ts';
import type { InterfaceAddress } from '../model/node-settings.ts';

export const ADDRESS_POLL_MS = 2000;

type Interfaces = Readonly<Record<string, readonly Pick<NetworkInterfaceInfo, 'address'>[] | undefined>>;

/** Canonical and sorted, each address of an interface once; zone ids ("%eth0") cut off. */
export function interfaceAddresses(interfaces: Interfaces): readonly InterfaceAddress[] {
  const found = new Map<string, InterfaceAddress>();
  for (const [interfaceName, infos] of Object.entries(interfaces)) {
    for (const { address } of infos ?? []) {
      const parsed = parseIP(address.replace(/%.*$/s, ''));
      if (parsed) found.set(`${interfaceName} ${parsed.ip}`, { interfaceName, ip: parsed.ip });
    }
  }
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, address]) => address);
}

export interface AddressWatch {
  /** As last seen. */
  current(): readonly InterfaceAddress[];
  stop(): void;
}

export interface AddressWatchOptions {
  /** Asks the machine; may throw, and then the last known addresses stay. */
  readonly read?: () => readonly InterfaceAddress[];
  readonly intervalMs?: number;
  readonly onChange: () => void;
  readonly onFault: (error: unknown) => void;
}

/** Keeps the process alive until stopped. */
export function watchAddresses(options: AddressWatchOptions): AddressWatch {
  const { read = () => interfaceAddresses(networkInterfaces()), intervalMs = ADDRESS_POLL_MS } = options;
  let addresses: readonly InterfaceAddress[] = [];
  let faulty = false;
  const look = (): boolean => {
    try {
      const seen = read();
      faulty = false;
      if (sameAddresses(addresses, seen)) return false;
      addresses = seen;
      return true;
    } catch (error) {
      if (!faulty) options.onFault(error);
      faulty = true;
      return false;
    }
  };
  look();
  const timer = setInterval(() => {
    if (look()) options.onChange();
  }, intervalMs);
  return { current: () => addresses, stop: () => clearInterval(timer) };
}

function sameAddresses(a: readonly InterfaceAddress[], b: readonly InterfaceAddress[]): boolean {
  return a.length === b.length && a.every((x, at) => x.ip === b[at]!.ip && x.interfaceName === b[at]!.interfaceName);
}
