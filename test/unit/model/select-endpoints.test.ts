import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { SliceEndpoint } from '../../../core/model/objects.ts';
import { type Selector, selectEndpoints } from '../../../core/model/select-endpoints.ts';
import { HERE, sliceEndpoint, TERMINATING } from './samples.ts';

/** The last octets of what is chosen, for example { cluster: [1, 2], local: [1], any: true }. */
function choose(endpoints: readonly SliceEndpoint[], selector: Partial<Selector> = {}) {
  const candidates = endpoints.map((endpoint) => ({ endpoint, port: 8080 }));
  const asked = {
    nodeName: 'node-a',
    zone: 'zone-a',
    usesCluster: true,
    usesLocal: true,
    keepsFlows: false,
    ...selector,
  };
  const { cluster, local, hasEndpoints } = selectEndpoints(candidates, asked);
  const octets = (list: readonly { ip: string }[]) => list.map(({ ip }) => Number(ip.split('.')[3]));
  return { cluster: octets(cluster), local: octets(local), any: hasEndpoints };
}

const at = (octet: number, rest: Partial<SliceEndpoint> = {}): SliceEndpoint => sliceEndpoint(`10.0.0.${octet}`, rest);
const NOT_READY = { ready: false, serving: false, terminating: false } as const;
const ZONES = (...hintZones: string[]) => ({ hintZones });
const NODES = (...hintNodes: string[]) => ({ hintNodes, hintZones: ['zone-b'] });

type Case = readonly [string, readonly SliceEndpoint[], number[], number[], boolean, Partial<Selector>?];

const readiness = suite('readiness');
const READINESS: readonly Case[] = [
  ['without endpoints there is nothing', [], [], [], false],
  ['ready ones are used, those of this node locally', [at(1, HERE), at(2)], [1, 2], [1], true],
  ['one without a node is remote', [at(1, { nodeName: '' })], [1], [], true, { nodeName: '' }],
  ['one that is not ready is not used while another is', [at(1, NOT_READY), at(2)], [2], [], true],
  ['none is used that neither serves nor is ready', [at(1, { ...NOT_READY, ...HERE })], [], [], false],
  ['serving alone does not do', [at(1, { ...NOT_READY, ...HERE, serving: true })], [], [], false],
  ['terminating without serving does not do', [at(1, { ...TERMINATING, serving: false, ...HERE })], [], [], false],
  ['ready is trusted even when terminating', [at(1, { ...HERE, terminating: true })], [1], [1], true],
  ['ready is trusted even when not serving', [at(1, { ...HERE, serving: false })], [1], [1], true],
];
const fallback = suite('terminating fallback');
const FALLBACK: readonly Case[] = [
  [
    'terminating ones serve when none is ready',
    [at(1, { ...TERMINATING, ...HERE }), at(2, TERMINATING)],
    [1, 2],
    [1],
    true,
  ],
  [
    'a ready one elsewhere does not keep local ones from falling back',
    [at(1, { ...TERMINATING, ...HERE }), at(2)],
    [2],
    [1],
    true,
  ],
  ['a ready local one ends both fallbacks', [at(1, HERE), at(2, { ...TERMINATING, ...HERE })], [1], [1], true],
  ['remote terminating ones are not local', [at(1, TERMINATING)], [1], [], true],
  [
    'it ignores hints',
    [at(1, { ...TERMINATING, ...ZONES('zone-a') }), at(2, { ...TERMINATING, ...ZONES('zone-b') })],
    [1, 2],
    [],
    true,
  ],
];
const topology = suite('topology hints');
const TOPOLOGY: readonly Case[] = [
  ['zone hints keep traffic in the zone', [at(1, ZONES('zone-a')), at(2, ZONES('zone-b'))], [1], [], true],
  ['an endpoint may be for several zones', [at(1, ZONES('zone-b', 'zone-a')), at(2, ZONES('zone-b'))], [1], [], true],
  ['one ready endpoint without hint switches them off', [at(1, ZONES('zone-a')), at(2)], [1, 2], [], true],
  ['no hint for this zone switches them off', [at(1, ZONES('zone-b')), at(2, ZONES('zone-c'))], [1, 2], [], true],
  [
    'a node without zone follows no zone hint',
    [at(1, ZONES('')), at(2, ZONES('zone-b'))],
    [1, 2],
    [],
    true,
    { zone: '' },
  ],
  [
    'endpoints that are not ready do not count',
    [at(1, ZONES('zone-a')), at(2, ZONES('zone-b')), at(3, NOT_READY), at(4, TERMINATING)],
    [1],
    [],
    true,
  ],
  [
    'hints on endpoints that are not ready do not count',
    [at(1, { ...NOT_READY, ...ZONES('zone-a') }), at(2)],
    [2],
    [],
    true,
  ],
  ['node hints keep traffic on the node', [at(1, NODES('node-a')), at(2, NODES('node-b'))], [1], [], true],
  [
    'node hints come before zone hints',
    [at(1, { hintNodes: ['node-a'], hintZones: ['zone-b'] }), at(2, { hintNodes: ['node-b'], hintZones: ['zone-a'] })],
    [1],
    [],
    true,
  ],
  [
    'without a hint for this node, zone hints decide',
    [at(1, { hintNodes: ['node-c'], hintZones: ['zone-a'] }), at(2, { hintNodes: ['node-b'], hintZones: ['zone-b'] })],
    [1],
    [],
    true,
  ],
  [
    'one endpoint without node hint leaves it to the zone hints',
    [at(1, { hintNodes: ['node-a'], hintZones: ['zone-b'] }), at(2, { hintZones: ['zone-a'] })],
    [2],
    [],
    true,
  ],
  [
    'hints do not apply to local endpoints',
    [at(1, { ...HERE, ...ZONES('zone-b') }), at(2, ZONES('zone-a'))],
    [2],
    [1],
    true,
  ],
];
const use = suite('lists in use');
const USE: readonly Case[] = [
  ['an unused cluster list is empty', [at(1, HERE), at(2)], [], [1], true, { usesCluster: false }],
  ['an unused local list is empty', [at(1, HERE), at(2)], [1, 2], [], true, { usesLocal: false }],
  [
    'an unused local list does not fall back',
    [at(1, { ...TERMINATING, ...HERE })],
    [1],
    [],
    true,
    { usesLocal: false },
  ],
  ['endpoints elsewhere are known even if neither list has them', [at(2)], [], [], true, { usesCluster: false }],
  ['terminating ones elsewhere are known too', [at(2, TERMINATING)], [], [], true, { usesCluster: false }],
];

