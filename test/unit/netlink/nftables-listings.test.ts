/**
 * Listings of nf_tables: whole, changing while they are read, and damaged, of which only a typed error or a result may
 * come. What the kernel lists is laid out as
 * what creates it, so a transaction's own messages, answered back, make the listings. Seeded, so that a failure can be
 * repeated.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { NetlinkError } from '../../../core/netlink/errors.ts';
import { createFakeTransport } from '../../../core/netlink/fake-transport.ts';
import { parseMessages } from '../../../core/netlink/message.ts';
import { createBatchEncoder } from '../../../core/netlink/nftables/batch.ts';
import { openNftables } from '../../../core/netlink/nftables/kernel.ts';
import { createMessageWriter } from '../../../core/netlink/writer.ts';
import type { NftElement, NftRule, NftSet } from '../../../core/nftables.ts';
import { seeded } from '../model/random.ts';

const ROUNDS = 2000;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const GETGEN = 0xa10;

const SERVICES: NftSet = {
  name: 'services',
  key: ['ipv4_addr', 'inet_proto', 'inet_service'],
  data: ['mark'],
  comment: 'x',
};
const LB: NftSet = { name: 'lb', key: ['mark'], data: 'verdict' };
const RANGES: NftSet = { name: 'ranges', key: ['ipv4_addr'], interval: true };
const RULES: readonly NftRule[] = [
  { statements: [{ priority: { map: 'services', key: ['ip daddr', 'meta l4proto', 'th dport'] } }], comment: 'first' },
  {
    statements: [
      { match: 'ip saddr', within: '10.0.0.0/12' },
      { verdict: 'jump', chain: 'c' },
    ],
  },
  { statements: [{ dnat: { map: 'endpoints', key: ['ip daddr', { random: 3 }] } }, { counter: true }] },
];
const ELEMENTS: readonly (readonly [NftSet, readonly NftElement[]])[] = [
  [SERVICES, [{ key: ['10.96.0.1', 'tcp', 80], data: [3], comment: 'ns/name' }]],
  [LB, [{ key: [3], data: { verdict: 'goto', chain: 'c' } }]],
  [RANGES, [{ key: ['10.0.0.0'], keyEnd: ['10.0.0.255'] }]],
];

const created = parseMessages(
  createBatchEncoder()
    .encode(
      {
        family: 'ip',
        table: 'kp',
        operations: [
          { do: 'add table', owned: true, comment: 'ours' },
          ...ELEMENTS.map(([set]) => ({ do: 'add set', set }) as const),
          { do: 'add chain', chain: { name: 'c', hook: { type: 'nat', hook: 'output', priority: -100 } } },
          ...RULES.map((rule) => ({ do: 'add rule', chain: 'c', rule }) as const),
          ...ELEMENTS.map(([set, elements]) => ({ do: 'add elements', set, elements }) as const),
        ],
      },
      1,
      true,
    )
    .bytes.slice(),
);

/** What the kernel lists: type of the objects = type of the request - 1. */
function answer(request: Uint8Array): Uint8Array[] {
  const { type, sequence, flags, payload } = parseMessages(request)[0]!;
  const writer = createMessageWriter();
  const say = (kind: number, content: Uint8Array) => {
    writer.begin({ type: kind, flags: 2, sequence });
    writer.raw(content);
    writer.end();
  };
  if (type === GETGEN) say(0xa0f, Uint8Array.of(0, 0, 0, 0, 8, 0, 1, 0, 0, 0, 0, 7));
  for (const object of created) {
    // Of elements, those of the set that was asked for.
    const isAsked = type !== 0xa0d || Buffer.from(object.payload).includes(Buffer.from(payload.subarray(12, 24)));
    if (object.type === type - 1 && isAsked) say(object.type, object.payload);
  }
  const isDump = (flags & 0x300) !== 0;
  say(isDump ? NLMSG_DONE : NLMSG_ERROR, isDump ? new Uint8Array(4) : new Uint8Array(20));
  return [writer.bytes().slice()];
}

