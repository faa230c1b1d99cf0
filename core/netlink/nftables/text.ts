/**
 * A typed table as `nft list table` (1.0.6) prints it, for `kube-proxy render`, goldens, and tests that compare what was
 * meant with what the kernel holds. Pure: asks no kernel and needs no `nft`.
 *
 *   table ip kube-proxy {
 *   	map services {
 *   		type ipv4_addr . inet_proto . inet_service : mark
 *   		size 65536
 *   		elements = { 10.96.0.1 . tcp . 443 comment "default/kubernetes:https/TCP" : 0x00000003 }
 *   	}
 *
 *   	chain nat-prerouting {
 *   		type nat hook prerouting priority dstnat; policy accept;
 *   		meta priority set ip daddr . meta l4proto . th dport map @services
 *   	}
 *   }
 *
 * Elements come in the order given (nft's order is the kernel's), each on a line of its own where there are several.
 * Counters are zero. Who owns the table is not part of it.
 */
import type { NftElement, NftHook, NftSet, NftTable } from '../../nftables.ts';
import { printRule } from './text-statements.ts';
import { printKey, printTuple } from './text-values.ts';

/** nft indents what follows the first element as far as that one. */
const NEXT_ELEMENT = `,\n\t\t\t     `;

export function printTable(table: NftTable): string {
  const blocks = [
    ...table.sets.map((set) => printSet(set, set.elements)),
    ...table.chains.map(
      (chain) =>
        `\tchain ${chain.name} {\n${chain.hook ? `\t\t${printHook(chain.hook)}\n` : ''}${chain.rules
          .map((rule) => `\t\t${printRule(table.family, rule)}\n`)
          .join('')}\t}\n`,
    ),
  ];
  const comment = table.comment ? `\tcomment "${table.comment}"\n` : '';
  return `table ${table.family} ${table.name} {\n${comment}${blocks.join('\n')}}\n`;
}

function printSet(set: NftSet, elements: Iterable<NftElement>): string {
  const { key, data } = set;
  const answer = data === undefined ? '' : ` : ${data === 'verdict' ? data : data.join(' . ')}`;
  const flags = [...(set.interval ? ['interval'] : []), ...(set.dynamic ? ['dynamic', 'timeout'] : [])];
  const printed = Array.from(elements, (element) => printElement(set, element));
  const lines = [
    `type ${key.join(' . ')}${answer}`,
    ...(set.size ? [`size ${set.size}`] : []),
    ...(flags.length > 0 ? [`flags ${flags.join(',')}`] : []),
    ...(set.comment ? [`comment "${set.comment}"`] : []),
    ...(printed.length > 0 ? [`elements = { ${printed.join(NEXT_ELEMENT)} }`] : []),
  ];
  const kind = data === undefined ? 'set' : 'map';
  return `\t${kind} ${set.name} {\n${lines.map((line) => `\t\t${line}\n`).join('')}\t}\n`;
}

function printElement(set: NftSet, element: NftElement): string {
  const comment = element.comment ? ` comment "${element.comment}"` : '';
  return `${printKey(set.key, element)}${comment}${printData(set, element)}`;
}

function printData({ data: types }: NftSet, { data }: NftElement): string {
  if (types === undefined || data === undefined) return '';
  if ('verdict' in data) return ` : ${'chain' in data ? `${data.verdict} ${data.chain}` : data.verdict}`;
  return types === 'verdict' ? '' : ` : ${printTuple(types, data)}`;
}

function printHook({ type, hook, priority }: NftHook): string {
  return `type ${type} hook ${hook} priority ${printHookPriority(hook, priority)}; policy accept;`;
}

/** nft's names of the kernel's NF_IP_PRI_*, in the hooks where each stands for something. */
const PRIORITIES: readonly (readonly [name: string, value: number, hook?: NftHook['hook']])[] = [
  ['raw', -300],
  ['mangle', -150],
  ['dstnat', -100, 'prerouting'],
  ['filter', 0],
  ['security', 50],
  ['srcnat', 100, 'postrouting'],
];
/** nft says "filter + 10" up to here, and numbers beyond. */
const NEAR = 10;

function printHookPriority(hook: NftHook['hook'], priority: number): string {
  for (const [name, value, only] of PRIORITIES) {
    const distance = priority - value;
    if ((only !== undefined && only !== hook) || Math.abs(distance) > NEAR) continue;
    return distance === 0 ? name : `${name} ${distance < 0 ? '-' : '+'} ${Math.abs(distance)}`;
  }
  return String(priority);
}