for (const [group, cases] of [
  [readiness, READINESS],
  [fallback, FALLBACK],
  [topology, TOPOLOGY],
  [use, USE],
] as const) {
  for (const [title, endpoints, cluster, local, any, selector] of cases) {
    group(title, () => assert.equal(choose(endpoints, selector), { cluster, local, any }));
  }
}

use('both lists hold the same object for an endpoint, and say whether it is ready and here', () => {
  const candidates = [{ endpoint: at(1, { ...TERMINATING, ...HERE }), port: 9000 }];
  const selector = { nodeName: 'node-a', zone: '', usesCluster: true, usesLocal: true, keepsFlows: true };
  const { cluster, local } = selectEndpoints(candidates, selector);
  assert.is(cluster[0], local[0]);
  assert.equal(cluster[0], {
    ip: '10.0.0.1',
    port: 9000,
    isLocal: true,
    ready: false,
    nodeName: 'node-a',
    zone: 'zone-a',
  });
});

const flows = suite('endpoints that keep their flows');

function kept(endpoints: readonly SliceEndpoint[], selector: Partial<Selector> = {}): number[] {
  const candidates = endpoints.map((endpoint) => ({ endpoint, port: 8080 }));
  const asked = { nodeName: 'node-a', zone: 'zone-a', usesCluster: true, usesLocal: true, keepsFlows: true };
  const { unchosen } = selectEndpoints(candidates, { ...asked, ...selector });
  return unchosen.map(({ ip }) => Number(ip.split('.')[3]));
}

for (const [title, endpoints, expected, selector] of [
  ['those that terminate but serve, while others are ready', [at(1), at(2, TERMINATING)], [2]],
  ['those that serve but are not ready', [at(1), at(2, { ...NOT_READY, serving: true })], [2]],
  ['those that hints keep from this node', [at(1, ZONES('zone-a')), at(2, ZONES('zone-b'))], [2]],
  ['those elsewhere, where only local ones are used', [at(1, HERE), at(2)], [2], { usesCluster: false }],
  ['ready ones that do not serve, for ready is trusted', [at(2, { serving: false })], [2], { usesCluster: false }],
  ['not those that are chosen', [at(1, HERE), at(2)], []],
  ['not those that neither serve nor are ready', [at(1), at(2, NOT_READY)], []],
  ['none where they are not asked for', [at(1), at(2, TERMINATING)], [], { keepsFlows: false }],
] as const) {
  flows(title, () => assert.equal(kept(endpoints, selector), expected));
}

for (const group of [readiness, fallback, topology, use, flows]) group.run();
