/**
 * What the kernel holds now: iptables-save, and where that cannot read a table, the chains of it that can be asked
 * for one by one.
 *
 *   iptables-save ──▶ "# Table `nat' is incompatible"? ──no──▶ parsed
 *                                    └──yes──▶ iptables -S CHAIN for each entrance, and what they lead to
 *
 * A rule that nft made in a table of iptables (as Tailscale does) hides the whole table from iptables-nft-save, while
 * single chains without such a rule can still be read, and rules be written.
 */
import { HOOKS, LOCALNET_HOOKS } from './base-chains.ts';
import { FIXED_CHAINS, isOwnChain, type Table, UPSTREAM_IPVS_CHAINS } from './names.ts';
import { parseSave, type SavedTables, unreadableTables } from './restore-text.ts';
import type { IptablesTool } from './tool.ts';

export interface KernelState {
  readonly saved: SavedTables;
  /** Tables that were read chain by chain: chains of ours that no chain read leads to are missing from `saved`. */
  readonly partly: readonly Table[];
}

/**
 * `reach`, for unreadable tables only: 'entrances' reads the chains with fixed names, enough to write everything anew;
 * 'everything' follows the jumps to every chain of ours, one program run for each.
 */
export async function readKernel(tool: IptablesTool, reach: 'entrances' | 'everything'): Promise<KernelState> {
  const text = await tool.save();
  const saved: Record<Table, ReadonlyMap<string, string>> = { ...parseSave(text) };
  const partly = unreadableTables(text);
  for (const table of partly) saved[table] = await readChains(tool, table, reach);
  return { saved, partly };
}

async function readChains(
  tool: IptablesTool,
  table: Table,
  reach: 'entrances' | 'everything',
): Promise<Map<string, string>> {
  const builtIn = new Set(HOOKS.filter((hook) => hook.table === table).map((hook) => hook.chain));
  const shared = LOCALNET_HOOKS.filter((hook) => hook.table === table).map((hook) => hook.chain);
  const chains = new Map<string, string>();
  // Upstream's need not be led to; each look at them would cost a program run.
  const upstream = reach === 'everything' ? UPSTREAM_IPVS_CHAINS[table] : [];
  const queue = new Set<string>([...builtIn, ...shared, ...FIXED_CHAINS[table], ...upstream]);
  for (const chain of queue) {
    const listed = await tool.list(table, chain);
    if (listed === 'unknown' || (listed === undefined && builtIn.has(chain))) {
      const cause = `chain ${chain} of the ${table} table cannot be read, for a rule in it that iptables has no words for`;
      const remedy = 'move that rule (see it with nft list ruleset) to a table of its own, or choose another --backend';
      throw Object.assign(new Error(`${tool.command}: ${cause}; ${remedy}`), { code: 'KP_IPTABLES' });
    }
    if (listed === undefined) continue;
    const rules = listed.map((line) => line.slice(`-A ${chain} `.length));
    chains.set(chain, rules.join('\n'));
    if (reach === 'entrances') continue;
    for (const rule of rules) {
      const target = / -j (\S+)$/.exec(` ${rule}`)?.[1] ?? '';
      if (isOwnChain(table, target)) queue.add(target);
    }
  }
  return chains;
}
