/**
 * Who jumps where, followed from every chain that the kernel calls, as the kernel does before it takes a commit: not
 * more than 15 chains deep (which a loop exceeds, too), and nothing on the way that this hook cannot do.
 */
import type { NftHook, NftRule } from '../../nftables.ts';
import type { FakeTable } from './fake-state.ts';

/** NFT_JUMP_STACK_SIZE. */
const TOO_DEEP = 16;

/** Undefined if all is well. */
export function graphFault(table: FakeTable): 'EMLINK' | 'EOPNOTSUPP' | undefined {
  for (const { name, hook } of table.chains.values()) {
    const fault = hook && faultBelow(table, name, hook, 0, new Map());
    if (fault !== undefined) return fault;
  }
  return undefined;
}

function faultBelow(
  table: FakeTable,
  name: string,
  hook: NftHook,
  level: number,
  /** The deepest level at which a chain was found good. */
  good: Map<string, number>,
): 'EMLINK' | 'EOPNOTSUPP' | undefined {
  if (level === TOO_DEEP) return 'EMLINK';
  if ((good.get(name) ?? -1) >= level) return undefined;
  for (const rule of table.chains.get(name)?.rules ?? []) {
    if (!isPossible(rule, hook)) return 'EOPNOTSUPP';
    for (const target of targets(table, rule)) {
      const fault = faultBelow(table, target, hook, level + 1, good);
      if (fault !== undefined) return fault;
    }
  }
  good.set(name, level);
  return undefined;
}

function* targets(table: FakeTable, { statements }: NftRule): Generator<string> {
  for (const statement of statements) {
    if ('chain' in statement) yield statement.chain;
    else if ('vmap' in statement) yield* table.sets.get(statement.vmap.map)?.targets.keys() ?? [];
  }
}

function isPossible({ statements }: NftRule, { type, hook }: NftHook): boolean {
  return statements.every((statement) => {
    if ('dnat' in statement) return type === 'nat' && (hook === 'prerouting' || hook === 'output');
    if ('masquerade' in statement) return type === 'nat' && hook === 'postrouting';
    return !('reject' in statement) || hook !== 'postrouting';
  });
}
