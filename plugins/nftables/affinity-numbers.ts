/**
 * Numbers for session affinity. What the kernel remembers of a client is a handle: an endpoint of one service port.
 * When the endpoint goes, so does the handle's address, and the client is balanced anew: nothing has to be swept.
 * Numbers just freed are used last, so that a remembered client does not meet another endpoint under its number.
 */
import type { Affinity, Slot } from './frontends.ts';
import { HANDLE_BITS, MAX_AFFINITY_HANDLES, MAX_AFFINITY_IDS } from './layout.ts';
import { slotKey } from './slots.ts';

export interface AffinityNumbers {
  /**
   * The numbers of a service port with these endpoints; those `known` stay. Undefined when all are taken: without
   * affinity then. Beyond 16,383 endpoints the rest has no handle. `isOwn`: `known` was assigned here; what was found
   * in the kernel counts only if nobody has it yet.
   */
  assign(known: Affinity | undefined, endpoints: Iterable<Slot>, isOwn: boolean): Affinity | undefined;
  release(affinity: Affinity): void;
  /** The next ids come after this one. */
  startAfter(id: number): void;
}

export function createAffinityNumbers(): AffinityNumbers {
  const taken = new Set<number>();
  let last = 0;

  function take(): number | undefined {
    if (taken.size >= MAX_AFFINITY_IDS) return undefined;
    do last = last >= MAX_AFFINITY_IDS ? 1 : last + 1;
    while (taken.has(last));
    return last * 2 ** HANDLE_BITS;
  }

  return {
    assign(known, endpoints, isOwn) {
      const before = known !== undefined && (isOwn || !taken.has(known.id / 2 ** HANDLE_BITS)) ? known : undefined;
      const id = before !== undefined ? before.id : take();
      if (id === undefined) return undefined;
      taken.add(id / 2 ** HANDLE_BITS);
      const had = before?.handles ?? new Map<string, number>();
      const handles = new Map<string, number>();
      const fresh = new Set<string>();
      for (const endpoint of endpoints) {
        const name = slotKey(endpoint);
        const handle = had.get(name);
        if (handle !== undefined) handles.set(name, handle);
        else fresh.add(name);
      }
      const used = new Set([...had.values(), ...handles.values()].map((handle) => handle - id));
      let next = before?.last ?? 0;
      for (const name of fresh) {
        if (used.size >= MAX_AFFINITY_HANDLES) break;
        do next = next >= MAX_AFFINITY_HANDLES ? 1 : next + 1;
        while (used.has(next));
        used.add(next);
        handles.set(name, id + next);
      }
      return same(had, handles) && before !== undefined ? before : { id, handles, last: next };
    },
    release({ id }) {
      taken.delete(id / 2 ** HANDLE_BITS);
    },
    startAfter(id) {
      last = id / 2 ** HANDLE_BITS;
    },
  };
}

function same(a: ReadonlyMap<string, number>, b: ReadonlyMap<string, number>): boolean {
  return a.size === b.size && [...a].every(([name, handle]) => b.get(name) === handle);
}
