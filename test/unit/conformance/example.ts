/**
 * A backend that keeps the whole contract, on nf_tables in memory, and can be given one defect at a time. What it
 * programs is a chain for each service port, named after all that is in it; so that equal chains are equal states.
 */
import { createHash } from 'node:crypto';
import type {
  Backend,
  BackendPlugin,
  Change,
  HealthReporting,
  Host,
  Initializing,
  Inspectable,
  IPFamily,
  NftFamily,
  NftOperation,
  SelfChecking,
} from '../../../core/backend.ts';

const TABLE = 'example';
const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];
const tableFamily = (family: IPFamily): NftFamily => (family === 'IPv4' ? 'ip' : 'ip6');

type Example = Backend & SelfChecking & HealthReporting & Initializing & Inspectable;

/** What is wrong with it, each named after the behaviour that it breaks. */
export interface Defect {
  readonly plugin?: Partial<Record<keyof BackendPlugin, unknown>>;
  /** Before create() does anything. */
  readonly create?: (host: Host, options: Readonly<Record<string, unknown>>) => Promise<void>;
  /** The change that it acts upon instead. */
  readonly change?: (change: Change, state: ExampleState) => Change;
  readonly afterSync?: (host: Host, change: Change, state: ExampleState) => Promise<void>;
  /** Errors of the data plane that it swallows. */
  readonly swallows?: (error: unknown) => boolean;
  /** Ignores the exit status of its program. */
  readonly ignoresStatus?: boolean;
  readonly report?: unknown;
  /** Members that it has instead. */
  readonly members?: (example: Example, host: Host, state: ExampleState) => Partial<Record<string, unknown>>;
  /** Does not look at what another process left. */
  readonly forgetful?: boolean;
  /** Writes everything again each time. */
  readonly noisy?: boolean;
}

export interface ExampleState {
  /** Chain by service port, as committed. */
  readonly chains: Map<IPFamily, ReadonlyMap<string, string>>;
  readonly counts: { syncs: number; cleanups: number; closes: number; failures: number };
}

export function examplePlugin(defect: Defect = {}): BackendPlugin {
  const plugin: BackendPlugin = {
    name: 'example',
    apiVersion: 1,
    summary: 'chains in memory',
    async create(host, options) {
      for (const name of Object.keys(options)) {
        if (name !== 'known') throw Object.assign(new Error(`unknown option ${name}`), { code: 'KP_BACKEND_OPTION' });
      }
      await defect.create?.(host, options);
      return createExample(host, defect);
    },
    render: (changes) => changes.map((change) => `${change.family} ${change.upsert.map(({ key }) => key)}\n`).join(''),
  };
  return { ...plugin, ...(defect.plugin as Partial<BackendPlugin>) };
}

function createExample(host: Host, defect: Defect): Example {
  const state: ExampleState = { chains: new Map(), counts: { syncs: 0, cleanups: 0, closes: 0, failures: 0 } };
  const trusted = new Set<IPFamily>();
  const takeBack = host.metrics.register({
    name: 'example_syncs',
    type: 'counter',
    help: 'How many syncs there were.',
    labels: ['result'],
    read: () => [{ labels: { result: 'ok' }, value: state.counts.syncs }],
  });

  /** Chains that the kernel has; undefined if there is no table. */
  async function chainsThere(family: IPFamily): Promise<ReadonlySet<string> | undefined> {
    const content = await host.netlink.nftables().read(tableFamily(family), TABLE);
    return content && new Set(content.chains.map(({ name }) => name));
  }

  async function sync(given: Change) {
    const change = defect.change?.(given, state) ?? given;
    const { family } = change;
    state.counts.syncs++;
    const had = state.chains.get(family) ?? new Map<string, string>();
    const wanted = new Map(change.full ? [] : had);
    for (const key of change.remove) wanted.delete(key);
    for (const port of change.upsert) wanted.set(port.key, `port-${digest(port)}`);
    wanted.set('node', `node-${digest(change.node)}`);

    const there = change.full || !trusted.has(family) ? await chainsThere(family) : new Set(had.values());
    const isNew = there === undefined;
    const chains = new Set(wanted.values());
    const known = there ?? new Set<string>();
    const added = [...chains].filter((name) => !known.has(name) || defect.noisy);
    const gone = [...known].filter((name) => !chains.has(name) && !(defect.forgetful && !trusted.has(family)));
    const operations: NftOperation[] = [
      ...(isNew ? [{ do: 'add table', owned: false } as const] : []),
      ...added.map((name): NftOperation => ({ do: 'add chain', chain: { name } })),
      ...gone.map((name): NftOperation => ({ do: 'delete chain', chain: name })),
    ];
    trusted.delete(family);
    try {
      const { status } = await host.exec('example-tool', [family], { stdin: [...chains].join('\n') });
      if (status !== 0 && !defect.ignoresStatus) throw new Error(`example-tool ended with status ${status}`);
      if (operations.length > 0) {
        await host.netlink.nftables().commit({ family: tableFamily(family), table: TABLE, operations });
      }
    } catch (error) {
      state.counts.failures++;
      if (!defect.swallows?.(error)) throw error;
    }
    trusted.add(family);
    state.chains.set(family, wanted);
    await defect.afterSync?.(host, given, state);
    host.log.info('Synced', { family });
    return (defect.report ?? { operations: operations.length, bytes: operations.length * 20 }) as {
      operations: number;
      bytes: number;
    };
  }

  const example: Example = {
    families: FAMILIES,
    sync,
    async cleanup() {
      state.counts.cleanups++;
      for (const family of FAMILIES) {
        if ((await chainsThere(family)) === undefined) continue;
        const operations: readonly NftOperation[] = [{ do: 'delete table' }];
        await host.netlink.nftables().commit({ family: tableFamily(family), table: TABLE, operations });
      }
      state.chains.clear();
    },
    async close() {
      state.counts.closes++;
      takeBack();
    },
    async check(family) {
      const there = await chainsThere(family);
      const wanted = [...(state.chains.get(family)?.values() ?? [])];
      return wanted.every((name) => there?.has(name))
        ? { intact: true }
        : { intact: false, reason: 'a chain is missing' };
    },
    health: () => ({ healthy: true }),
    initialize(_family, node) {
      if (node.name === '') throw new Error('a node without a name');
    },
    async dump() {
      return [...state.chains].map(([family, ports]) => [family, ...[...ports].flat()].join('\n')).join('\n');
    },
  };
  return Object.assign(example, defect.members?.(example, host, state));
}

function digest(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 12);
}
