/**
 * What one service port looks like as chains and dispatch rules. Pure, and a function of this service port and the
 * node's settings only.
 *
 *   dispatch tree ──▶ KUBE-SVC-x (clusterIP) ───────────────────────┐ [mark for masquerading] then per endpoint
 *                 ──▶ KUBE-EXT-x (external IP, node port) ──────────┤   -p tcp [random 1/(n-i)] -j DNAT
 *                 ──▶ KUBE-FW-x  (VIP with source ranges) ▶ EXT ────┘
 *   KUBE-SVL-x is KUBE-SVC-x with the endpoints of this node only (policy Local). With session affinity, each
 *   endpoint has its KUBE-SEP-x, which remembers the client before it translates.
 */
import type { Endpoint, IPFamily, LocalDetector, ServicePort } from '../../core/backend.ts';
import { affinitySetPrefix, displayName, endpointHash, hostPort, servicePortHash } from './names.ts';
import { countInto, LOCALHOST_ACCEPTED } from './packet-counters.ts';
import { comment, destinationPort, fromLocalPod, hostCIDR, randomly } from './rule-text.ts';

export interface ChainContext {
  readonly family: IPFamily;
  readonly localDetector: LocalDetector;
  readonly masqueradeAll: boolean;
  readonly affinity: 'ipset' | 'recent';
  /** Node ports answer on loopback addresses, and what comes to those is counted. */
  readonly countLocalhost: boolean;
}

export interface ServiceChains {
  /** Chain name → rules. */
  readonly nat: ReadonlyMap<string, readonly string[]>;
  readonly filter: ReadonlyMap<string, readonly string[]>;
  /** Names of the ipsets that the rules refer to. */
  readonly sets: readonly string[];
}

export type FrontendKind = 'clusterIP' | 'externalIP' | 'loadBalancerVIP' | 'nodePort';

/** The rules in the dispatch trees for one frontend; absent where a tree holds nothing for it. */
export interface FrontendRules {
  readonly nat?: string;
  /** Stands before `nat` and does the same for loopback addresses, counting. */
  readonly counted?: string;
  /** REJECT, or DROP where only this policy has no endpoint. */
  readonly deny?: string;
  /** Drop of sources outside the source ranges. */
  readonly firewall?: string;
}

function usesLocal(port: ServicePort, kind: FrontendKind): boolean {
  return (kind === 'clusterIP' ? port.internalPolicy : port.externalPolicy) === 'Local';
}

function isExternal(port: ServicePort): boolean {
  return port.nodePort !== 0 || port.externalIPs.length > 0 || port.loadBalancerVIPs.length > 0;
}

export function serviceChains(port: ServicePort, context: ChainContext): ServiceChains {
  const nat = new Map<string, readonly string[]>();
  const filter = new Map<string, readonly string[]>();
  const sets: string[] = [];
  const hash = servicePortHash(port);
  const name = displayName(port);
  const external = isExternal(port);
  const guarded = port.loadBalancerVIPs.length > 0 && port.sourceRanges.length > 0;

  if (!port.hasEndpoints) {
    if (guarded) {
      // Nothing is translated, so that the filter table itself must tell allowed sources (rejected) from others.
      const ranges = port.sourceRanges.map((range) => `-s ${range} -j RETURN`);
      filter.set(`KUBE-FW-${hash}`, [
        ...ranges,
        `${comment(`${name} source not in loadBalancerSourceRanges`)} -j DROP`,
      ]);
    }
    return { nat, filter, sets };
  }

  if (port.cluster.length > 0 && (port.internalPolicy === 'Cluster' || external)) {
    const rules = port.internalPolicy === 'Cluster' ? clusterIPMasquerade(port, context) : [];
    nat.set(`KUBE-SVC-${hash}`, [...rules, ...balance(port, port.cluster, context)]);
  }
  if (port.local.length > 0) {
    const rules = port.internalPolicy === 'Local' ? clusterIPMasquerade(port, context) : [];
    nat.set(`KUBE-SVL-${hash}`, [...rules, ...balance(port, port.local, context)]);
  }
  if (external) nat.set(`KUBE-EXT-${hash}`, externalRules(port, context, hash, name));
  if (guarded) {
    const ranges = port.sourceRanges.map((range) => `-s ${range} -j KUBE-EXT-${hash}`);
    // ACCEPT ends the nat table untranslated: node port rules must not see what the firewall will drop.
    nat.set(`KUBE-FW-${hash}`, [
      ...ranges,
      `${comment(`other traffic to ${name} will be dropped by KUBE-PROXY-FIREWALL`)} -j ACCEPT`,
    ]);
  }
  if (port.affinitySeconds > 0) {
    for (const [endpoint, hash] of affinityEndpoints(port)) {
      nat.set(`KUBE-SEP-${hash}`, affinityRules(port, endpoint, hash, context));
      if (context.affinity === 'ipset') sets.push(affinitySetPrefix(context.family) + hash);
    }
  }
  return { nat, filter, sets };
}

