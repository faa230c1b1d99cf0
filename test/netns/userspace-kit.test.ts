/**
 * `kube-proxy plugin test userspace`: the contract, and what connections meet, but for what a proxy cannot do by nature. The
 * kit makes a network of its own.
 */
import { spawnSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PACKET_BEHAVIOURS } from '../conformance/packets.ts';
import { programFromSources } from './from-sources.ts';

const test = suite('userspace and the conformance kit');

interface Behaviour {
  readonly id: string;
  readonly part: string;
  readonly verdict: string;
  readonly why?: string;
}

test('every behaviour of the contract that can be tried holds, and so do those of packets', () => {
  const [command = '', ...args] = [...programFromSources(), 'plugin', 'test', 'userspace', '--output', 'json'];
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  assert.is(status, 0, `${stdout}${stderr}`);
  const { behaviours } = JSON.parse(stdout) as { behaviours: readonly Behaviour[] };
  const others = behaviours.filter(({ part, verdict }) => part === 'packets' && verdict !== 'holds');
  assert.ok(behaviours.length - others.length > 40);
  assert.equal(others.map(({ id }) => id).sort(), ['external-ip', 'restart', 'sctp', 'source-kept']);
  assert.ok(PACKET_BEHAVIOURS.some(({ id }) => id === 'restart'));
});

test.run();