/** Flip, cut, lengthen or repeat. Flags stay: an "interrupted" would only make the reader ask again, and wait. */
function damage(datagram: Uint8Array, random: (limit: number) => number): Uint8Array {
  const copy = datagram.slice();
  for (let changes = random(4); changes > 0; changes--) {
    const at = 16 + random(copy.length - 16);
    copy[at] = random(2) === 0 ? random(16) : random(256);
  }
  const kept = random(6) === 0 ? copy.subarray(0, random(copy.length + 1)) : copy;
  return random(8) === 0 ? Uint8Array.of(...kept, ...copy.subarray(4 * random(copy.length >> 2))) : kept;
}

const listings = suite('nf_tables listings');

listings('undamaged are read to the fingerprints of what was created', async () => {
  const tables = openNftables(() => createFakeTransport(answer));
  const content = await tables.read('ip', 'kp');
  assert.equal(
    [content?.comment, content?.owned, content?.chains[0]?.rules],
    ['ours', true, RULES.map((rule) => tables.fingerprint('ip', rule))],
  );
  assert.equal(
    content?.sets,
    ELEMENTS.map(([set]) => ({ name: set.name, fingerprint: tables.setFingerprint('ip', set) })),
  );
  const seen: NftElement[] = [];
  for (const [set] of ELEMENTS) await tables.elements('ip', 'kp', set, (element) => seen.push(element));
  assert.equal(
    seen,
    ELEMENTS.flatMap(([, elements]) => elements),
  );
});

/** The same datagrams, the first message marked as interrupted. */
function interrupted(datagrams: readonly Uint8Array[]): Uint8Array[] {
  return datagrams.map((datagram) => {
    const copy = datagram.slice();
    new DataView(copy.buffer).setUint16(6, 0x12, true);
    return copy;
  });
}

listings('of elements that changed meanwhile are repeated, and only the last is handed out', async () => {
  let asked = 0;
  const tables = openNftables(() =>
    createFakeTransport((request) => (++asked < 3 ? interrupted(answer(request)) : answer(request))),
  );
  const seen: NftElement[] = [];
  await tables.elements('ip', 'kp', SERVICES, (element) => seen.push(element));
  assert.equal([asked, seen], [3, ELEMENTS[0]![1]]);
});

listings('of elements that change all the time end with an error', async () => {
  const tables = openNftables(() => createFakeTransport((request) => interrupted(answer(request))));
  let error: unknown;
  await tables
    .elements('ip', 'kp', SERVICES, () => assert.unreachable('an element'))
    .catch((reason) => {
      error = reason;
    });
  assert.match(
    (error as NetlinkError).message,
    /^nftables list elements ip kp services: nf_tables changed during each/,
  );
});

listings('of a table are repeated until nothing was committed meanwhile', async () => {
  for (const kind of ['generation', 'interruption']) {
    let generations = 0;
    let tablesAsked = 0;
    const tables = openNftables(() =>
      createFakeTransport((request) => {
        const { type } = parseMessages(request)[0]!;
        if (type === 0xa01) tablesAsked++;
        const answers = answer(request);
        // The second answer, which ends the first listing, differs from the first.
        if (kind === 'generation' && type === GETGEN && ++generations === 2) answers[0]![27] = 8;
        return kind === 'interruption' && type === 0xa07 && tablesAsked === 1 ? interrupted(answers) : answers;
      }),
    );
    assert.is((await tables.read('ip', 'kp'))?.chains[0]?.rules.length, RULES.length);
    assert.is(tablesAsked, 2, kind);
  }
});

for (const seed of [1, 2, 3]) {
  listings(`damaged end with a typed error or a result (seed ${seed})`, async () => {
    const random = seeded(seed).below;
    const seen = { error: 0, fine: 0 };
    for (let round = 0; round < ROUNDS; round++) {
      const tables = openNftables(() =>
        createFakeTransport((request) => {
          const isGeneration = parseMessages(request)[0]!.type === GETGEN;
          return answer(request).map((datagram) =>
            isGeneration || random(2) === 0 ? datagram : damage(datagram, random),
          );
        }),
      );
      const [set] = ELEMENTS[random(ELEMENTS.length)]!;
      try {
        if (random(2) === 0) await tables.read('ip', 'kp');
        else await tables.elements('ip', 'kp', set, () => {});
        seen.fine++;
      } catch (error) {
        if (!(error instanceof NetlinkError)) throw error;
        assert.match(error.message, /^nftables /);
        seen.error++;
      }
    }
    assert.ok(seen.error > 300 && seen.fine > 300, JSON.stringify(seen));
  });
}

listings.run();