/** First rule of the chain that clusterIP traffic takes: other sources than pods of this node are masqueraded. */
function clusterIPMasquerade(port: ServicePort, context: ChainContext): string[] {
  const pods = fromLocalPod(context.localDetector);
  if (!context.masqueradeAll && pods === undefined) return [];
  // iptables-save prints the source before the destination and the interface after both.
  const destination = `-d ${hostCIDR(port.clusterIP)}`;
  let match = destination;
  if (!context.masqueradeAll) {
    match = context.localDetector.kind === 'cidr' ? `! ${pods} ${destination}` : `${destination} ! ${pods}`;
  }
  return [
    `${match} -p ${port.protocol.toLowerCase()} ${comment(`${displayName(port)} cluster IP`)} ` +
      `${destinationPort(port.protocol, port.port)} -j KUBE-MARK-MASQ`,
  ];
}

function externalRules(port: ServicePort, context: ChainContext, hash: string, name: string): string[] {
  const rules: string[] = [];
  if (port.externalPolicy === 'Cluster') {
    rules.push(`${comment(`masquerade traffic for ${name} external destinations`)} -j KUBE-MARK-MASQ`);
    if (port.cluster.length > 0) rules.push(`-j KUBE-SVC-${hash}`);
    return rules;
  }
  if (port.cluster.length > 0) {
    const pods = fromLocalPod(context.localDetector);
    if (pods !== undefined) {
      rules.push(`${pods} ${comment(`pod traffic for ${name} external destinations`)} -j KUBE-SVC-${hash}`);
    }
    const local = '-m addrtype --src-type LOCAL';
    rules.push(
      `${comment(`masquerade LOCAL traffic for ${name} external destinations`)} ${local} -j KUBE-MARK-MASQ`,
      `${comment(`route LOCAL traffic for ${name} external destinations`)} ${local} -j KUBE-SVC-${hash}`,
    );
  }
  if (port.local.length > 0) rules.push(`-j KUBE-SVL-${hash}`);
  // Untranslated, for KUBE-EXTERNAL-SERVICES to drop; node port rules must not pick it up.
  else rules.push(`${comment(`${name} has no local endpoints`)} -j ACCEPT`);
  return rules;
}

/** Rules that pick one endpoint at random, after those that find the client's own endpoint. */
function balance(port: ServicePort, endpoints: readonly Endpoint[], context: ChainContext): string[] {
  const rules: string[] = [];
  const protocol = `-p ${port.protocol.toLowerCase()}`;
  if (port.affinitySeconds > 0) {
    for (const endpoint of endpoints) {
      const hash = endpointHash(port, endpoint);
      rules.push(`${rememberedMatch(port, hash, context)} -j KUBE-SEP-${hash}`);
    }
  }
  for (const [index, endpoint] of endpoints.entries()) {
    const left = endpoints.length - index;
    const chance = left > 1 ? `${randomly(1 / left)} ` : '';
    rules.push(
      port.affinitySeconds > 0
        ? `${chance}-j KUBE-SEP-${endpointHash(port, endpoint)}`
        : `${protocol} ${chance}-j DNAT --to-destination ${hostPort(endpoint)}`,
    );
  }
  return rules;
}

function affinityEndpoints(port: ServicePort): Map<Endpoint, string> {
  const byHash = new Map<string, Endpoint>();
  for (const endpoint of [...port.cluster, ...port.local]) byHash.set(endpointHash(port, endpoint), endpoint);
  return new Map([...byHash].map(([hash, endpoint]) => [endpoint, hash]));
}

