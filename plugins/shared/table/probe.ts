/**
 * What this kernel can do, found by trying: every kind of rule and set that a table consists of is committed once, in
 * a table with no hooks that is deleted again. What is refused is tried again alone, to name it.
 */
import type { Host, IPFamily, NftFamily, NftOperation, NftSet, NftStatement } from '../../../core/backend.ts';

export interface Feature {
  /** What the kernel's configuration calls it. */
  readonly option: string;
  readonly sets?: readonly NftSet[];
  readonly statements: readonly NftStatement[];
}

export const OWNERSHIPS = ['auto', 'on', 'off'] as const;
export type Ownership = (typeof OWNERSHIPS)[number];

/**
 * What the kernel lacks, by option and reason; empty if nothing. Throws what has nothing to do with features. `table`:
 * a name that nothing else has.
 */
export async function missingFeatures(
  host: Pick<Host, 'netlink'>,
  family: IPFamily,
  table: string,
  features: readonly Feature[],
): Promise<readonly string[]> {
  const tryOut = trial(host, family === 'IPv4' ? 'ip' : 'ip6', table);
  if ((await tryOut(features)) === undefined) return [];
  const reasons: string[] = [];
  for (const feature of features) {
    const refusal = await tryOut([feature]);
    if (refusal !== undefined) reasons.push(`${feature.option} (${refusal})`);
  }
  return reasons;
}

/** Whether the tables are to be owned. */
export async function chooseOwnership(host: Pick<Host, 'netlink' | 'log'>, wanted: Ownership): Promise<boolean> {
  if (wanted === 'off') return false;
  if (await host.netlink.nftables().supportsOwnership()) return true;
  if (wanted === 'on') {
    const text = 'option ownership=on: this kernel has no tables that outlive their owner (Linux 6.9); use auto or off';
    throw Object.assign(new Error(text), { code: 'KP_BACKEND_OPTION' });
  }
  host.log.info(
    'This kernel has no tables that outlive their owner (Linux 6.9); changes by others are looked for instead',
  );
  return false;
}

function operationsFor(tried: readonly Feature[]): readonly NftOperation[] {
  return [
    { do: 'add table', owned: false },
    ...tried.flatMap(({ sets = [] }) => sets.map((set): NftOperation => ({ do: 'add set', set }))),
    ...tried.flatMap(({ statements }, index): readonly NftOperation[] => [
      // A masquerade or DNAT is taken only where a hook could lead to it, which none does.
      { do: 'add chain', chain: { name: `try-${index}` } },
      { do: 'add rule', chain: `try-${index}`, rule: { statements } },
    ]),
  ];
}

/** The function returned answers undefined if the kernel takes these. */
function trial({ netlink }: Pick<Host, 'netlink'>, family: NftFamily, table: string) {
  return async (tried: readonly Feature[]): Promise<string | undefined> => {
    const nftables = netlink.nftables();
    try {
      await nftables.commit({ family, table, operations: operationsFor(tried) });
    } catch (error) {
      if (hasCode(error, 'KP_NETLINK_LIBRARY')) throw error;
      if (isPermission(error)) throw Object.assign(error, { code: 'KP_BACKEND_FAILED' });
      return error instanceof Error ? error.message : String(error);
    }
    await nftables.commit({ family, table, operations: [{ do: 'delete table' }] });
    return undefined;
  };
}

function isPermission(error: unknown): error is Error {
  return error instanceof Error && 'errno' in error && error.errno === 'EPERM';
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
