/**
 * Removal of everything this backend, or an upstream kube-proxy in iptables mode, ever made, in either variant; and the
 * chains and IP sets of one in IPVS mode. Its virtual servers are the ipvs backend's to remove, which knows by these sets
 * whose they are, so that this comes after it.
 */
import type { Host } from '../../core/backend.ts';
import { beginRemoval } from '../shared/removal.ts';
import { destroyEventually } from './destroy-eventually.ts';
import { readKernel } from './kernel-state.ts';
import { affinitySetPrefix, upstreamIPVSSets } from './names.ts';
import { removeCounters } from './packet-counters.ts';
import { holdsOurs, removal } from './repair.ts';
import { restoreInput } from './restore-text.ts';
import { createTool, exists, type IptablesTool, kernelInterface } from './tool.ts';

export async function cleanup(host: Host): Promise<void> {
  const all = beginRemoval();
  for (const tool of await installedTools(host)) await all.attempt(() => removeRules(host, tool));
  await all.attempt(() => removeSets(host));
  await all.attempt(() => removeCounters(host));
  all.finish();
}

/**
 * Rules that this node's proxy left in the other variant, when the kubelet's hint or the host's default was another
 * one then: they still see every packet, and know only the endpoints of that time. Takes `tool`'s own for granted.
 */
export async function removeOtherVariant(host: Host, tool: IptablesTool): Promise<void> {
  const own = await kernelInterface(host, tool);
  if (own === undefined) return;
  const other = createTool(host, tool.family, own === 'legacy' ? 'nft' : 'legacy');
  if (await exists(host, other)) await removeRules(host, other);
}

async function installedTools(host: Host): Promise<IptablesTool[]> {
  const tools: IptablesTool[] = [];
  for (const family of ['IPv4', 'IPv6'] as const) {
    const specific = [];
    for (const variant of ['nft', 'legacy'] as const) {
      const tool = createTool(host, family, variant);
      if (await exists(host, tool)) specific.push(tool);
    }
    const plain = createTool(host, family, 'default');
    if (specific.length > 0) tools.push(...specific);
    else if (await exists(host, plain)) tools.push(plain);
  }
  return tools;
}

async function removeRules(host: Host, tool: IptablesTool): Promise<void> {
  const { saved, partly } = await readKernel(tool, 'everything');
  if (saved.filter.has('KUBE-FIREWALL')) {
    const why = "it guards the sysctl route_localnet and is kubelet's too";
    host.log.info('The chain KUBE-FIREWALL stays', { command: tool.command, why });
  }
  if (!holdsOurs(saved)) return;
  const { tables, held } = removal(saved);
  await tool.restore(restoreInput(tables));
  host.log.info('Removed rules', { command: tool.command });
  if (partly.length > 0) {
    host.log.warn('Tables that hold rules made by nft could not be searched; see what is left with nft list ruleset', {
      command: tool.command,
      tables: partly.join(','),
    });
  }
  if (held.length > 0) {
    const remedy = 'delete such rules, then clean up again';
    throw new Error(`${tool.command}: ${held.join('; ')}; ${remedy}`);
  }
}

async function removeSets(host: Host): Promise<void> {
  let names: readonly string[];
  try {
    names = host.netlink.ipset().names();
  } catch (error) {
    // A kernel without IP sets holds none of ours; without the library that asks it, nobody knows.
    if (error instanceof Error && 'code' in error && error.code === 'KP_NETLINK_LIBRARY') throw error;
    return;
  }
  const prefixes = [affinitySetPrefix('IPv4'), affinitySetPrefix('IPv6')];
  const upstreams = new Set([...upstreamIPVSSets('IPv4'), ...upstreamIPVSSets('IPv6')]);
  const ours = names.filter((name) => upstreams.has(name) || prefixes.some((prefix) => name.startsWith(prefix)));
  await destroyEventually(host, ours, (name) => host.netlink.ipset().destroy(name));
}
