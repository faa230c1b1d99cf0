/** Tables, chains and rules out of the messages that list them. */
import type { NftFamily, NftHook, NftTableInfo } from '../../nftables.ts';
import { attributesByType, attributeText, attributeU32BE } from '../attributes.ts';
import { malformed } from '../errors.ts';
import { listedRuleFingerprint } from './fingerprint.ts';
import * as nft from './protocol.ts';
import { userdataComment } from './userdata.ts';

type Attributes = ReadonlyMap<number, Uint8Array>;

export function parseTable(family: NftFamily, bytes: Uint8Array): NftTableInfo {
  const attributes = attributesByType(bytes);
  const userdata = attributes.get(nft.NFTA_TABLE_USERDATA);
  const flags = u32(attributes, nft.NFTA_TABLE_FLAGS);
  return {
    family,
    name: text(attributes, nft.NFTA_TABLE_NAME),
    // The kernel takes the owner flag away when the owner ends, and leaves the one that kept the table.
    owned: (flags & (nft.NFT_TABLE_F_OWNER | nft.NFT_TABLE_F_PERSIST)) !== 0,
    owner: u32(attributes, nft.NFTA_TABLE_OWNER),
    comment: userdata === undefined ? '' : userdataComment(nft.UDATA_TABLE_COMMENT, userdata),
    ...((flags & nft.NFT_TABLE_F_DORMANT) !== 0 && { dormant: true }),
  };
}

export interface ListedChain {
  readonly table: string;
  readonly name: string;
  readonly hook?: NftHook;
  readonly policy?: 'drop';
}

export function parseChain(bytes: Uint8Array): ListedChain {
  const attributes = attributesByType(bytes);
  const table = text(attributes, nft.NFTA_CHAIN_TABLE);
  const name = text(attributes, nft.NFTA_CHAIN_NAME);
  const nested = attributes.get(nft.NFTA_CHAIN_HOOK);
  if (nested === undefined) return { table, name };
  const hook = attributesByType(nested);
  return {
    table,
    name,
    // Of a kind that our types do not name (route, ingress) it is another program's, and unlike any of ours.
    hook: {
      type: text(attributes, nft.NFTA_CHAIN_TYPE) as NftHook['type'],
      hook: nft.HOOKS[u32(hook, nft.NFTA_HOOK_HOOKNUM)] ?? ('unknown' as NftHook['hook']),
      priority: u32(hook, nft.NFTA_HOOK_PRIORITY) | 0,
    },
    ...(u32(attributes, nft.NFTA_CHAIN_POLICY) !== nft.NF_ACCEPT && { policy: 'drop' }),
  };
}

export interface ListedRule {
  readonly table: string;
  readonly chain: string;
  readonly fingerprint: string;
}

/** `table`: rules of others are not looked into; undefined for those. */
export function parseRule(bytes: Uint8Array, table: string): ListedRule | undefined {
  const attributes = attributesByType(bytes);
  if (text(attributes, nft.NFTA_RULE_TABLE) !== table) return undefined;
  return { table, chain: text(attributes, nft.NFTA_RULE_CHAIN), fingerprint: listedRuleFingerprint(attributes) };
}

function text(attributes: Attributes, type: number): string {
  const data = attributes.get(type);
  if (data === undefined) throw malformed(`attribute ${type} is missing`);
  return attributeText(data);
}

function u32(attributes: Attributes, type: number): number {
  const data = attributes.get(type);
  return data === undefined ? 0 : attributeU32BE(data);
}
