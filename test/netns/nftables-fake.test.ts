/** The fake of core/netlink/nftables/ beside the kernel: what one takes or refuses, the other must. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { NetlinkError } from '../../core/netlink/errors.ts';
import { createFakeNftables, type FakeNftables } from '../../core/netlink/nftables/fake.ts';
import { type OpenNftables, openNftables } from '../../core/netlink/nftables/kernel.ts';
import type { Nftables, NftElement, NftSet } from '../../core/nftables.ts';
import { skip } from '../skip.ts';
import { CASES, type TransactionCase } from '../unit/netlink/nftables-cases.ts';
import { isolateTests } from './isolated.ts';
import { operationsFor, shapes } from './nftables-shapes.ts';

await isolateTests(['nftables']);
const kernel: OpenNftables = openNftables();
const persists = await kernel.supportsOwnership();
const test = suite('the fake and the kernel');

test.before.each(async () => {
  for (const family of ['ip', 'ip6'] as const) {
    for (const { name } of await kernel.tables(family)) {
      await kernel.commit({ family, table: name, operations: [{ do: 'delete table' }] });
    }
  }
});

/** "taken", or what the last transaction was refused with. */
async function outcome(nftables: Nftables, { transactions }: TransactionCase): Promise<string> {
  for (const [index, operations] of transactions.entries()) {
    try {
      await nftables.commit({ family: 'ip', table: 'kp', operations });
    } catch (error) {
      if (!(error instanceof NetlinkError) || index < transactions.length - 1) throw error;
      return `${error.code} ${error.operation}, ${error.object}: ${error.errno}`;
    }
  }
  return 'taken';
}

for (const one of CASES) {
  const title = `${one.title}: both ${one.refused ? `say ${one.refused[0]}` : 'take it'}`;
  const needsOwnership = one.transactions.some((operations) =>
    operations.some((step) => 'owned' in step && step.owned),
  );
  if (needsOwnership && !persists) skip(title, 'this kernel knows no owned tables that persist');
  else
    test(title, async () => {
      const real = await outcome(kernel, one);
      assert.is(await outcome(createFakeNftables(), one), real);
      assert.is(real === 'taken', one.refused === undefined, real);
    });
}

async function elementsOf(nftables: Nftables, set: NftSet): Promise<string[]> {
  const found: string[] = [];
  await nftables.elements('ip', 'shapes', set, ({ key, keyEnd = key, data, comment }) => {
    found.push(JSON.stringify({ key, keyEnd, data: printed(data), comment }));
  });
  return found.sort();
}

function printed(data: NftElement['data']): string {
  if (data === undefined) return '';
  return 'verdict' in data ? `${data.verdict} ${'chain' in data ? data.chain : ''}` : data.join(' . ');
}

test('both read back the same tables, chains, rules, sets and elements', async () => {
  const fake: FakeNftables = createFakeNftables();
  const table = shapes('ip');
  const transaction = { family: 'ip', table: table.name, operations: operationsFor(table, false) } as const;
  assert.equal(await fake.commit(transaction), await kernel.commit(transaction));
  assert.equal(await fake.tables('ip'), await kernel.tables('ip'));
  assert.equal(await fake.tables('ip6'), []);
  const [one, other] = [await fake.read('ip', table.name), await kernel.read('ip', table.name)];
  assert.equal(byName(one?.chains), byName(other?.chains));
  assert.equal(byName(one?.sets), byName(other?.sets));
  for (const set of table.sets) assert.equal(await elementsOf(fake, set), await elementsOf(kernel, set), set.name);
});

/** The kernel lists in an order of its own. */
function byName(objects: readonly { readonly name: string }[] = []) {
  return objects.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

test.after(() => kernel.close());
test.run();
