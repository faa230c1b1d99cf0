/**
 * How many rules a new connection meets: follows saved nat rules as the kernel does, for the matches that depend on
 * the destination; a random match takes its chance from a seeded generator.
 */
interface Rule {
  readonly destination: readonly [address: number, mask: number] | undefined;
  readonly ports: readonly [low: number, high: number] | undefined;
  readonly chance: number;
  /** The match cannot be met by this kind of packet (source or type of address, mark). */
  readonly never: boolean;
  readonly target: string;
}

export type Ruleset = ReadonlyMap<string, readonly Rule[]>;

function number(ip: string): number {
  return ip.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0);
}

export function parseRules(saved: string): Ruleset {
  const chains = new Map<string, Rule[]>();
  for (const line of saved.split('\n')) {
    const name = /^-A (\S+)/.exec(line)?.[1];
    if (name === undefined) continue;
    const [, ip, length = '32'] = /(?<!! )-d ([\d.]+)(?:\/(\d+))?/.exec(line) ?? [];
    const bits = Number(length);
    const mask = bits === 0 ? 0 : (0xffffffff << (32 - bits)) >>> 0;
    const [, low, high = low] = /--dport (\d+)(?::(\d+))?/.exec(line) ?? [];
    const rule: Rule = {
      destination: ip === undefined ? undefined : [(number(ip) & mask) >>> 0, mask],
      ports: low === undefined ? undefined : [Number(low), Number(high)],
      chance: Number(/--probability ([\d.]+)/.exec(line)?.[1] ?? 1),
      never: /addrtype|--mark|! -s/.test(line),
      target: / -[jg] (\S+)/.exec(line)?.[1] ?? '',
    };
    const chain = chains.get(name);
    if (chain === undefined) chains.set(name, [rule]);
    else chain.push(rule);
  }
  return chains;
}

/** Rules evaluated from the top of `chain` until the connection is translated, or until the end. */
export function rulesMet(rules: Ruleset, chain: string, ip: string, port: number, random: () => number): number {
  let met = 0;
  const address = number(ip);
  const walk = (name: string): boolean => {
    for (const rule of rules.get(name) ?? []) {
      met++;
      if (rule.never) continue;
      if (rule.destination && (address & rule.destination[1]) >>> 0 !== rule.destination[0]) continue;
      if (rule.ports && (port < rule.ports[0] || port > rule.ports[1])) continue;
      if (rule.chance < 1 && random() >= rule.chance) continue;
      if (rule.target === 'DNAT') return true;
      if (rules.has(rule.target) && walk(rule.target)) return true;
    }
    return false;
  };
  walk(chain);
  return met;
}
