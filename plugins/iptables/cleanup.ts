/** Removal of everything this backend, or an upstream kube-proxy in iptables mode, ever made, in either variant. */
import type { Host } from '../../core/backend.ts';
import { affinitySetPrefix } from './names.ts';
import { destroyEventually } from './probe.ts';
import { holdsOurs, removal } from './repair.ts';
import { parseSave, restoreInput } from './restore-text.ts';
import { createTool, exists, type IptablesTool } from './tool.ts';

export async function cleanup(host: Host): Promise<void> {
  const faults: string[] = [];
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      faults.push(error instanceof Error ? error.message : String(error));
    }
  };
  for (const tool of await installedTools(host)) await attempt(() => removeRules(host, tool));
  await attempt(() => removeSets(host));
  if (faults.length > 0) {
    throw Object.assign(new Error(`not everything could be removed: ${faults.join('; ')}`), { code: 'KP_CLEANUP' });
  }
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
  const saved = parseSave(await tool.save());
  if (!holdsOurs(saved)) return;
  await tool.restore(restoreInput(removal(saved)));
  host.log.info('Removed rules', { command: tool.command });
}

async function removeSets(host: Host): Promise<void> {
  let names: readonly string[];
  try {
    names = host.netlink.ipset().names();
  } catch {
    return; // A kernel without IP sets holds none of ours.
  }
  for (const family of ['IPv4', 'IPv6'] as const) {
    for (const name of names) if (name.startsWith(affinitySetPrefix(family))) await destroyEventually(host, name);
  }
}
