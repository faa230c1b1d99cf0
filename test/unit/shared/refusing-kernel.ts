/** nf_tables as probes may find it: of a kernel that lacks something, or for a process that may not do it. */
import { NetlinkError } from '../../../core/netlink/errors.ts';
import { createFakeNftables, type FakeNftables } from '../../../core/netlink/nftables/fake.ts';
import type { Nftables, NftTransaction } from '../../../core/nftables.ts';

/** "ENOENT", "EPERM", …; undefined: it is not refused. `text`: the transaction's operations as JSON. */
export type Refuses = (text: string, family: NftTransaction['family']) => string | undefined;

export function refusal(errno: string): NetlinkError {
  return new NetlinkError({ code: 'KP_NETLINK_REFUSED', errno, text: 'refused' });
}

export function refusing<Kernel extends Nftables>(kernel: Kernel, refuses: Refuses): Kernel {
  return {
    ...kernel,
    commit(transaction: NftTransaction) {
      const operations = [...transaction.operations];
      const errno = refuses(JSON.stringify(operations), transaction.family);
      return errno === undefined ? kernel.commit({ ...transaction, operations }) : Promise.reject(refusal(errno));
    },
  };
}

export function refusingKernel(refuses: Refuses): FakeNftables {
  return refusing(createFakeNftables(), refuses);
}
