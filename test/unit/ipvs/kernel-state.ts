/**
 * What the kernels hold for a family, apart from what is free: the numbers of marks, and real servers of weight 0 that
 * only keep what they have. Two states with the same text treat every connection alike.
 */
import * as assert from 'uvu/assert';
import type { Change, IPFamily } from '../../../core/backend.ts';
import { SET_NAMES, type SetName } from '../../../plugins/ipvs/layout.ts';
import type { Stage, StageOptions } from './stage.ts';
import { stage } from './stage.ts';

export interface KernelState {
  readonly servers: readonly string[];
  readonly addresses: readonly string[];
  readonly sets: Readonly<Record<string, readonly string[]>>;
  readonly chains: Readonly<Record<string, string>>;
}

const MARKS: readonly SetName[] = ['marks', 'nodeport-marks'];

export function kernelState(one: Stage, family: IPFamily): KernelState {
  const table = family === 'IPv4' ? 'ip' : 'ip6';
  const names = new Map<string, string>();
  for (const set of MARKS) {
    for (const row of one.elements(set, table)) {
      const [key = '', mark = ''] = row.split(' → ');
      names.set(mark, [...(names.get(mark)?.split(', ') ?? []), key].sort().join(', '));
    }
  }
  const named = (mark: string): string => {
    const name = names.get(mark);
    // Nothing that could be reached has it: a contested frontend.
    return name === undefined ? '<nobody>' : `<${name}>`;
  };
  const sets: Record<string, readonly string[]> = {};
  for (const set of SET_NAMES) {
    const rows = one.elements(set, table);
    if (MARKS.includes(set)) sets[set] = rows.map((row) => row.replace(/ → (\d+)$/, (_, mark) => ` → ${named(mark)}`));
    else if (set === 'mark-numbers') sets[set] = rows.map(named).sort();
    else sets[set] = rows;
  }
  const lines = one.servers(family).split('\n').filter(Boolean);
  const found = one.nftables.table(table, 'kube-ipvs');
  return {
    servers: lines
      .filter((line) => !/ -w 0\b/.test(line))
      .map((line) => line.replace(/ -f (\d+)/, (_, mark) => ` -f ${named(mark)}`))
      .sort(),
    addresses: one.addresses(family),
    sets,
    chains: Object.fromEntries((found?.chains ?? []).map(({ name, ...rest }) => [name, JSON.stringify(rest)])),
  };
}

export function assertSameState(actual: KernelState, wanted: KernelState): void {
  assert.equal(actual.servers, wanted.servers, 'servers');
  assert.equal(actual.addresses, wanted.addresses, 'addresses');
  for (const [set, rows] of Object.entries(wanted.sets)) assert.equal(actual.sets[set], rows, set);
  for (const [name, chain] of Object.entries(wanted.chains)) assert.is(actual.chains[name], chain, `chain ${name}`);
  assert.equal(Object.keys(actual.chains).sort(), Object.keys(wanted.chains).sort());
}

/** As on an empty host. */
export async function freshState(whole: Change, settings: StageOptions = {}): Promise<KernelState> {
  const fresh = stage(settings);
  await fresh.sync(whole);
  return kernelState(fresh, whole.family);
}

/** Real servers that wait although nothing keeps them: there are none once those without connections were looked at. */
export function assertNothingWaits(one: Stage, family: IPFamily): void {
  const lines = one.servers(family).split('\n');
  assert.equal(
    lines.filter((line) => / -w 0\b/.test(line) && !/ -u /.test(line) && !/ -f /.test(line)),
    [],
  );
}
