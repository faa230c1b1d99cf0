/**
 * The state that the core wants, kept so that a program can be told all of it at any time: by default each time, after
 * it was started again in any case. Objects are kept as they were given, so that a change costs what it changes.
 */
import type { Change, IPFamily, NodeView, ServicePort } from '../../core/backend.ts';

export interface Desired {
  apply(change: Change): void;
  /** Everything of a family, sorted by key; undefined if nothing was ever wanted of it. */
  whole(family: IPFamily): Change | undefined;
  /** Families of which something was wanted. */
  families(): readonly IPFamily[];
  clear(): void;
}

export function createDesired(): Desired {
  const states = new Map<IPFamily, { node: NodeView; readonly ports: Map<string, ServicePort> }>();
  return {
    apply({ family, full, node, upsert, remove }) {
      let state = states.get(family);
      if (!state || full) {
        state = { node, ports: new Map() };
        states.set(family, state);
      }
      state.node = node;
      for (const key of remove) state.ports.delete(key);
      for (const port of upsert) state.ports.set(port.key, port);
    },
    whole(family) {
      const state = states.get(family);
      return state && wholeChange(family, state.node, [...state.ports.values()]);
    },
    families: () => [...states.keys()],
    clear: () => states.clear(),
  };
}

export function wholeChange(family: IPFamily, node: NodeView, ports: readonly ServicePort[]): Change {
  const upsert = ports.toSorted((a, b) => (a.key < b.key ? -1 : 1));
  return { family, full: true, node, upsert, remove: [] };
}
