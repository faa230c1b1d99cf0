/**
 * What a table says, apart from what is free: the order of a frontend's endpoints, and the numbers of session affinity.
 * Two tables with the same meaning treat every packet alike. Throws where a table contradicts itself.
 */
import { createHash } from 'node:crypto';
import type { NftElement, NftTable } from '../../../core/backend.ts';
import {
  AFFINITY_ID_MASK,
  COUNT_MASK,
  DISPATCH,
  GUARDED,
  LOCAL,
  layoutOf,
  POLICY_LOCAL,
  SET_NAMES,
  type SetName,
} from '../../../plugins/nftables/layout.ts';

const { verdictMaps: VERDICT_MAPS } = layoutOf('IPv4');

export type Rows = ReadonlyMap<string, string>;

export interface Meaning {
  /** Rows of each set; of the verdict maps none. */
  readonly sets: Readonly<Record<string, readonly string[]>>;
  /** "map number > chain" of the verdict maps. */
  readonly verdicts: readonly string[];
  /** Chains by name, as text. */
  readonly chains: ReadonlyMap<string, string>;
}

const LISTS: readonly SetName[] = ['endpoints', 'local-endpoints', 'nodeport-endpoints', 'local-nodeport-endpoints'];
const BY_ID: readonly SetName[] = ['affinity-services', 'affinity-nodeports', 'affinity-timeouts', 'affinity-handles'];
const BY_HANDLE: readonly SetName[] = ['affinity-endpoints', 'local-affinity-endpoints'];

export function elementsOf(table: NftTable, name: SetName): NftElement[] {
  return [...(table.sets.find((set) => set.name === name)?.elements ?? [])];
}

function dataText({ data, comment }: NftElement): string {
  const text =
    data === undefined ? '' : 'verdict' in data ? ('chain' in data ? data.chain : data.verdict) : data.join(' ');
  return comment === undefined ? text : `${text} # ${comment}`;
}

/** Key → data, both as text; a range's key has both ends. */
export function rowsOf(table: NftTable, name: SetName): Rows {
  const rows = new Map<string, string>();
  for (const element of elementsOf(table, name)) {
    const end = element.keyEnd === undefined ? '' : `-${element.keyEnd.join(' ')}`;
    const key = element.key.join(' ') + end;
    if (rows.has(key)) throw new Error(`${name} has two elements ${key}`);
    rows.set(key, dataText(element));
  }
  return rows;
}

/** Endpoints by frontend, in index order; throws unless the indexes are 0 … count-1. */
export function listsOf(table: NftTable, name: SetName): ReadonlyMap<string, readonly string[]> {
  const lists = new Map<string, string[]>();
  for (const element of elementsOf(table, name)) {
    const frontend = element.key.slice(0, -1).join(' ');
    const list = lists.get(frontend) ?? [];
    list[Number(element.key.at(-1))] = dataText(element);
    lists.set(frontend, list);
  }
  for (const [frontend, list] of lists) {
    if (Object.keys(list).length !== list.length) throw new Error(`${name} of ${frontend} has holes: ${list.join()}`);
    if (new Set(list).size !== list.length) throw new Error(`${name} of ${frontend} repeats: ${list.join()}`);
  }
  return lists;
}

/** Throws unless every class that a packet can get has its chain and exactly its endpoints. */
export function checkClasses(table: NftTable): void {
  const chains = new Set(table.chains.map(({ name }) => name));
  for (const [classes, dispatch] of DISPATCH) {
    const verdicts = rowsOf(table, dispatch);
    const nodePorts = classes.includes('nodeports');
    const counts = {
      cluster: listsOf(table, nodePorts ? 'nodeport-endpoints' : 'endpoints'),
      local: listsOf(table, nodePorts ? 'local-nodeport-endpoints' : 'local-endpoints'),
    };
    for (const { key, data } of elementsOf(table, classes)) {
      const where = `${classes} ${key.join(' ')}`;
      const klass = Array.isArray(data) ? Number(data[0]) : Number.NaN;
      const chain = verdicts.get(String(klass));
      if (chain === undefined || !chains.has(chain)) throw new Error(`${where}: class ${klass} leads nowhere`);
      if (klass >= GUARDED) continue;
      const list = counts[klass & LOCAL ? 'local' : 'cluster'].get(key.join(' ')) ?? [];
      const wanted = klass & COUNT_MASK;
      if (list.length !== wanted) throw new Error(`${where}: ${list.length} endpoints in a class of ${wanted}`);
      if (wanted === 0 && !(klass & POLICY_LOCAL)) throw new Error(`${where}: a class of no endpoints`);
    }
  }
}

