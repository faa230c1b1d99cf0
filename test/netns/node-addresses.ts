/** The addresses that the node of a world has now, loopback included: what the program finds there by itself. */
import type { InterfaceAddress } from '../../core/model/node-settings.ts';
import type { World } from './world.ts';

export async function nodeAddresses(world: World, namespace = 'node'): Promise<InterfaceAddress[]> {
  const { stdout } = await world.exec(namespace, 'ip', ['-json', 'address', 'show']);
  const links = JSON.parse(stdout) as { ifname: string; addr_info: { local: string }[] }[];
  return links.flatMap(({ ifname, addr_info }) => addr_info.map(({ local }) => ({ interfaceName: ifname, ip: local })));
}
