/**
 * nf_tables of this network namespace, as plugins see it, over up to three sockets:
 *
 *   commits    one kept open, because it owns the tables        commit-socket.ts
 *   listings   one kept open                                    here
 *   elements   one for each listing of a set                    dump-elements.ts
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Nftables, NftFamily, NftTableContent, NftTableInfo } from '../../nftables.ts';
import { attributesByType, attributeU32BE } from '../attributes.ts';
import { malformed, NetlinkError } from '../errors.ts';
import { NFPROTO_UNSPEC, nfnetlinkAttributes, writeNfgenmsg } from '../nfnetlink.ts';
import { type Call, openConversation } from '../request.ts';
import { NETLINK_NETFILTER, openNetlink } from '../socket.ts';
import type { Transport } from '../transport.ts';
import type { MessageWriter } from '../writer.ts';
import { familyNumber } from './batch.ts';
import { createCommitSocket } from './commit-socket.ts';
import { dumpElements } from './dump-elements.ts';
import { ruleFingerprint } from './fingerprint.ts';
import { parseChain, parseRule, parseTable } from './listing.ts';
import * as nft from './protocol.ts';
import { listingRefusal } from './refusals.ts';
import { parseSet, setFingerprint } from './sets.ts';

export interface OpenNftables extends Nftables {
  /** Ends ownership of tables; those remain. A commit under way is finished first. */
  close(): void;
}

const MOST_TRIES = 50;
/** Milliseconds before a listing is tried again, times the number of tries so far. */
const RETRY_MS = 2;

/** `open` is called once for every socket, and again after a fault that leaves one unusable. */
export function openNftables(open: () => Transport = () => openNetlink({ protocol: NETLINK_NETFILTER })): OpenNftables {
  const listings = openConversation(open);
  const commits = createCommitSocket(open);
  let ownership: Promise<boolean> | undefined;

  function call(
    what: string,
    object: string,
    command: number,
    family: number,
    write?: (writer: MessageWriter) => void,
  ): Call {
    return {
      operation: `nftables ${what}`,
      object,
      type: nft.message(command),
      meaning: listingRefusal,
      write(writer) {
        writeNfgenmsg(writer, family);
        write?.(writer);
      },
    };
  }

  function generation(): number {
    let id: number | undefined;
    listings.request(call('generation', '', nft.NFT_MSG_GETGEN, NFPROTO_UNSPEC), (reply) => {
      const data = attributesByType(nfnetlinkAttributes(reply)).get(nft.NFTA_GEN_ID);
      id = data && attributeU32BE(data);
    });
    if (id === undefined) throw malformed('no generation of nf_tables');
    return id;
  }

  /** Repeats `list` until nothing was committed meanwhile; it returns whether the kernel interrupted it. */
  async function consistent<T>(
    what: string,
    object: string,
    list: () => { interrupted: boolean; result: T },
  ): Promise<T> {
    for (let tries = 1; tries <= MOST_TRIES; tries++) {
      const before = generation();
      const { interrupted, result } = list();
      if (!interrupted && generation() === before) return result;
      await sleep(RETRY_MS * tries);
    }
    throw new NetlinkError({
      code: 'KP_NETLINK_TIMEOUT',
      operation: `nftables ${what}`,
      object,
      text: `nf_tables changed during each of ${MOST_TRIES} listings`,
      remedy: 'find out which program commits to nf_tables all the time: `nft monitor`',
    });
  }

  function findTable(family: NftFamily, table: string): NftTableInfo | undefined {
    let found: NftTableInfo | undefined;
    try {
      const name = (writer: MessageWriter) => writer.text(nft.NFTA_TABLE_NAME, table);
      listings.request(call('list table', table, nft.NFT_MSG_GETTABLE, familyNumber(family), name), (reply) => {
        found = parseTable(family, nfnetlinkAttributes(reply));
      });
    } catch (error) {
      if (error instanceof NetlinkError && error.errno === 'ENOENT') return undefined;
      throw error;
    }
    return found;
  }

  function readOnce(family: NftFamily, table: string): { interrupted: boolean; result: NftTableContent | undefined } {
    const info = findTable(family, table);
    if (info === undefined) return { interrupted: false, result: undefined };
    const number = familyNumber(family);
    const chains = new Map<
      string,
      { name: string; rules: string[] } & Pick<NftTableContent['chains'][number], 'hook'>
    >();
    const sets: { name: string; fingerprint: string }[] = [];
    const dumps = [
      listings.dump(call('list chains', table, nft.NFT_MSG_GETCHAIN, number), (object) => {
        const { table: its, ...chain } = parseChain(nfnetlinkAttributes(object));
        if (its === table) chains.set(chain.name, { ...chain, rules: [] });
      }),
      listings.dump(
        call('list rules', table, nft.NFT_MSG_GETRULE, number, (writer) => writer.text(nft.NFTA_RULE_TABLE, table)),
        (object) => {
          const rule = parseRule(nfnetlinkAttributes(object), table);
          if (rule !== undefined) chains.get(rule.chain)?.rules.push(rule.fingerprint);
        },
      ),
      listings.dump(
        call('list sets', table, nft.NFT_MSG_GETSET, number, (writer) => writer.text(nft.NFTA_SET_TABLE, table)),
        (object) => {
          const set = parseSet(nfnetlinkAttributes(object));
          if (set?.table === table) sets.push({ name: set.name, fingerprint: set.fingerprint });
        },
      ),
    ];
    const interrupted = dumps.some((dump) => dump.interrupted);
    return { interrupted, result: { ...info, chains: [...chains.values()], sets } };
  }

  /** By trying, with a table of a name that nobody else uses. */
  async function tryOwnership(): Promise<boolean> {
    const probe = { family: 'ip', table: `kube-proxy-probes-ownership-${process.pid}` } as const;
    try {
      await commits.commit({ ...probe, operations: [{ do: 'add table', owned: true }] });
    } catch (error) {
      if (error instanceof NetlinkError && ['EOPNOTSUPP', 'EINVAL'].includes(error.errno)) return false;
      throw error;
    }
    await commits.commit({ ...probe, operations: [{ do: 'delete table' }] });
    return true;
  }

  return {
    commit: (transaction) => commits.commit(transaction),
    supportsOwnership() {
      ownership ??= tryOwnership().catch((error: unknown) => {
        ownership = undefined;
        throw error;
      });
      return ownership;
    },
    tables: async (family) =>
      consistent('list tables', family, () => {
        const result: NftTableInfo[] = [];
        const { interrupted } = listings.dump(
          call('list tables', family, nft.NFT_MSG_GETTABLE, familyNumber(family)),
          (object) => {
            result.push(parseTable(family, nfnetlinkAttributes(object)));
          },
        );
        return { interrupted, result };
      }),
    read: async (family, table) => consistent('list table', `${family} ${table}`, () => readOnce(family, table)),
    elements: (family, table, set, each) => dumpElements(open, family, table, set, each),
    fingerprint: ruleFingerprint,
    setFingerprint: (_, set) => setFingerprint(set),
    close() {
      commits.close();
      listings.close();
    },
  };
}
