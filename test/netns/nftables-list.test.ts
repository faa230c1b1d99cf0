/**
 * Whatever plugins can write, every nft at hand must be able to list: an operator's `nft list ruleset` that aborts on
 * our table is broken for the whole host. And our own printer must say what nft says.
 */
import { spawnSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { insideIsolation } from '../../build/isolate.ts';
import { fetchNftVersions, nftVersions } from '../../build/nft-versions.ts';
import { openNftables } from '../../core/netlink/nftables/kernel.ts';
import { printTable } from '../../core/netlink/nftables/text.ts';
import type { NftFamily, NftTable } from '../../core/nftables.ts';
import { createPlanner } from '../../plugins/nftables/plan.ts';
import { tableOf } from '../../plugins/shared/table/whole.ts';
import { changesOf, goldenCases } from '../golden/cases.ts';
import { skip } from '../skip.ts';
import { isolateTests } from './isolated.ts';
import { operationsFor, shapes } from './nftables-shapes.ts';
import { normalLines, normalTable } from './nftables-text.ts';

// Inside there is no network.
if (!insideIsolation()) fetchNftVersions();
await isolateTests(['nftables']);

const FAMILIES: readonly NftFamily[] = ['ip', 'ip6'];
const nftables = openNftables();
const [installed, ...others] = nftVersions();
const test = suite('nft lists what we write');

function nft(command: readonly string[], ...args: readonly string[]): string {
  const [program = '', ...before] = command;
  const { status, signal, stdout, stderr } = spawnSync(program, [...before, ...args], { encoding: 'utf8' });
  assert.is(status, 0, `nft ${args.join(' ')} ended with ${status ?? signal}: ${stderr}`);
  return stdout;
}

/** Every command that an operator might type, of every version. */
function listAll(command: readonly string[]): void {
  const ruleset = nft(command, 'list', 'ruleset');
  const json = JSON.parse(nft(command, '-j', 'list', 'ruleset')) as { nftables: Record<string, { name?: string }>[] };
  for (const family of FAMILIES) {
    const { name, sets, chains } = shapes(family);
    for (const set of sets) {
      const kind = set.data === undefined ? 'set' : 'map';
      const text = nft(command, 'list', kind, family, name, set.name);
      assert.ok(text.includes(`${kind} ${set.name} {`));
      assert.ok(ruleset.includes(`${kind} ${set.name} {`));
      nft(command, '-j', 'list', kind, family, name, set.name);
      assert.ok(
        json.nftables.some((object) => object[kind]?.name === set.name),
        `${set.name} in JSON`,
      );
    }
    for (const chain of chains) nft(command, 'list', 'chain', family, name, chain.name);
    const table = nft(command, 'list', 'table', family, name);
    // What nft prints of what it cannot interpret.
    const nonsense = table.split('\n').filter((line) => /\[invalid type\]|unknown|<|\(null\)/.test(line));
    assert.equal(
      nonsense.filter((line) => !isKnownNonsense(line)),
      [],
    );
    const rules = chains.reduce((sum, chain) => sum + chain.rules.length, 0);
    assert.is(
      json.nftables.filter((object) => object.rule && String(Reflect.get(object.rule, 'family')) === family).length,
      rules,
    );
  }
}

/** 1.0.6 does not know a port without a protocol, though its number is right; an owner without a name is "(null)". */
function isKnownNonsense(line: string): boolean {
  return line.includes('ct original proto-dst != 0x50 [invalid type]') || line.endsWith('# progname (null)');
}

async function write(table: NftTable, owned: boolean): Promise<void> {
  await nftables.commit({ family: table.family, table: table.name, operations: operationsFor(table, owned) });
}

async function clear(): Promise<void> {
  for (const family of FAMILIES) {
    for (const { name } of await nftables.tables(family)) {
      await nftables.commit({ family, table: name, operations: [{ do: 'delete table' }] });
    }
  }
}

test.before.each(clear);

for (const nftVersion of [installed, ...others]) {
  if (nftVersion === undefined) continue;
  if ('missing' in nftVersion) {
    skip(`nft ${nftVersion.version} lists every set and statement`, nftVersion.missing);
    continue;
  }
  const { version, command } = nftVersion;
  test(`nft ${version} lists every set and statement of both families, as text and as JSON`, async () => {
    for (const family of FAMILIES) await write(shapes(family), false);
    listAll(command);
  });

  test(`nft ${version} lists tables that have an owner`, async () => {
    if (!(await nftables.supportsOwnership()))
      return skip(`nft ${version} lists tables that have an owner`, 'this kernel knows none');
    for (const family of FAMILIES) await write(shapes(family), true);
    listAll(command);
  });

  test(`nft ${version} says what printTable says`, async () => {
    for (const family of FAMILIES) {
      const table = shapes(family);
      await write(table, false);
      assert.equal(normalLines(nft(command, 'list', 'table', family, table.name)), normalLines(printTable(table)));
    }
  });

  test(`nft ${version} lists what the backend makes of Services of every kind`, async () => {
    for (const golden of goldenCases()) {
      for (const change of await changesOf(golden, 'nftables')) {
        const planner = createPlanner({ family: change.family, comments: true });
        planner.adopt(change, undefined);
        const table = tableOf(planner);
        await write(table, false);
        const listed = nft(command, 'list', 'ruleset');
        assert.equal(normalTable(listed), normalTable(printTable(table)), golden.name);
        JSON.parse(nft(command, '-j', 'list', 'ruleset'));
        await clear();
      }
    }
  });
}

test.after(() => nftables.close());
test.run();
