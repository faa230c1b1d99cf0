/** The parsers against garbage. Seeded, so that a failure can be repeated: its title names the seed. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseAttributes } from '../../../core/netlink/attributes.ts';
import { NetlinkError } from '../../../core/netlink/errors.ts';
import { createFakeTransport } from '../../../core/netlink/fake-transport.ts';
import { openIPSets } from '../../../core/netlink/ipset.ts';
import { parseMembers } from '../../../core/netlink/ipset-members.ts';
import { parseDone, parseError, parseMessages } from '../../../core/netlink/message.ts';
import { seeded } from '../model/random.ts';
import { createIPSetKernel } from './ipset-kernel.ts';

const ROUNDS = 3000;

/** Noise in which lengths tend to be plausible, so that parsers get beyond the first one. */
function garbage(random: (limit: number) => number): Uint8Array {
  const bytes = Uint8Array.from({ length: random(200) }, () => (random(3) === 0 ? 0 : random(256)));
  for (let at = 0; at + 4 <= bytes.length && random(8) > 0; ) {
    const length = random(3) === 0 ? bytes.length - at : 4 + random(bytes.length - at - 3);
    bytes[at] = length;
    bytes[at + 1] = 0;
    at += (length + 3) & ~3;
  }
  return bytes;
}

/** Change, cut or repeat something. */
function damage(datagram: Uint8Array, random: (limit: number) => number): Uint8Array {
  const copy = datagram.slice();
  for (let changes = 1 + random(4); changes > 0; changes--) {
    copy[random(copy.length)] = random(2) === 0 ? random(8) : random(256);
  }
  const kept = random(4) === 0 ? copy.subarray(0, random(copy.length + 1)) : copy;
  return random(8) === 0 ? Uint8Array.of(...kept, ...kept) : kept;
}

/** Only our own typed error may come out. */
function tolerate(act: () => unknown): 'error' | 'fine' {
  try {
    act();
    return 'fine';
  } catch (error) {
    if (error instanceof NetlinkError) return 'error';
    throw error;
  }
}

const fuzz = suite('netlink parsers and garbage');

for (const seed of [1, 2, 3]) {
  fuzz(`end with a typed error or a result for random bytes (seed ${seed})`, () => {
    const random = seeded(seed).below;
    const seen = { error: 0, fine: 0 };
    for (let round = 0; round < ROUNDS; round++) {
      const bytes = garbage(random);
      seen[tolerate(() => parseAttributes(bytes))]++;
      seen[tolerate(() => parseMembers(bytes, []))]++;
      seen[tolerate(() => parseMessages(bytes).map((message) => [parseError(message), parseDone(message)]))]++;
    }
    assert.ok(seen.error > 100 && seen.fine > 100, JSON.stringify(seen));
  });

  fuzz(`end with a typed error or a result for damaged answers of ipset (seed ${seed})`, () => {
    const random = seeded(seed).below;
    const seen = { error: 0, fine: 0 };
    for (let round = 0; round < ROUNDS; round++) {
      const kernel = createIPSetKernel();
      let opened = false;
      const sets = openIPSets(() =>
        createFakeTransport((request) => {
          const answers = kernel.answer(request);
          return opened ? answers.map((answer) => damage(answer, random)) : answers;
        }),
      );
      opened = true;
      const set = { name: 'KUBE-A', family: 'IPv4', timeoutSeconds: 10, maxElements: 100 } as const;
      const calls = [
        () => sets.createHashIP(set),
        () => sets.names(),
        () => sets.members('KUBE-A'),
        () => sets.destroy('KUBE-A'),
      ];
      kernel.create('KUBE-A', [{ ip: [10, 0, 0, 1], remaining: 5 }]);
      seen[tolerate(calls[random(calls.length)]!)]++;
    }
    assert.ok(seen.error > 100 && seen.fine > 100, JSON.stringify(seen));
  });
}

fuzz.run();
