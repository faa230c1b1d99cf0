/**
 * The reference's nftables layout, generated for comparison: text for `nft -f -`, as it hands it over. Written from
 * its description (chains, sets, maps, order of jumps); never applied outside the benchmark's own namespaces.
 *
 *   nat output, prerouting ─▶ services ─ vmap @service-ips ─▶ service-x ─ numgen random mod N ─┬ map {…}  dnat
 *                                                                                              └ vmap {…} ─▶ endpoint-x
 *   filter …               ─▶ firewall-check, service-endpoints-check, cluster-ips-check
 *
 * `map` is what it writes for Services without affinity since 1.36; `chains`, a chain for each endpoint, before.
 */
import { clusterIP, endpointIP, type Load } from './load.ts';

export type ReferenceLayout = 'map' | 'chains';

const T = 'ip kube-proxy';

const CHAINS: readonly (readonly [name: string, hook: string, rules: readonly string[]])[] = [
  ['mark-for-masquerade', '', ['mark set mark or 0x4000']],
  ['reject-chain', '', ['reject']],
  ['firewall-check', '', ['ip daddr . meta l4proto . th dport vmap @firewall-ips']],
  ['service-endpoints-check', '', ['ip daddr . meta l4proto . th dport vmap @no-endpoint-services']],
  ['nodeport-endpoints-check', '', ['ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports']],
  ['cluster-ips-check', '', ['ip daddr @cluster-ips reject', 'ip daddr { 10.96.0.0/12 } drop']],
  [
    'services',
    '',
    [
      'ip daddr @cluster-ips ip saddr != 10.244.0.0/16 jump mark-for-masquerade',
      'ip daddr . meta l4proto . th dport vmap @service-ips',
      'ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports',
    ],
  ],
  [
    'masquerading',
    '',
    [
      'mark and 0x4000 != 0 mark set mark xor 0x4000 masquerade fully-random',
      'ct status dnat ip saddr . ip daddr . meta l4proto . th dport @hairpin-connections masquerade fully-random',
    ],
  ],
  ['filter-prerouting-pre-dnat', 'filter hook prerouting priority -110', ['ct state new jump firewall-check']],
  ['filter-output-pre-dnat', 'filter hook output priority -110', ['ct state new jump firewall-check']],
  [
    'filter-input',
    'filter hook input priority 0',
    ['ct state new jump nodeport-endpoints-check', 'ct state new jump service-endpoints-check'],
  ],
  [
    'filter-forward',
    'filter hook forward priority 0',
    ['ct state new jump service-endpoints-check', 'ct state new jump cluster-ips-check'],
  ],
  [
    'filter-output',
    'filter hook output priority 0',
    ['ct state new jump service-endpoints-check', 'ct state new jump cluster-ips-check'],
  ],
  ['nat-prerouting', 'nat hook prerouting priority -100', ['jump services']],
  ['nat-output', 'nat hook output priority -100', ['jump services']],
  ['nat-postrouting', 'nat hook postrouting priority 100', ['jump masquerading']],
];

const SETS = [
  'set cluster-ips { type ipv4_addr ; }',
  'set nodeport-ips { type ipv4_addr ; }',
  'set hairpin-connections { type ipv4_addr . ipv4_addr . inet_proto . inet_service ; }',
  'map service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }',
  'map firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }',
  'map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict ; }',
  'map service-nodeports { type inet_proto . inet_service : verdict ; }',
  'map no-endpoint-nodeports { type inet_proto . inet_service : verdict ; }',
];

/** Everything that does not depend on Services. */
export function referenceTable(): string {
  const lines = [`add table ${T}`];
  for (const set of SETS) lines.push(set.replace(/^(\w+) (\S+)/, `add $1 ${T} $2`));
  for (const [name, hook] of CHAINS) {
    lines.push(`add chain ${T} ${name}${hook === '' ? '' : ` { type ${hook} ; }`}`);
  }
  for (const [name, , rules] of CHAINS) lines.push(...rules.map((rule) => `add rule ${T} ${name} ${rule}`));
  lines.push(`add element ${T} nodeport-ips { 192.168.50.10 }`);
  return `${lines.join('\n')}\n`;
}

/** As many characters as its hash has, and as well spread over the kernel's table of chains. */
function hash(text: string): string {
  let n = 2166136261;
  for (let i = 0; i < text.length; i++) n = Math.imul(n ^ text.charCodeAt(i), 16777619);
  return (n >>> 0).toString(36).toUpperCase().padStart(8, 'A').slice(-8);
}

function serviceName(index: number): string {
  const name = `ns-${index % 100}/service-${index}/tcp/http`;
  return `${hash(name)}-${name}`;
}

function endpointName(index: number, ip: string): string {
  const name = `ns-${index % 100}/service-${index}/tcp/http__${ip}/8080`;
  return `${hash(name)}-${name}`;
}

/** The chains of one Service; as in load.ts, `generation` moves its first endpoint to another address. */
function serviceChains(load: Load, index: number, layout: ReferenceLayout, generation: number): string[] {
  const chain = `service-${serviceName(index)}`;
  const lines = [`add chain ${T} ${chain}`, `flush chain ${T} ${chain}`];
  const ips = Array.from({ length: load.endpoints }, (_, i) =>
    i === 0 && generation > 0
      ? `10.127.${(generation >> 8) & 255}.${generation & 255}`
      : endpointIP(index * load.endpoints + i),
  );
  const random = `numgen random mod ${ips.length}`;
  if (layout === 'map') {
    const targets = ips.map((ip, i) => `${i} : ${ip} . 8080`).join(', ');
    lines.push(`add rule ${T} ${chain} meta l4proto tcp dnat ip to ${random} map { ${targets} }`);
    return lines;
  }
  for (const ip of ips) {
    const endpoint = `endpoint-${endpointName(index, ip)}`;
    lines.push(
      `add chain ${T} ${endpoint}`,
      `flush chain ${T} ${endpoint}`,
      `add rule ${T} ${endpoint} ip saddr ${ip} jump mark-for-masquerade`,
      `add rule ${T} ${endpoint} meta l4proto tcp dnat to ${ip}:8080`,
    );
  }
  const targets = ips.map((ip, i) => `${i} : goto endpoint-${endpointName(index, ip)}`).join(', ');
  lines.push(`add rule ${T} ${chain} ${random} vmap { ${targets} }`);
  return lines;
}

/** Services `from` up to, without, `to`. */
export function referenceServices(load: Load, layout: ReferenceLayout, from: number, to: number): string {
  const lines: string[] = [];
  for (let index = from; index < to; index++) {
    lines.push(...serviceChains(load, index, layout, 0));
    const ip = clusterIP(index);
    const note = `comment "ns-${index % 100}/service-${index}:http"`;
    lines.push(
      `add element ${T} cluster-ips { ${ip} ${note} }`,
      `add element ${T} service-ips { ${ip} . tcp . 80 ${note} : goto service-${serviceName(index)} }`,
    );
  }
  return `${lines.join('\n')}\n`;
}

/** A sync after one endpoint of one Service changed: only its chains. (A stale chain goes in a second transaction.) */
export function referenceChange(load: Load, layout: ReferenceLayout, index: number, generation: number): string {
  return `${serviceChains(load, index, layout, generation).join('\n')}\n`;
}
