/** Deletes a table of ours, whoever owns it now. */
import type { Host, Nftables, NftFamily, NftOperation } from '../../../core/backend.ts';

/** Does nothing if there is none. */
export async function removeTable(
  { netlink, log }: Pick<Host, 'netlink' | 'log'>,
  family: NftFamily,
  table: string,
): Promise<void> {
  const nftables = netlink.nftables();
  const ours = (await nftables.tables(family)).find(({ name }) => name === table);
  if (ours === undefined) return;
  // Only its owner can delete a table, and one that nobody owns now can be taken over.
  const claim: readonly NftOperation[] = ours.owned ? [{ do: 'add table', owned: true }] : [];
  if (claim.length > 0) await nftables.commit({ family, table, operations: claim });
  await deleteTable(nftables, family, table);
  log.info('Removed a table', { table: `${family} ${table}` });
}

/**
 * What the kernel calls goes first: while a table goes as a whole its verdict maps are empty for a moment, and packets of
 * new connections that are still in its chains would meet what comes after them.
 */
export async function deleteTable(nftables: Nftables, family: NftFamily, table: string): Promise<void> {
  const chains = (await nftables.read(family, table))?.chains ?? [];
  const unhook = chains.flatMap(({ name, hook }): readonly NftOperation[] =>
    hook === undefined
      ? []
      : [
          { do: 'flush chain', chain: name },
          { do: 'delete chain', chain: name },
        ],
  );
  if (unhook.length > 0) await nftables.commit({ family, table, operations: unhook });
  await nftables.commit({ family, table, operations: [{ do: 'delete table' }] });
}
