/**
 * An nf_tables table whose chains are few and whose sets hold what varies, as a backend describes it. The rest of this
 * folder makes the kernel's table equal to it, whatever stands there.
 */
import type {
  IPFamily,
  NftChain,
  NftElement,
  NftFamily,
  NftField,
  NftSet,
  NftType,
  NftValue,
} from '../../../core/backend.ts';

/** The addresses of a packet of one family. */
export interface AddressFields {
  readonly saddr: NftField;
  readonly daddr: NftField;
  /** Before any translation. */
  readonly originalDaddr: NftField;
}

export interface TableLayout<S extends string> extends AddressFields {
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

/** What a backend says of its table. */
export interface TableDescription<S extends string> extends Pick<TableLayout<S>, 'name' | 'comment' | 'setNames'> {
  readonly shapes: Readonly<Record<S, Omit<NftSet, 'name'>>>;
}

/** What keys and data are put together from. */
export interface KeyTypes {
  readonly address: NftType;
  /** Protocol and port. */
  readonly port: readonly NftType[];
  /** Address, protocol and port. */
  readonly frontend: readonly NftType[];
  /** Address and port. */
  readonly target: readonly NftType[];
  readonly mark: readonly NftType[];
}

const FIELDS: Readonly<Record<IPFamily, AddressFields & { readonly table: NftFamily }>> = {
  IPv4: { table: 'ip', saddr: 'ip saddr', daddr: 'ip daddr', originalDaddr: 'ct original ip daddr' },
  IPv6: { table: 'ip6', saddr: 'ip6 saddr', daddr: 'ip6 daddr', originalDaddr: 'ct original ip6 daddr' },
};

export function keyTypes(family: IPFamily): KeyTypes {
  const address: NftType = family === 'IPv4' ? 'ipv4_addr' : 'ipv6_addr';
  const port: readonly NftType[] = ['inet_proto', 'inet_service'];
  return { address, port, frontend: [address, ...port], target: [address, 'inet_service'], mark: ['mark'] };
}

export function tableLayout<S extends string>(
  family: IPFamily,
  { name, comment, setNames, shapes }: TableDescription<S>,
): TableLayout<S> {
  const named = setNames.map((set): readonly [S, NftSet] => [set, { name: set, ...shapes[set] }]);
  const sets = Object.fromEntries(named) as Record<S, NftSet>;
  const filledByPackets = setNames.filter((set) => sets[set].dynamic === true);
  const verdictMaps = setNames.filter((set) => sets[set].data === 'verdict');
  return { family, name, comment, sets, setNames, filledByPackets, verdictMaps, ...FIELDS[family] };
}

export type Elements<S extends string> = ReadonlyMap<S, readonly NftElement[]>;

/** Takes one element after the other. */
export type Emit<S extends string> = (set: S, element: NftElement) => void;

export interface TableChains {
  /** Those that others lead to first. */
  readonly inner: readonly NftChain[];
  /** Those that the kernel calls. */
  readonly hooks: readonly NftChain[];
}

/** A table as it must be. */
export interface TableModel<S extends string> {
  readonly layout: TableLayout<S>;
  /** Every element that must exist, in portions of about so many. */
  elements(portion: number): Iterable<Elements<S>>;
  /** Every chain that must exist. */
  chains(): TableChains;
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
