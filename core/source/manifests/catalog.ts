/**
 * Which file's version of an object counts, when files come, change and go. Pure: knows names and objects, no disk.
 *
 *   a.yaml  Service default/web ──┐
 *   b.yaml  Service default/web ──┴─▶ a.yaml wins (byte order of the names); should it go, b.yaml's takes over
 *
 * Files that changed together are applied together, so that an object which moves from one file to another never
 * disappears. Costs what the changed files hold, not what all of them hold.
 */
import type { ManifestObject } from './parse-manifest.ts';

/** The object that counts from now on, or that none is left under this identity. */
export type CatalogChange =
  | { readonly type: 'put'; readonly object: ManifestObject }
  | { readonly type: 'gone'; readonly object: ManifestObject };

export interface Duplicate {
  readonly id: string;
  /** The file whose version counts, and one whose does not. */
  readonly usedFile: string;
  readonly ignoredFile: string;
}

export interface CatalogDelta {
  readonly changes: readonly CatalogChange[];
  /** Only those that were not duplicates of each other before. */
  readonly duplicates: readonly Duplicate[];
}

export interface Catalog {
  /** File name → its objects by id; undefined: the file is gone. */
  replace(files: ReadonlyMap<string, ReadonlyMap<string, ManifestObject> | undefined>): CatalogDelta;
}

/** An object that a changed file held or holds. */
interface Touched {
  /** The files that held it before, and the version that counted. */
  readonly files: readonly string[];
  readonly object: ManifestObject | undefined;
  /** The files that may hold it now. */
  readonly candidates: Set<string>;
}

export function createCatalog(): Catalog {
  const files = new Map<string, ReadonlyMap<string, ManifestObject>>();
  /** id → the files that hold it, in byte order. */
  const holders = new Map<string, readonly string[]>();

  return {
    replace(changed) {
      const touched = new Map<string, Touched>();
      for (const [file, objects] of changed) {
        for (const id of [...(files.get(file)?.keys() ?? []), ...(objects?.keys() ?? [])]) {
          const seen = touched.get(id);
          if (seen) {
            seen.candidates.add(file);
            continue;
          }
          const held = holders.get(id) ?? [];
          const object = held[0] === undefined ? undefined : files.get(held[0])?.get(id);
          touched.set(id, { files: held, object, candidates: new Set([...held, file]) });
        }
      }
      for (const [file, objects] of changed) {
        if (objects) files.set(file, objects);
        else files.delete(file);
      }

      const changes: CatalogChange[] = [];
      const duplicates: Duplicate[] = [];
      for (const [id, old] of touched) {
        const held = [...old.candidates].filter((file) => files.get(file)?.has(id)).sort(compareBytes);
        if (held.length > 0) holders.set(id, held);
        else holders.delete(id);

        const [winner, ...losers] = held;
        const object = winner === undefined ? undefined : files.get(winner)?.get(id);
        if (object && object !== old.object) changes.push({ type: 'put', object });
        else if (!object && old.object) changes.push({ type: 'gone', object: old.object });

        if (winner === undefined) continue;
        for (const loser of losers) {
          const known = old.files[0] === winner && old.files.includes(loser);
          if (!known) duplicates.push({ id, usedFile: winner, ignoredFile: loser });
        }
      }
      return { changes, duplicates };
    },
  };
}

/** Order of the UTF-8 bytes, as `ls` in the C locale has it. */
export function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
