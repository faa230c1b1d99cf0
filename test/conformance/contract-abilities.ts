/** Behaviours of what a backend need not have: checks, health, initialize, render, metrics, and of its log. */
import type { Printers } from '../../core/backend.ts';
import { type Behaviour, brief, broken, doubtful, sayThrown, untried } from './behaviour.ts';
import { FILE, LISTENER } from './evidence.ts';
import { full, partial, SAMPLE_ADDRESSES, type State, type States, statesOf } from './sample-cluster.ts';
import { eachFamily, needsSight, synced, type Trial } from './trial.ts';
import { varyingMessages } from './varying-messages.ts';

type Check = { readonly intact: boolean; readonly reason?: string };

function readCheck(raw: unknown): Check {
  const { intact, reason } = (typeof raw === 'object' && raw !== null ? raw : {}) as Partial<Check>;
  if (intact === true) return { intact };
  if (intact === false && typeof reason === 'string' && reason !== '') return { intact, reason };
  throw broken('{ intact: true } or { intact: false, reason }', brief(raw));
}

function readHealth(raw: unknown): void {
  const { healthy, reason } = (typeof raw === 'object' && raw !== null ? raw : {}) as Readonly<Record<string, unknown>>;
  if (healthy === true || (healthy === false && typeof reason === 'string' && reason !== '')) return;
  throw broken('{ healthy: true } or { healthy: false, reason }', brief(raw));
}

/** `opened`: called before the first sync. */
async function withCheck(trial: Trial, opened: () => Promise<void> = async () => {}) {
  const instance = await trial.open();
  const { backend } = instance;
  if (typeof backend.check !== 'function') throw untried('it has no check()');
  const check = async (family: (typeof instance.families)[number]): Promise<Check> =>
    readCheck(await trial.within(`check("${family}")`, () => backend.check!(family)));
  await opened();
  await eachFamily(trial, instance, async ({ few }) => void (await instance.sync(full(few))));
  return { instance, check };
}

/** What a new instance logs for a full sync and a partial one, and names and addresses of what it was told. */
async function logOf(trial: Trial, pick: (states: States) => readonly [State, State]) {
  await trial.tidy();
  const used: string[] = [];
  const instance = await trial.open();
  await eachFamily(trial, instance, async (states) => {
    const [first, next] = pick(states);
    await instance.sync(full(first));
    await instance.sync(partial(first, next));
    for (const { key, namespace, name, clusterIP, cluster } of [...first.ports, ...next.ports]) {
      used.push(key, `${namespace}/${name}`, clusterIP, ...cluster.map(({ ip }) => ip));
    }
  });
  await instance.close().catch(() => {});
  return [instance.watched.log.map(({ message }) => String(message)), used] as const;
}

/** In place of the program's own, whose text is nothing to the kit. */
const PRINTERS: Printers = { nftables: (table) => `${JSON.stringify(table, (_, value: unknown) => listed(value))}\n` };

/** Elements may come from a generator. */
function listed(value: unknown): unknown {
  const isIterable = typeof value === 'object' && value !== null && Symbol.iterator in value && !Array.isArray(value);
  return isIterable ? [...(value as Iterable<unknown>)] : value;
}

