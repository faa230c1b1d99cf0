/**
 * What the kernel's table holds, as text that can be compared: read at the start, after a failure and when someone
 * else may have changed it, never for a change.
 */
import type { Nftables, NftElement, NftFamily, NftSet, NftValue } from '../../core/backend.ts';
import type { Affinity, Slot } from './frontends.ts';
import { type Layout, SET_NAMES, type SetName } from './layout.ts';
import { dataText, type Seed } from './plan.ts';

/**
 * Set → key → data, both as text. Without `affinity`, which packets fill, and without sets that were not read because
 * filling them anew takes less time.
 */
export type Mirror = ReadonlyMap<SetName, Map<string, string>>;

/**
 * The kernel begins each portion of a listing at the set's first element, so that the time grows with the square:
 * 110,000 elements take 0.23 s, 1,100,000 take 38 s. Filling that many takes 2 s.
 */
export const MOST_LISTED = 250_000;

const MOST_TRIES = 20;
const RETRY_MS = 25;

/** `expected`: about how many elements each set has. */
export async function readMirror(
  nftables: Nftables,
  layout: Layout,
  table: string,
  expected: ReadonlyMap<SetName, number>,
): Promise<Mirror> {
  const mirror = new Map<SetName, Map<string, string>>();
  for (const name of SET_NAMES) {
    if (name === 'affinity' || (expected.get(name) ?? 0) > MOST_LISTED) continue;
    const elements = await readSet(nftables, layout.table, table, layout.sets[name]);
    mirror.set(name, elements);
  }
  return mirror;
}

/**
 * While a set that was just filled is being rearranged, a listing repeats some elements and lacks as many others. It
 * always has as many as there are, so that one without repetitions is whole.
 */
async function readSet(
  nftables: Nftables,
  family: NftFamily,
  table: string,
  set: NftSet,
): Promise<Map<string, string>> {
  for (let tries = 1; ; tries++) {
    const elements = new Map<string, string>();
    let listed = 0;
    await nftables.elements(family, table, set, (element) => {
      listed++;
      elements.set(keyText(element), dataText(element));
    });
    if (elements.size === listed) return elements;
    if (tries === MOST_TRIES) throw new Error(`set ${set.name} of table ${family} ${table} changes while it is listed`);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

export function keyText({ key, keyEnd }: NftElement): string {
  return keyEnd === undefined ? key.join(' ') : `${key.join(' ')}-${keyEnd.join(' ')}`;
}

/** The element of such a key, without its data: enough to delete it. */
export function elementOfKey(set: NftSet, text: string): NftElement {
  const [key = '', keyEnd] = text.split('-');
  const values = (part: string): NftValue[] =>
    part.split(' ').map((value, index) => {
      const type = set.key[index];
      return type === 'mark' || type === 'inet_service' ? Number(value) : value;
    });
  return keyEnd === undefined ? { key: values(key) } : { key: values(key), keyEnd: values(keyEnd) };
}

export function seedOf(mirror: Mirror): Seed {
  const slots = (sets: readonly SetName[], frontend: string): readonly Slot[] => {
    const found: Slot[] = [];
    for (const set of sets) {
      for (;;) {
        const text = mirror.get(set)?.get(`${frontend} ${found.length}`);
        if (text === undefined) break;
        const [ip = '', port] = text.split(' ');
        found.push({ ip, port: Number(port) });
      }
      if (found.length > 0) break;
    }
    return found;
  };
  const handles = new Map<number, Map<string, number>>();
  let highestAffinityId = 0;
  for (const [key, handle] of mirror.get('affinity-handles') ?? []) {
    const [id = '', ip, port] = key.split(' ');
    const own = handles.get(Number(id)) ?? new Map<string, number>();
    handles.set(Number(id), own.set(`${ip} ${port}`, Number(handle)));
  }
  for (const id of mirror.get('affinity-timeouts')?.keys() ?? []) {
    highestAffinityId = Math.max(highestAffinityId, Number(id));
  }
  return {
    endpoints: (frontend) => slots(['endpoints', 'nodeport-endpoints'], frontend),
    localEndpoints: (frontend) => slots(['local-endpoints', 'local-nodeport-endpoints'], frontend),
    affinity(frontend): Affinity | undefined {
      const id = mirror.get('affinity-services')?.get(frontend) ?? mirror.get('affinity-nodeports')?.get(frontend);
      if (id === undefined) return undefined;
      const own = handles.get(Number(id)) ?? new Map<string, number>();
      let last = 0;
      for (const handle of own.values()) last = Math.max(last, handle - Number(id));
      return { id: Number(id), handles: own, last };
    },
    highestAffinityId,
  };
}
