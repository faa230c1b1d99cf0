/** Deletes a table of ours, whoever owns it now. */
import type { Host, NftFamily, NftOperation } from '../../../core/backend.ts';

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
  await nftables.commit({ family, table, operations: [{ do: 'delete table' }] });
  log.info('Removed a table', { table: `${family} ${table}` });
}
