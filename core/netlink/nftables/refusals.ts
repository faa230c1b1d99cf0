/** What an error number of nf_tables means, by what it was asked to do: the kernel uses few numbers for many things. */
import type { NftOperation, NftRule } from '../../nftables.ts';
import { type ErrnoMeaning, errnoMeaning } from '../errors.ts';

const NO_NF_TABLES = 'load the module nf_tables or use a kernel with CONFIG_NF_TABLES';

/** Of a request that lists something. */
export function listingRefusal(errno: number): ErrnoMeaning | undefined {
  const { name, text } = errnoMeaning(errno);
  // What nfnetlink says about a subsystem that is not there.
  if (name === 'EINVAL' || name === 'EOPNOTSUPP') return { name, text: text, remedy: NO_NF_TABLES };
  if (name === 'ENOENT') return { name, text: 'it does not exist', remedy: '' };
  return undefined;
}

/** Of a step of a transaction; undefined: of the batch as a whole, or of no known one. */
export function commitRefusal(errno: number, step: NftOperation | undefined): ErrnoMeaning {
  const plain = errnoMeaning(errno);
  const meant = (text: string, remedy = ''): ErrnoMeaning => ({ name: plain.name, text, remedy });
  if (step === undefined) {
    return plain.name === 'EOPNOTSUPP' ? meant('this kernel has no nf_tables', NO_NF_TABLES) : plain;
  }
  const isElement = step.do === 'add elements' || step.do === 'delete elements';
  switch (plain.name) {
    case 'EPERM':
      return meant(
        'another process owns the table, or we lack CAP_NET_ADMIN',
        'stop the owner; `nft list tables` names it, and its tables are free once it has ended',
      );
    case 'EEXIST':
      if (isElement) return meant('the key exists with other data, or a range overlaps it', 'delete it first');
      return meant('an object of that name and another kind exists', 'delete it first');
    case 'ENOENT':
      if (step.do === 'add rule') {
        return meant(
          'the chain, a set or a chain that the rule names does not exist, or the kernel lacks one of its expressions',
          optionsOf(step.rule),
        );
      }
      return meant('it does not exist, or something that it names does not');
    case 'EBUSY':
      return meant('a rule or an element still refers to it', 'delete what refers to it first');
    case 'EMLINK':
      return meant('the jumps would make a loop, or go more than 16 chains deep');
    case 'ENFILE':
    case 'ENOSPC':
      return meant('the set is full', 'declare it with a larger size');
    case 'EOPNOTSUPP':
      if (step.do === 'add table') {
        return meant(
          'the kernel knows no owned tables that persist (before 6.9), or the table exists without ever having been owned',
          step.owned ? 'ask supportsOwnership; delete the table in the same transaction before adding it' : '',
        );
      }
      if (step.do === 'add rule') return meant('the hook or kernel cannot do this', optionsOf(step.rule));
      return meant('this kernel cannot do that');
    case 'EAFNOSUPPORT':
      return meant('this kernel lacks the family', 'use a kernel with CONFIG_NF_TABLES_IPV4 and CONFIG_NF_TABLES_IPV6');
    default:
      return plain;
  }
}

/** The kernel options without which a rule's expressions do not exist. */
function optionsOf({ statements }: NftRule): string {
  const options = new Set<string>();
  for (const statement of statements) {
    if ('fib' in statement) options.add('CONFIG_NFT_FIB_IPV4 and CONFIG_NFT_FIB_IPV6');
    if ('reject' in statement) options.add('CONFIG_NFT_REJECT (modules nft_reject_ipv4, nft_reject_ipv6)');
    if ('masquerade' in statement) options.add('CONFIG_NFT_MASQ');
    if ('dnat' in statement) options.add('CONFIG_NFT_NAT');
    if (JSON.stringify(statement).includes('"random"')) options.add('CONFIG_NFT_NUMGEN');
    if (/"(ctState|ctStatus)"|"ct original/.test(JSON.stringify(statement))) options.add('CONFIG_NFT_CT');
  }
  return options.size === 0 ? '' : `this rule needs ${[...options].join(', ')}`;
}