export const ABILITY_BEHAVIOURS: readonly Behaviour[] = [
  {
    id: 'check-intact',
    needs: ['sync', 'abilities'],
    sentence: 'After a sync, check() finds everything in place',
    contract: 'SelfChecking.check(): { intact: true }; "`intact: false` makes the next sync full, at once"',
    remedy:
      'return { intact: true } while what was committed is there: anything else leads to a full sync every few seconds',
    async try(trial) {
      const { instance, check } = await withCheck(trial);
      await eachFamily(trial, instance, async ({ family }) => {
        const { intact, reason } = await check(family);
        if (!intact) throw broken('{ intact: true }', `not intact: ${reason}`);
      });
      return undefined;
    },
  },
  {
    id: 'check-notices',
    needs: ['check-intact', 'cleanup'],
    sentence: 'check() notices when somebody takes away what was committed',
    contract: 'SelfChecking.check(): tells "whether what it committed is still in place (someone may flush it)"',
    remedy: 'look at the data plane, not at what you remember',
    async try(trial) {
      needsSight(trial);
      let bare: readonly string[] = [];
      const { instance, check } = await withCheck(trial, async () => {
        bare = await trial.evidence.look();
      });
      const committed = (await trial.evidence.look()).filter((line) => !bare.includes(line));
      await trial.evidence.wipe();
      const left = await trial.evidence.look();
      if (committed.every((line) => left.includes(line))) {
        throw untried('the kit cannot take away what it committed: it is no table of nf_tables, or one with an owner');
      }
      const found: boolean[] = [];
      await eachFamily(trial, instance, async ({ family }) => void found.push((await check(family)).intact));
      if (found.includes(true)) throw broken('{ intact: false, reason }', '{ intact: true } with its tables deleted');
      await eachFamily(trial, instance, async ({ few }) => void (await instance.sync(full(few))));
      const restored = await trial.evidence.look();
      // Files may be another program's, which it had running and whose number is in them; sockets may have any port.
      const expected = committed.filter((line) => !line.startsWith(FILE) && !line.startsWith(LISTENER));
      const missing = expected.filter((line) => !restored.includes(line));
      if (missing.length > 0) {
        const named = missing.slice(0, 3).join('; ') + (missing.length > 3 ? `; and ${missing.length - 3} more` : '');
        const seen = `${missing.length} of ${expected.length} objects missing: ${named}`;
        throw broken('the full sync that follows to restore all', seen);
      }
      return undefined;
    },
  },
  {
    id: 'health',
    needs: ['sync', 'abilities'],
    sentence: 'health() says that it is healthy, or why not',
    contract: 'HealthReporting.health(): { healthy: true } or { healthy: false, reason }',
    remedy: 'return one of the two, at any time, without throwing',
    async try(trial) {
      const fresh = await trial.open();
      if (typeof fresh.backend.health !== 'function') throw untried('it has no health()');
      const ask = (when: string): unknown => {
        try {
          return fresh.backend.health!();
        } catch (error) {
          throw broken(`an answer ${when}`, `it threw: ${sayThrown(error)}`);
        }
      };
      readHealth(ask('before the first sync'));
      await eachFamily(trial, fresh, async ({ few }) => void (await fresh.sync(full(few))));
      readHealth(ask('after a sync'));
      return undefined;
    },
  },
  {
    id: 'initialize',
    needs: ['sync', 'abilities'],
    sentence: 'initialize() sets the parameters of a node before its first sync',
    contract: 'Initializing.initialize(): "set those that a sync of this node would set"',
    remedy: 'set kernel parameters with host.sysctl.ensure only; nothing else belongs there',
    async try(trial) {
      const instance = await trial.open();
      if (typeof instance.backend.initialize !== 'function') throw untried('it has no initialize()');
      await eachFamily(trial, instance, async ({ family, few }) => {
        try {
          instance.backend.initialize!(family, few.node);
        } catch (error) {
          throw broken('no error', sayThrown(error));
        }
      });
      return undefined;
    },
  },
  {
    id: 'metrics',
    needs: ['sync'],
    sentence: 'Its metrics can be read',
    contract: 'PluginMetric.read(): values, each with all labels that were named',
    remedy: 'return [{ labels: { …all of them }, value: 12 }]',
    async try(trial) {
      const { watched } = await synced(trial, ({ few }) => few);
      if (watched.metrics.size === 0) throw untried('it registers none');
      for (const { name, type, help, labels = [], read } of watched.metrics) {
        if (!/^[a-z_][a-z0-9_]*$/i.test(name)) throw broken('a name of letters, digits and underscores', brief(name));
        if (!['counter', 'gauge'].includes(type)) throw broken(`${name}: type counter or gauge`, brief(type));
        if (typeof help !== 'string' || help === '') throw broken(`${name}: a sentence of help`, brief(help));
        const values = await trial.within(`read() of ${name}`, async () => read());
        if (!Array.isArray(values)) throw broken(`${name}: a list of values`, brief(values));
        for (const value of values as readonly { value?: unknown; labels?: object }[]) {
          if (typeof value?.value !== 'number') throw broken(`${name}: { value: number }`, brief(value));
          const given = Object.keys(value.labels ?? {})
            .sort()
            .join(', ');
          if (given !== [...labels].sort().join(', '))
            throw broken(`${name}: labels ${labels.join(', ') || '(none)'}`, given);
        }
      }
      return { note: `${watched.metrics.size} metrics` };
    },
  },
  {
    id: 'constant-messages',
    needs: ['sync'],
    sentence: 'Messages of its log are constant sentences',
    contract: 'Logger: "Messages are constant sentences; what varies goes into `values`."',
    remedy: 'log.info("Synced a Service", { key: port.key }) instead of a message with the key in it',
    async try(trial) {
      const [few, usedFew] = await logOf(trial, ({ few, moved }) => [few, moved]);
      const [others, usedOthers] = await logOf(trial, ({ others, empty }) => [others, empty]);
      const used = [...usedFew, ...usedOthers];
      const found = few.find((message) => used.some((text) => text.length > 4 && message.includes(text)));
      if (found !== undefined) throw doubtful('no keys and addresses in messages', `"${found}"`);
      const varying = varyingMessages([few, others], used);
      if (varying) {
        const seen = varying.map((message) => `"${message}"`).join(' and ');
        throw doubtful('the same messages, whatever the Services are', `${seen}, for different Services`);
      }
      return undefined;
    },
  },
];

/** Of render(), which needs no host: these can be tried anywhere. */
export const RENDER_BEHAVIOURS: readonly Behaviour[] = [
  {
    id: 'render',
    sentence: 'render() prints text for every kind of Service, without a host',
    contract: 'BackendPlugin.render(): "Pure: no I/O and no privilege; one change per family."',
    remedy: 'make the text from the changes and options alone',
    async try(trial) {
      renderAll(trial);
      return undefined;
    },
  },
  {
    id: 'render-same',
    needs: ['render'],
    sentence: 'render() prints the same text for the same changes, and leaves them as they are',
    contract: 'BackendPlugin.render(): "print exactly what a first sync of these full changes writes"',
    remedy: 'no time, no random numbers, no counters that go on from call to call; copy before sorting',
    async try(trial) {
      const changes = renderedChanges();
      const before = JSON.stringify(changes);
      const first = renderAll(trial, changes);
      if (JSON.stringify(changes) !== before) throw broken('the changes as they were', 'they were changed');
      if (renderAll(trial) !== first) throw broken('the same text again', 'another text');
      return undefined;
    },
  },
];

function renderedChanges() {
  return (['IPv4', 'IPv6'] as const).map((family) => full(statesOf(family, SAMPLE_ADDRESSES).every));
}

function renderAll({ subject: { plugin, options } }: Trial, changes = renderedChanges()): string {
  if (typeof plugin.render !== 'function') throw untried('it has no render()');
  let text: unknown;
  try {
    text = plugin.render(changes, options, PRINTERS);
  } catch (error) {
    throw broken('text', `it threw: ${sayThrown(error)}`);
  }
  if (typeof text !== 'string') throw broken('text', brief(text));
  return text;
}
