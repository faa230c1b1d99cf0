/** `kube-proxy plugin test ipvs`: the contract, and what connections meet. */
import { spawnSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PACKET_BEHAVIOURS } from '../conformance/packets.ts';
import { programFromSources } from '../netns/from-sources.ts';
import { onlyInVm } from './inside.ts';

onlyInVm();
const test = suite('ipvs and the conformance kit');

interface Behaviour {
  readonly id: string;
  readonly part: string;
  readonly verdict: string;
  readonly why?: string;
}

function ask(...words: readonly string[]): {
  readonly status: number | null;
  readonly behaviours: readonly Behaviour[];
} {
  const [command, ...args] = [...programFromSources(), 'plugin', 'test', 'ipvs', '--output', 'json', ...words];
  const { status, stdout, stderr } = spawnSync(command!, args, { encoding: 'utf8' });
  try {
    return { status, behaviours: (JSON.parse(stdout) as { behaviours: readonly Behaviour[] }).behaviours };
  } catch {
    throw new Error(`no JSON (status ${status}): ${stdout}${stderr}`);
  }
}

const told = (behaviours: readonly Behaviour[], verdict: string): readonly Behaviour[] =>
  behaviours.filter((each) => each.verdict === verdict);

test('ipvs keeps the contract, and the kit sees its work', () => {
  const { status, behaviours } = ask('--packets', 'no');
  assert.equal(told(behaviours, 'fails'), []);
  assert.is(status, 0);
  const holding = told(behaviours, 'holds').map(({ id }) => id);
  for (const id of ['cleanup-complete', 'check-notices', 'sync-rejects', 'close-keeps-rules', 'foreign']) {
    assert.ok(holding.includes(id), `${id}: ${JSON.stringify(behaviours.find((each) => each.id === id))}`);
  }
});

test('connections meet under ipvs what the contract says', () => {
  const { status, behaviours } = ask('--packets', 'only');
  assert.equal(told(behaviours, 'fails'), []);
  assert.is(status, 0);
  const packets = behaviours.filter(({ part }) => part === 'packets');
  assert.equal(packets.map(({ id }) => id).sort(), PACKET_BEHAVIOURS.map(({ id }) => id).sort());
  const untried = packets.filter(({ verdict }) => verdict !== 'holds').map(({ id }) => id);
  assert.equal(untried, ['node-port-on-localhost']);
});

test.run();