function recentMask(context: ChainContext): string {
  return context.family === 'IPv4' ? '255.255.255.255' : 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff';
}

function rememberedMatch(port: ServicePort, hash: string, context: ChainContext): string {
  if (context.affinity === 'ipset') return `-m set --match-set ${affinitySetPrefix(context.family)}${hash} src`;
  return (
    `-m recent --rcheck --seconds ${port.affinitySeconds} --reap --name KUBE-SEP-${hash} ` +
    `--mask ${recentMask(context)} --rsource`
  );
}

function affinityRules(port: ServicePort, endpoint: Endpoint, hash: string, context: ChainContext): string[] {
  const protocol = `-p ${port.protocol.toLowerCase()}`;
  const name = comment(`${displayName(port)} affinity`);
  const translate = `-j DNAT --to-destination ${hostPort(endpoint)}`;
  if (context.affinity === 'recent') {
    const remember = `-m recent --set --name KUBE-SEP-${hash} --mask ${recentMask(context)} --rsource`;
    return [`${protocol} ${name} ${remember} ${translate}`];
  }
  const set = affinitySetPrefix(context.family) + hash;
  return [`${name} -j SET --add-set ${set} src --exist --timeout ${port.affinitySeconds}`, `${protocol} ${translate}`];
}

/** Rules of one frontend; `address` is undefined for a node port. */
export function frontendRules(
  port: ServicePort,
  kind: FrontendKind,
  address: string | undefined,
  { countLocalhost }: ChainContext,
): FrontendRules {
  const hash = servicePortHash(port);
  const name = displayName(port);
  const protocol = port.protocol.toLowerCase();
  const label = {
    clusterIP: 'cluster IP',
    externalIP: 'external IP',
    loadBalancerVIP: 'loadbalancer IP',
    nodePort: '',
  };
  const target = kind === 'nodePort' ? port.nodePort : port.port;
  const match = (note: string): string =>
    `${address === undefined ? '' : `-d ${hostCIDR(address)} `}-p ${protocol} ` +
    `${comment(note === '' ? `${name} node port` : `${name} ${note}`)} ${destinationPort(port.protocol, target)}`;
  const guarded = kind === 'loadBalancerVIP' && port.sourceRanges.length > 0;
  // Untranslated: a node port of another Service on this very address must not take over (an address can be both).
  const untranslated = kind === 'nodePort' ? {} : { nat: `${match(label[kind])} -j ACCEPT` };

  if (!port.hasEndpoints) {
    return {
      ...untranslated,
      deny: `${match('has no endpoints')} -j REJECT --reject-with ${refusal(port)}`,
      ...(guarded ? { firewall: `${match('loadbalancer IP')} -j KUBE-FW-${hash}` } : {}),
    };
  }
  const local = usesLocal(port, kind);
  const reachable = local ? port.local.length > 0 : port.cluster.length > 0;
  const deny = reachable ? {} : { deny: `${match('has no local endpoints')} -j DROP` };
  if (kind === 'clusterIP') {
    if (!reachable) return { ...untranslated, ...deny };
    return { nat: `${match(label[kind])} -j KUBE-${local ? 'SVL' : 'SVC'}-${hash}` };
  }
  const leads = `-j KUBE-${guarded ? 'FW' : 'EXT'}-${hash}`;
  const nat = `${match(label[kind])} ${leads}`;
  if (kind === 'nodePort' && countLocalhost) {
    return { nat, counted: `-d 127.0.0.0/8 ${match('')} ${countInto(LOCALHOST_ACCEPTED)} ${leads}`, ...deny };
  }
  if (!guarded) return { nat, ...deny };
  return { nat, ...deny, firewall: `${match('traffic not accepted by KUBE-FW')} -j DROP` };
}

/**
 * A TCP client must be told by a reset: Linux 6.18 receives an ICMPv6 port unreachable for a SYN and goes on trying.
 */
function refusal(port: ServicePort): string {
  if (port.protocol === 'TCP') return 'tcp-reset';
  return port.clusterIP.includes(':') ? 'icmp6-port-unreachable' : 'icmp-port-unreachable';
}
