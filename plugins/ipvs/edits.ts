/**
 * Element edits, sorted by when they may take effect: `early` before the virtual servers change, `late` after them.
 *
 *   a frontend that comes   late where its address is one of kube-ipvs0 already (its port is refused until then),
 *                           else early: the table records what is ours before there is a virtual server
 *   a frontend that goes    the other way round
 *   another class           early if it lets fewer connections pass, else late: the servers must be there
 *   source ranges           at once with those that take their place, else late: the class changes late, too
 *   what must outlast them  hairpin, addresses, nodeport-ips: added early, deleted late
 *   marks                   added late, deleted early: without a mark a connection takes the virtual server of the address
 */
import type { NftElement } from '../../core/backend.ts';
import { append, dataText, type Elements, keyText } from '../shared/table/layout.ts';
import { GUARDED_VERDICT_MASK, PASS } from '../shared/table/verdicts.ts';
import type { Emit } from './frontends.ts';
import type { SetName } from './layout.ts';

export interface ElementEdits {
  readonly deletes: Elements<SetName>;
  readonly adds: Elements<SetName>;
}

export interface TimedEdits {
  readonly early: ElementEdits;
  readonly late: ElementEdits;
}

export interface EditCollector {
  /** What one of two descriptions says that the other does not. */
  difference(before: ((emit: Emit) => void) | undefined, after: ((emit: Emit) => void) | undefined): void;
  add(set: SetName, element: NftElement): void;
  delete(set: SetName, element: NftElement): void;
  /** What was collected since the last call. */
  take(): TimedEdits;
}

export interface EditOptions {
  /** Whether this address is on kube-ipvs0 now, before the change. */
  readonly isOwn: (ip: string) => boolean;
  /** Told of every element that comes (1) or goes (-1). */
  readonly count: (set: SetName, by: 1 | -1) => void;
}

interface Collected {
  readonly deletes: Map<SetName, NftElement[]>;
  readonly adds: Map<SetName, NftElement[]>;
}

export function createEdits({ isOwn, count }: EditOptions): EditCollector {
  let early = empty();
  let late = empty();

  function add(set: SetName, element: NftElement): void {
    count(set, 1);
    const isLate = set === 'services' ? isOwn(String(element.key[0])) : set === 'marks' || set === 'nodeport-marks';
    append((isLate ? late : early).adds, set, element);
  }

  function remove(set: SetName, element: NftElement, isReplaced = false): void {
    count(set, -1);
    const isLate = set === 'services' ? !isOwn(String(element.key[0])) : LATE_DELETES.has(set) && !isReplaced;
    append((isLate ? late : early).deletes, set, element);
  }

  function change(set: SetName, before: NftElement, after: NftElement): void {
    const isClass = set === 'services' || set === 'nodeports';
    const into = isClass && isOpen(after) ? late : early;
    append(into.deletes, set, before);
    append(into.adds, set, after);
  }

  return {
    difference(before, after) {
      const old = new Map<string, { readonly set: SetName; readonly element: NftElement }>();
      before?.((set, element) => old.set(`${set} ${keyText(element)}`, { set, element }));
      const fresh: (() => void)[] = [];
      let newRanges = false;
      after?.((set, element) => {
        const key = `${set} ${keyText(element)}`;
        const existing = old.get(key);
        old.delete(key);
        if (existing === undefined) {
          fresh.push(() => add(set, element));
          // One that overlaps is refused while the old one is there.
          if (set === 'source-ranges') newRanges = true;
        } else if (dataText(existing.element) !== dataText(element)) {
          fresh.push(() => change(set, existing.element, element));
        }
      });
      for (const { set, element } of old.values()) remove(set, element, set === 'source-ranges' && newRanges);
      for (const emit of fresh) emit();
    },
    add,
    delete: (set, element) => remove(set, element),
    take() {
      const taken = { early, late };
      early = empty();
      late = empty();
      return taken;
    },
  };
}

const LATE_DELETES: ReadonlySet<SetName> = new Set([
  'nodeports',
  'source-ranges',
  'hairpin',
  'addresses',
  'nodeport-ips',
  'mark-numbers',
] as const);

function empty(): Collected {
  return { deletes: new Map(), adds: new Map() };
}

/** Whether every connection of this class passes. */
function isOpen({ data }: NftElement): boolean {
  return Array.isArray(data) && (Number(data[0]) & GUARDED_VERDICT_MASK) === PASS;
}
