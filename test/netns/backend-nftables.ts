/** The nftables backend as a data plane under test, and its tables as nft(8) lists them. */
import { release } from 'node:os';
import type { IPFamily } from '../../core/backend.ts';
import { choice, type DataPlane } from './backend-scene.ts';
import type { World } from './world.ts';

export const TABLE = 'kube-services';
export const NFT_FAMILY: Readonly<Record<IPFamily, 'ip' | 'ip6'>> = { IPv4: 'ip', IPv6: 'ip6' };

/** `options`: as in --backend-option. */
export function nftablesPlane(...options: readonly string[]): DataPlane {
  return {
    title: ['nftables', ...options].join(' '),
    ...choice('nftables', options),
    rules: listTable,
  };
}

/** Why this kernel cannot keep a table for its owner beyond the owner's end; "" if it can. */
export function ownershipProblem(): string {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  return major > 6 || (major === 6 && minor >= 9) ? '' : `kernel ${release()} has no NFT_TABLE_F_PERSIST (6.9)`;
}

type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };
type JsonObject = { readonly [name: string]: Json };

const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The objects of a table by their kinds: ["chain", {…}], ["rule", {…}], …; none if there is no such table. */
export async function tableObjects(
  world: World,
  family: IPFamily = 'IPv4',
  table = TABLE,
): Promise<readonly (readonly [kind: string, object: JsonObject])[]> {
  const { stdout } = await world.exec('node', 'nft', ['-j', 'list', 'ruleset', NFT_FAMILY[family]]);
  const { nftables } = JSON.parse(stdout) as { nftables: readonly JsonObject[] };
  return nftables.flatMap((entry) =>
    Object.entries(entry).flatMap(([kind, object]) =>
      isObject(object) && (object.table === table || (kind === 'table' && object.name === table))
        ? [[kind, object] as const]
        : [],
    ),
  );
}

/**
 * One line for each object, set element and rule, elements sorted. Left out: handles and counters, and elements that
 * expire, which packets make.
 */
export async function listTable(world: World, family: IPFamily = 'IPv4', table = TABLE): Promise<string> {
  const lines: string[] = [];
  for (const [kind, { handle: _, elem, expr, ...rest }] of await tableObjects(world, family, table)) {
    const rules = Array.isArray(expr) ? (expr as readonly Json[]).filter((one) => !(isObject(one) && one.counter)) : [];
    lines.push(`${kind} ${JSON.stringify(rest)} ${JSON.stringify(rules)}`);
    const elements = Array.isArray(elem) ? (elem as readonly Json[]) : [];
    const kept = elements.map((element) => JSON.stringify(element)).filter((text) => !text.includes('"expires":'));
    lines.push(...kept.sort().map((text) => `  ${NFT_FAMILY[family]} ${String(rest.name)} ${text}`));
  }
  return lines.join('\n');
}

/** A set or map of the table that has elements which do not expire, and the first of them as nft takes it. */
export interface FoundElement {
  readonly kind: 'set' | 'map';
  readonly set: string;
  /** With its data, if it is a map: "10.96.0.10 . tcp . 80 : 0x3". */
  readonly text: string;
  readonly key: string;
}

export async function someElements(world: World, family: IPFamily = 'IPv4'): Promise<readonly FoundElement[]> {
  const { stdout } = await world.exec('node', 'nft', ['list', 'table', NFT_FAMILY[family], TABLE]);
  return [...stdout.matchAll(/\b(set|map) (\S+) \{[^{}]*?elements = \{ ([^{}]*?) \}/g)].flatMap(
    ([, kind, set, elements]) => {
      const text = elements!.split(/,\s+/)[0]!.replace(/ comment "[^"]*"/, '');
      const key = text.split(' : ')[0]!;
      return text.includes('expires') ? [] : [{ kind: kind as 'set' | 'map', set: set!, text, key }];
    },
  );
}

/** Chains of the table in the order of the listing; those that the kernel calls first. */
export async function chainNames(world: World, family: IPFamily = 'IPv4'): Promise<readonly string[]> {
  const chains = (await tableObjects(world, family)).filter(([kind]) => kind === 'chain').map(([, chain]) => chain);
  const hooked = chains.filter((chain) => chain.hook !== undefined);
  return [...hooked, ...chains.filter((chain) => chain.hook === undefined)].map((chain) => String(chain.name));
}

/** Handle of the table: it stays as long as the table does. */
export async function tableHandle(world: World, family: IPFamily = 'IPv4'): Promise<Json | undefined> {
  return (await tableObjects(world, family)).find(([kind]) => kind === 'table')?.[1].handle;
}

/** Names of all tables, as "ip name". */
export async function tableNames(world: World): Promise<readonly string[]> {
  const { stdout } = await world.exec('node', 'nft', ['list', 'tables']);
  return stdout
    .split('\n')
    .filter((line) => line.startsWith('table '))
    .map((line) => line.slice('table '.length));
}
