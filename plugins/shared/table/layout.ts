/**
 * An nf_tables table whose chains are few and whose sets hold what varies, as a backend describes it. The rest of this
 * folder makes the kernel's table equal to it, whatever stands there.
 */
import type { IPFamily, NftChain, NftElement, NftFamily, NftSet, NftValue } from '../../../core/backend.ts';

export interface TableLayout<S extends string> {
  readonly family: IPFamily;
  readonly table: NftFamily;
  readonly name: string;
  /** Tells a table of this layout from one that must be replaced as a whole. */
  readonly comment: string;
  readonly sets: Readonly<Record<S, NftSet>>;
  readonly setNames: readonly S[];
  /** Sets that packets fill: neither listed nor compared. */
  readonly filledByPackets: readonly S[];
  /** Maps that lead to chains: they change with the chains, not with Services. */
  readonly verdictMaps: readonly S[];
}

export type Elements<S extends string> = ReadonlyMap<S, readonly NftElement[]>;

/** A table as it must be. */
export interface TableModel<S extends string> {
  readonly layout: TableLayout<S>;
  /** Every element that must exist, in portions of about so many. */
  elements(portion: number): Iterable<Elements<S>>;
  /** Every chain that must exist, those that others lead to first, hooks last. */
  chains(): { readonly inner: readonly NftChain[]; readonly hooks: readonly NftChain[] };
  /** Elements of each set, about. */
  sizes(): ReadonlyMap<S, number>;
}

/** Everything of an element but its key. */
export function dataText({ data, comment }: NftElement): string {
  const text =
    data === undefined
      ? ''
      : 'verdict' in data
        ? `${data.verdict} ${'chain' in data ? data.chain : ''}`
        : data.join(' ');
  return comment === undefined ? text : `${text} # ${comment}`;
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

export function append<S>(into: Map<S, NftElement[]>, set: S, element: NftElement): void {
  const list = into.get(set);
  if (list === undefined) into.set(set, [element]);
  else list.push(element);
}