/** Ids of session affinity by a name that does not depend on numbers; throws if two handles or ids are mixed up. */
function affinityNames(table: NftTable): { id: (id: number) => string; handle: (handle: number) => string } {
  const parts = new Map<number, string[]>();
  const handles = new Map<number, string>();
  const note = (id: number, part: string) => parts.set(id, [...(parts.get(id) ?? []), part]);
  for (const name of ['affinity-services', 'affinity-nodeports'] as const) {
    for (const [key, id] of rowsOf(table, name)) note(Number(id), key);
  }
  for (const [key, handleText] of rowsOf(table, 'affinity-handles')) {
    const [idText, ip, port] = key.split(' ');
    const [id, handle] = [Number(idText), Number(handleText)];
    note(id, `${ip} ${port}`);
    if ((handle & AFFINITY_ID_MASK) >>> 0 !== id || handle === id) throw new Error(`handle ${handle} is not of ${id}`);
    if (handles.has(handle)) throw new Error(`two endpoints have the handle ${handle}`);
    handles.set(handle, `${ip} ${port}`);
  }
  const timeouts = rowsOf(table, 'affinity-timeouts');
  for (const [id, seconds] of timeouts) note(Number(id), seconds);
  for (const id of parts.keys()) if (!timeouts.has(String(id))) throw new Error(`id ${id} has no timeout`);
  const known = new Map([...parts].map(([number, list]) => [number, nameOf(list.sort())] as const));
  const id = (number: number): string => `<${known.get(number) ?? 'unknown'}>`;
  return {
    id,
    handle: (number) => `${id((number & AFFINITY_ID_MASK) >>> 0)} ${handles.get(number) ?? 'unknown'}`,
  };
}

/** The list itself where it is short enough to be read. */
function nameOf(parts: readonly string[]): string {
  const text = parts.join(', ');
  return text.length < 400 ? text : createHash('sha256').update(text).digest('hex');
}

export function meaningOf(table: NftTable): Meaning {
  checkClasses(table);
  const names = affinityNames(table);
  const sets: Record<string, string[]> = {};
  const verdicts: string[] = [];
  for (const set of SET_NAMES) {
    // What packets wrote is not part of what was meant.
    if (set === 'affinity') continue;
    const rows: string[] = [];
    if (LISTS.includes(set)) {
      for (const [frontend, list] of listsOf(table, set)) rows.push(`${frontend} > ${[...list].sort().join(', ')}`);
    } else {
      for (const [key, data] of rowsOf(table, set)) {
        const [first = '', ...rest] = key.split(' ');
        if (VERDICT_MAPS.includes(set)) verdicts.push(`${set} ${key} > ${data}`);
        else if (set === 'affinity-services' || set === 'affinity-nodeports')
          rows.push(`${key} > ${names.id(Number(data))}`);
        else if (set === 'affinity-handles')
          rows.push([names.id(Number(first)), ...rest, names.handle(Number(data))].join(' '));
        else if (BY_ID.includes(set)) rows.push(`${names.id(Number(first))} > ${data}`);
        else if (BY_HANDLE.includes(set)) {
          if (names.handle(Number(first)).endsWith('unknown')) throw new Error(`${set} has an unknown handle ${first}`);
          rows.push(`${names.handle(Number(first))} > ${data}`);
        } else rows.push(`${key} > ${data}`);
      }
    }
    sets[set] = rows.sort();
  }
  const chains = new Map(table.chains.map(({ name, ...rest }) => [name, JSON.stringify(rest)] as const));
  return { sets, verdicts: verdicts.sort(), chains };
}
