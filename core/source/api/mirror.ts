/**
 * What is held of one resource, and how a difference reaches the sink: raw objects in, parsed ones out, each fault of
 * an object told once, and no object's fault anybody else's.
 *
 *   one event     ──▶ table ──▶ sink, if the object differs
 *   a whole state ──▶ a second table, until it is complete ──▶ all differences to the first at once
 */
import type { Logger } from '../../backend.ts';
import type { Parsed } from '../../model/objects.ts';
import { createObjectTable, type ObjectTable } from './object-table.ts';
import type { Resource } from './resource.ts';
import { type ObjectIdentity, readIdentity } from './watch-event.ts';

/** Where what changed goes. May throw: the object is named in the log and offered again with the next whole state. */
export interface Delivery<T> {
  upsert(value: T): void;
  remove(namespace: string, name: string): void;
}

/** An object with faults, for an event about it. */
export interface ObjectProblem {
  readonly kind: Resource<unknown>['kind'];
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly problems: readonly string[];
  /** What was left out because of them: the whole object, or the faulty parts of it. */
  readonly ignored: 'object' | 'faults';
}

export interface MirrorOptions<T> {
  readonly resource: Resource<T>;
  readonly delivery: Delivery<T>;
  readonly onProblem: (problem: ObjectProblem) => void;
  readonly log: Logger;
}

/** A whole state on its way in. Drop it, and nothing happened. */
export interface Collection {
  put(raw: unknown): void;
  remove(raw: unknown): void;
}

export interface Mirror {
  put(raw: unknown): void;
  remove(raw: unknown): void;
  collect(): Collection;
  /** Deliver what differs; the collection is the state from now on. */
  publish(collection: Collection, version: string): void;
  /** Key of any one object; undefined when there is none. */
  anyKey(): string | undefined;
  size(): number;
  /** Deliver nothing any more. */
  close(): void;
}

interface OwnCollection<T> extends Collection {
  readonly table: ObjectTable<T>;
  /** Keys of objects with faults. */
  readonly faulty: Set<string>;
}

const NAMELESS: ObjectIdentity = { key: '', namespace: '', name: '', uid: '', version: '' };

export function createMirror<T>({ resource, delivery, onProblem, log }: MirrorOptions<T>): Mirror {
  let current = newCollection();
  let closed = false;
  /** Objects whose delivery failed. */
  const undelivered = new Set<string>();
  /** What was told of each object with faults. */
  const told = new Map<string, string>();

  function newCollection(previous?: ObjectTable<T>): OwnCollection<T> {
    const table = createObjectTable<T>(previous);
    const faulty = new Set<string>();
    const collection: OwnCollection<T> = {
      table,
      faulty,
      put(raw) {
        take(collection, raw);
      },
      remove(raw) {
        drop(collection, raw);
      },
    };
    return collection;
  }

  /** Parse an object into a collection; returns its key if it differs from what was there. */
  function take(into: OwnCollection<T>, raw: unknown): string | undefined {
    const identity = readIdentity(raw, resource.namespaced);
    if (!identity) {
      report(into, NAMELESS, ['metadata: names no object; it is left out']);
      return undefined;
    }
    const { key, version } = identity;
    const { value, problems } = parse(raw);
    // Nothing to serve is the same as gone: what it was before must not go on being served.
    const change = value === undefined ? into.table.remove(key, version) : into.table.put(key, version, value);
    if (change !== 'stale') report(into, identity, problems, value === undefined ? 'object' : 'faults');
    return change === 'changed' || change === 'removed' ? key : undefined;
  }

  function parse(raw: unknown): Parsed<T> {
    try {
      return resource.parse(raw);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      return { value: undefined, problems: [`cannot be parsed (${reason}); it is left out`] };
    }
  }

  /** The server deleted it; returns its key if it was there. */
  function drop(from: OwnCollection<T>, raw: unknown): string | undefined {
    const identity = readIdentity(raw, resource.namespaced);
    if (!identity) {
      report(from, NAMELESS, ['metadata: names no object; its deletion is ignored']);
      return undefined;
    }
    const removing = from.table.remove(identity.key, identity.version);
    if (removing !== 'stale') report(from, identity, []);
    return removing === 'removed' ? identity.key : undefined;
  }

  /** Once for each object and set of faults, however often they are read. */
  function report(
    into: OwnCollection<T>,
    identity: ObjectIdentity,
    problems: readonly string[],
    ignored: ObjectProblem['ignored'] = 'object',
  ): void {
    const { key, namespace, name, uid } = identity;
    if (problems.length === 0) {
      into.faulty.delete(key);
      if (into === current) told.delete(key);
      return;
    }
    into.faulty.add(key);
    const text = problems.join('; ');
    if (closed || told.get(key) === text) return;
    told.set(key, text);
    const { kind } = resource;
    log.warn('An object has faults; what of it makes sense counts', { kind, namespace, name, problems: text });
    try {
      onProblem({ kind, namespace, name, uid, problems, ignored });
    } catch (error) {
      log.error('A fault of an object could not be passed on', { kind, namespace, name, error });
    }
  }

  /** Whatever the sink throws stays here. */
  function deliver(key: string): void {
    if (closed) return;
    const value = current.table.get(key)?.value;
    const slash = key.indexOf('/');
    const [namespace, name] = slash === -1 ? ['', key] : [key.slice(0, slash), key.slice(slash + 1)];
    try {
      if (value === undefined) delivery.remove(namespace, name);
      else delivery.upsert(value);
      undelivered.delete(key);
    } catch (error) {
      undelivered.add(key);
      log.error('An object could not be taken over; it is offered again with the next list', {
        kind: resource.kind,
        namespace,
        name,
        error,
      });
    }
  }

  return {
    put(raw) {
      const key = take(current, raw);
      if (key !== undefined) deliver(key);
    },
    remove(raw) {
      const key = drop(current, raw);
      if (key !== undefined) deliver(key);
    },
    collect: () => newCollection(current.table),
    publish(collection, version) {
      const before = current.table;
      current = collection as OwnCollection<T>;
      const { table, faulty } = current;
      table.seal(version);
      for (const key of told.keys()) if (!faulty.has(key)) told.delete(key);
      for (const key of before.keys()) if (!table.get(key)) deliver(key);
      for (const key of table.keys()) if (before.get(key)?.value !== table.get(key)?.value) deliver(key);
      for (const key of [...undelivered]) deliver(key);
    },
    anyKey() {
      const [key] = current.table.keys();
      return key;
    },
    size: () => current.table.size(),
    close() {
      closed = true;
    },
  };
}
