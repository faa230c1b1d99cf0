import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createDispatchTree, type DispatchTree } from '../../../plugins/iptables/dispatch-tree.ts';
import { frontendKey, portKey, prefixMatch } from '../../../plugins/iptables/frontend-key.ts';

const test = suite('dispatch tree');

/** Small deterministic generator (mulberry32), so that a failure can be repeated. */
function seeded(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function tree(addressDigits: number): DispatchTree {
  return createDispatchTree({
    rootChain: 'ROOT',
    chainName: (prefix) => `C-${prefix}`,
    match: (prefix) => prefixMatch(prefix, addressDigits).rule,
  });
}

type Chains = Map<string, readonly string[]>;

function takeInto(chains: Chains, from: DispatchTree): number {
  let written = 0;
  from.takeChanged((chain, rules) => {
    written += 1 + (rules?.length ?? 0);
    if (rules === undefined) chains.delete(chain);
    else chains.set(chain, rules);
  });
  return written;
}

function sorted(chains: Chains): [string, readonly string[]][] {
  return [...chains].sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Follow the rules as the kernel would for this key: jumps whose prefix matches, until a key's own rule. */
function lookup(chains: Chains, key: string): { found: string | undefined; met: number } {
  let met = 0;
  const walk = (chain: string): string | undefined => {
    for (const rule of chains.get(chain) ?? []) {
      met++;
      const target = / -j C-(\S+)$/.exec(rule)?.[1];
      if (target === undefined) {
        if (rule === `rule ${key}`) return rule;
      } else if (key.startsWith(target)) {
        const found = walk(`C-${target}`);
        if (found !== undefined) return found;
      }
    }
    return undefined;
  };
  return { found: walk('ROOT'), met };
}

for (const [title, addressDigits, makeKey] of [
  [
    'IPv4 frontends',
    16,
    (r: () => number) =>
      frontendKey(
        `10.${96 + Math.floor(r() * 2)}.${Math.floor(r() * 4)}.${Math.floor(r() * 40)}`,
        'TCP',
        80 + Math.floor(r() * 3),
      ),
  ],
  [
    'IPv6 frontends',
    64,
    (r: () => number) =>
      frontendKey(`fd00:10:96::${Math.floor(r() * 400).toString(16)}`, r() < 0.5 ? 'TCP' : 'UDP', 53),
  ],
  ['node ports', 0, (r: () => number) => portKey(r() < 0.3 ? 'UDP' : 'TCP', 30000 + Math.floor(r() * 300))],
] as const) {
  test(`whatever the order of changes, the chains for ${title} are those of a tree built afresh`, () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = seeded(seed);
      const live = new Set<string>();
      const subject = tree(addressDigits);
      const chains: Chains = new Map();
      for (let step = 0; step < 400; step++) {
        // Grow, then shrink: splits and collapses both happen.
        if (random() < (step < 200 ? 0.75 : 0.25)) {
          const key = makeKey(random);
          live.add(key);
          subject.set(key, [`rule ${key}`]);
        } else if (live.size > 0) {
          const key = [...live][Math.floor(random() * live.size)]!;
          live.delete(key);
          subject.delete(key);
        }
        if (random() < 0.3) takeInto(chains, subject);
      }
      takeInto(chains, subject);
      const fresh = tree(addressDigits);
      for (const key of live) fresh.set(key, [`rule ${key}`]);
      const expected: Chains = new Map();
      takeInto(expected, fresh);
      assert.equal(sorted(chains), sorted(expected), `seed ${seed}`);
      for (const key of live) assert.is(lookup(chains, key).found, `rule ${key}`);
    }
  });
}

test('among 10,000 frontends a lookup meets tens of rules, and one more frontend writes a few dozen lines', () => {
  const subject = tree(16);
  const chains: Chains = new Map();
  const keys: string[] = [];
  const random = seeded(7);
  while (keys.length < 10_000) {
    const n = Math.floor(random() * 2 ** 20);
    keys.push(frontendKey(`10.${96 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`, 'TCP', 80));
  }
  for (const key of keys) subject.set(key, [`rule ${key}`]);
  takeInto(chains, subject);
  const met = keys.map((key) => lookup(chains, key).met);
  assert.ok(Math.max(...met) < 64, `worst lookup meets ${Math.max(...met)} rules`);
  subject.set(frontendKey('10.96.255.254', 'UDP', 53), ['rule new']);
  const written = takeInto(chains, subject);
  assert.ok(written < 64, `${written} lines written`);
});

test('many ports on one address are told apart by port ranges', () => {
  const subject = tree(16);
  const chains: Chains = new Map();
  const keys = Array.from({ length: 500 }, (_, i) => frontendKey('192.168.50.10', 'TCP', 8000 + i));
  for (const key of keys) subject.set(key, [`rule ${key}`]);
  takeInto(chains, subject);
  for (const key of keys) {
    const { found, met } = lookup(chains, key);
    assert.is(found, `rule ${key}`);
    assert.ok(met < 64);
  }
});

test('nothing changed, nothing handed over', () => {
  const subject = tree(0);
  const chains: Chains = new Map();
  subject.set(portKey('TCP', 30000), ['a']);
  takeInto(chains, subject);
  assert.is(takeInto(chains, subject), 0);
});

test('a prefix is matched by address prefix, then protocol, then aligned port range', () => {
  const key = frontendKey('10.96.0.10', 'UDP', 53);
  assert.equal(prefixMatch(key.slice(0, 6), 16), { rule: '-d 10.96.0.0/12', label: '10.96.0.0-12' });
  assert.is(prefixMatch(key.slice(0, 17), 16).rule, '-d 10.96.0.10/32 -p udp');
  assert.is(prefixMatch(key.slice(0, 23), 16).rule, '-d 10.96.0.10/32 -p udp -m udp --dport 48:63');
  assert.is(prefixMatch(key, 16).rule, '-d 10.96.0.10/32 -p udp -m udp --dport 53');
  assert.is(prefixMatch(frontendKey('fd00:10:96::a', 'TCP', 80).slice(0, 62), 64).rule, '-d fd00:10:96::/124');
  assert.is(prefixMatch(portKey('TCP', 30000).slice(0, 5), 0).label, 'TCP-29952-30207');
  assert.is(prefixMatch(frontendKey('::', 'TCP', 80).slice(0, 4), 64).rule, '-d ::/8');
});

test.run();
