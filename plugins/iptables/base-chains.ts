/**
 * The chains that do not belong to any Service, and the rules by which the kernel's built-in chains come to ours.
 * Comments on jumps are upstream's own words: tools, and upstream's own cleanup, find these rules by them.
 */
import type { IPFamily, NodeView } from '../../core/backend.ts';
import { answersOnLoopback } from '../shared/kernel-parameters.ts';
import type { Table } from './names.ts';
import { countInto, INVALID_DROPPED } from './packet-counters.ts';
import { comment, hostCIDR, sourceIsDestination } from './rule-text.ts';

/** A rule that must stand in a chain that is not ours alone. */
export interface Hook {
  readonly table: Table;
  readonly chain: string;
  readonly rule: string;
}

const NEW = '-m conntrack --ctstate NEW';

function jump(table: Table, chain: string, match: string, target: string): Hook {
  return { table, chain, rule: `${match === '' ? '' : `${match} `}-j ${target}` };
}

/** In the order in which they stand at the top of each built-in chain. */
export const HOOKS: readonly Hook[] = [
  jump('nat', 'PREROUTING', comment('kubernetes service portals'), 'KUBE-SERVICES'),
  jump('nat', 'OUTPUT', comment('kubernetes service portals'), 'KUBE-SERVICES'),
  jump('nat', 'POSTROUTING', comment('kubernetes postrouting rules'), 'KUBE-POSTROUTING'),
  jump('filter', 'INPUT', `${NEW} ${comment('kubernetes load balancer firewall')}`, 'KUBE-PROXY-FIREWALL'),
  jump('filter', 'INPUT', comment('kubernetes health check service ports'), 'KUBE-NODEPORTS'),
  jump(
    'filter',
    'INPUT',
    `${NEW} ${comment('kubernetes externally-visible service portals')}`,
    'KUBE-EXTERNAL-SERVICES',
  ),
  // A clusterIP is no address of the node, unless someone made it one.
  jump('filter', 'INPUT', `${NEW} ${comment('kubernetes service portals')}`, 'KUBE-SERVICES'),
  jump('filter', 'FORWARD', `${NEW} ${comment('kubernetes load balancer firewall')}`, 'KUBE-PROXY-FIREWALL'),
  jump('filter', 'FORWARD', comment('kubernetes forwarding rules'), 'KUBE-FORWARD'),
  jump('filter', 'FORWARD', `${NEW} ${comment('kubernetes service portals')}`, 'KUBE-SERVICES'),
  jump(
    'filter',
    'FORWARD',
    `${NEW} ${comment('kubernetes externally-visible service portals')}`,
    'KUBE-EXTERNAL-SERVICES',
  ),
  jump('filter', 'OUTPUT', `${NEW} ${comment('kubernetes load balancer firewall')}`, 'KUBE-PROXY-FIREWALL'),
  jump('filter', 'OUTPUT', `${NEW} ${comment('kubernetes service portals')}`, 'KUBE-SERVICES'),
  jump(
    'filter',
    'OUTPUT',
    `${NEW} ${comment('kubernetes externally-visible service portals')}`,
    'KUBE-EXTERNAL-SERVICES',
  ),
];

/**
 * With node ports on 127.0.0.1 the kernel must route loopback addresses (route_localnet), so that packets for them
 * from other hosts must be dropped. kubelet keeps the same rule in the same chain, which is why neither it nor the
 * chain is removed by cleanup.
 */
export const LOCALNET_HOOKS: readonly [Hook, ...Hook[]] = [
  {
    table: 'filter',
    chain: 'KUBE-FIREWALL',
    rule:
      `! -s 127.0.0.0/8 -d 127.0.0.0/8 ${comment('block incoming localnet connections')} ` +
      '-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP',
  },
  { table: 'filter', chain: 'INPUT', rule: '-j KUBE-FIREWALL' },
  { table: 'filter', chain: 'OUTPUT', rule: '-j KUBE-FIREWALL' },
];

export interface BaseContext {
  readonly family: IPFamily;
  readonly node: NodeView;
  readonly masqueradeBit: number;
  readonly hairpin: 'bpf' | 'rules';
  readonly counters: boolean;
  /** Addresses of this node's endpoints, for hairpin 'rules'. */
  readonly localEndpoints: Iterable<string>;
}

/** Fixed chains of the nat and filter tables, without those that are roots of dispatch trees. */
export function baseChains(context: BaseContext): { table: Table; chain: string; rules: readonly string[] }[] {
  const bit = `0x${(2 ** context.masqueradeBit).toString(16)}`;
  const masquerade = '-j MASQUERADE --random-fully';
  const hairpinNote = comment('kubernetes hairpin: an endpoint that reaches itself through a service');
  // On the loopback device source and destination are always the host's own; nothing to hide there.
  const hairpinMatch = `! -o lo ${hairpinNote} -m conntrack --ctstate DNAT`;
  const byRules = context.hairpin === 'rules';
  const forward = [
    `${comment('kubernetes forwarding rules')} -m mark --mark ${bit}/${bit} -j ACCEPT`,
    `${comment('kubernetes forwarding conntrack rule')} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
  ];
  // An INVALID packet would leave with its untranslated address and make the peer reset the connection.
  const counted = context.counters ? `${countInto(INVALID_DROPPED)} ` : '';
  if (!context.node.tcpBeLiberal) forward.unshift(`-m conntrack --ctstate INVALID ${counted}-j DROP`);
  return [
    ...(['mangle', 'nat', 'filter'] as const).map((table) => ({ table, chain: 'KUBE-PROXY-CANARY', rules: [] })),
    { table: 'nat', chain: 'KUBE-MARK-MASQ', rules: [`-j MARK --set-xmark ${bit}/${bit}`] },
    {
      table: 'nat',
      chain: 'KUBE-POSTROUTING',
      rules: [
        byRules
          ? `${hairpinMatch} -m mark ! --mark ${bit}/${bit} -j KUBE-HAIRPIN`
          : `${hairpinMatch} -m mark ! --mark ${bit}/${bit} ${sourceIsDestination(context.family)} ${masquerade}`,
        `-m mark ! --mark ${bit}/${bit} -j RETURN`,
        `-j MARK --set-xmark ${bit}/0x0`,
        `${comment('kubernetes service traffic requiring SNAT')} ${masquerade}`,
      ],
    },
    ...(byRules
      ? [
          {
            table: 'nat' as const,
            chain: 'KUBE-HAIRPIN',
            rules: [...context.localEndpoints]
              .sort()
              .map((ip) => `-s ${hostCIDR(ip)} -d ${hostCIDR(ip)} ${masquerade}`),
          },
        ]
      : []),
    { table: 'filter', chain: 'KUBE-FORWARD', rules: forward },
  ];
}

/** Rules that lead from a root chain to `target` for every address on which node ports answer. */
export function nodePortJumps(family: IPFamily, node: NodeView, target: string): string[] {
  const note = comment('kubernetes service nodeports; NOTE: this must be the last rule in this chain');
  const accepted = node.nodePortAddresses;
  if (accepted.match === 'list') return accepted.addresses.map((ip) => `-d ${hostCIDR(ip)} ${note} -j ${target}`);
  // ::1 never: the kernel has no route_localnet for IPv6.
  const except = family === 'IPv6' ? '! -d ::1/128 ' : answersOnLoopback(family, node) ? '' : '! -d 127.0.0.0/8 ';
  return [`${except}${note} -m addrtype --dst-type LOCAL -j ${target}`];
}
