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
import { difference, type EditSink, type ElementEdits as EditsOf } from '../shared/table/edits.ts';
import { append } from '../shared/table/layout.ts';
import { GUARDED_VERDICT_MASK, PASS } from '../shared/table/verdicts.ts';
import type { SetName } from './layout.ts';

export type ElementEdits = EditsOf<SetName>;

export interface TimedEdits {
  readonly early: ElementEdits;
  readonly late: ElementEdits;
}

export interface TimedEditCollector extends EditSink<SetName> {
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

export function createEdits({ isOwn, count }: EditOptions): TimedEditCollector {
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
      const { gone, fresh } = difference(before, after);
      // One that overlaps is refused while the old one is there.
      const newRanges = fresh.some(({ set }) => set === 'source-ranges');
      for (const { set, element, other } of gone) {
        if (other === undefined) remove(set, element, set === 'source-ranges' && newRanges);
      }
      for (const { set, element, other } of fresh) {
        if (other === undefined) add(set, element);
        else change(set, other, element);
      }
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
