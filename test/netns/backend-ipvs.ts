/**
 * The ipvs backend as a data plane under test, and what it keeps in the kernel, as ipvsadm(8), ip(8) and nft(8) list it:
 * virtual servers, the addresses of its interface, its table.
 */
import type { IPFamily } from '../../core/backend.ts';
import { listTable } from './backend-nftables.ts';
import { choice, type DataPlane } from './backend-scene.ts';
import type { World } from './world.ts';

export const TABLE = 'kube-ipvs';
export const INTERFACE = 'kube-ipvs0';

/** `options`: as in --backend-option. */
export function ipvsPlane(...options: readonly string[]): DataPlane {
  return {
    title: ['ipvs', ...options].join(' '),
    ...choice('ipvs', options),
    rules: listState,
  };
}

async function listState(world: World, family: IPFamily = 'IPv4'): Promise<string> {
  const [servers, addresses, table] = await Promise.all([
    savedServers(world),
    boundAddresses(world, family),
    listTable(world, family, TABLE),
  ]);
  const own = servers.filter((line) => isOfFamily(line, family));
  return [...own, ...addresses.map((ip) => `address ${ip}`), table].join('\n');
}

/** "-A -t 10.96.0.10:80 -s rr", "-a -t 10.96.0.10:80 -r 10.244.1.11:8080 -m -w 1", …: both families', sorted. */
export async function savedServers(world: World): Promise<readonly string[]> {
  const { stdout } = await world.exec('node', 'ipvsadm', ['-Sn']);
  return stdout
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .sort();
}

/** Of firewall marks, real servers do not say the family but by their address. */
function isOfFamily(line: string, family: IPFamily): boolean {
  return (/\[| -6\b/.test(line) ? 'IPv6' : 'IPv4') === family;
}

/** Of one virtual server: "10.244.1.11:8080" → its weight. */
export async function weights(world: World, virtualServer: string): Promise<ReadonlyMap<string, number>> {
  const found = (await savedServers(world)).flatMap((line) => {
    const [, server, real, weight] = /^-a (?:-[tu]|--sctp-service) (\S+) -r (\S+) -m -w (\d+)/.exec(line) ?? [];
    return server === virtualServer ? [[real!, Number(weight)] as const] : [];
  });
  return new Map(found);
}

/** Sorted; none, too, if there is no such interface. */
export async function boundAddresses(world: World, family: IPFamily): Promise<readonly string[]> {
  const { stdout } = await world.exec('node', 'ip', ['-json', 'address', 'show']);
  const links = JSON.parse(stdout) as { ifname: string; addr_info: { family: string; local: string }[] }[];
  return links
    .filter(({ ifname }) => ifname === INTERFACE)
    .flatMap(({ addr_info }) => addr_info)
    .filter((address) => address.family === (family === 'IPv4' ? 'inet' : 'inet6'))
    .map(({ local }) => local)
    .sort();
}

/** A connection as `ipvsadm -Lnc` lists it, or what persistence remembers of a client: its port is 0. */
export interface ListedConnection {
  readonly protocol: string;
  readonly state: string;
  readonly client: string;
  readonly virtual: string;
  readonly real: string;
}

export async function connections(world: World): Promise<readonly ListedConnection[]> {
  const { stdout } = await world.exec('node', 'ipvsadm', ['-Lnc']);
  return stdout
    .split('\n')
    .slice(2)
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const [protocol = '', , state = '', client = '', virtual = '', real = ''] = line.trim().split(/\s+/);
      return { protocol, state, client, virtual, real };
    });
}
