/** Each behaviour of the contract fails for the backend that breaks it, and for no other. */
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Change, ServicePort } from '../../../core/backend.ts';
import { CONTRACT } from '../../conformance/contract.ts';
import { PACKET_BEHAVIOURS } from '../../conformance/packets.ts';
import { OF_PROGRAMS } from '../../conformance/program-words.ts';
import { type Defect, type ExampleState, examplePlugin } from './example.ts';
import { idsOf, type RunOptions, runContract } from './kit.ts';

const test = suite('conformance kit: contract');

test('a backend that keeps the contract fails nothing, and everything is tried', async () => {
  const results = await runContract(examplePlugin());
  const seen = (kind: 'fails' | 'advice' | 'not tried') =>
    idsOf(results, kind).map((id) => [id, results.get(id)?.verdict]);
  assert.equal(seen('fails'), []);
  assert.equal(seen('advice'), []);
  assert.equal(seen('not tried'), []);
  assert.is(results.size, CONTRACT.length);
});

type Broken = Defect & {
  readonly run?: RunOptions;
  /** Part of what is said to have been seen. */
  readonly seen: RegExp;
};

const without = (change: Change, drop: (port: ServicePort) => boolean): Change => ({
  ...change,
  upsert: change.upsert.filter((port) => !drop(port)),
});
const never = () => new Promise<never>(() => {});
const leftOver: NodeJS.Timeout[] = [];
let rendered = 0;
let lastFamily = '';
const lastChange = new WeakMap<object, string>();

/** By the behaviour that each breaks. */
const DEFECTS: Readonly<Record<string, Broken>> = {
  metadata: { plugin: { name: 'My Backend' }, seen: /My Backend/ },
  create: {
    create: () => Promise.reject(new Error('no luck')),
    seen: /no luck/,
  },
  'create-changes-nothing': {
    async create(host) {
      await host.netlink.nftables().commit({
        family: 'ip',
        table: 'probe',
        operations: [{ do: 'add table', owned: false }],
      });
    },
    members: (example, host) => ({
      async cleanup() {
        await host.netlink
          .nftables()
          .commit({ family: 'ip', table: 'probe', operations: [{ do: 'delete table' }] })
          .catch(() => {});
        // Bound by name, not to this.
        await cleanUp(example, host);
      },
    }),
    seen: /probe/,
  },
  'unknown-option': {
    plugin: {
      create: (host: Parameters<ReturnType<typeof examplePlugin>['create']>[0]) => examplePlugin().create(host, {}),
    },
    seen: /in spite of the option/,
  },
  'member-names': { members: () => ({ explian() {} }), seen: /^explian is no member .* did you mean explain\?$/ },
  abilities: { members: () => ({ health: true }), seen: /true/ },
  sync: { afterSync: () => Promise.reject(new Error('never works')), seen: /never works/ },
  'sync-nothing': {
    afterSync: async (_host, { full, upsert }) => {
      if (full && upsert.length === 0) throw new Error('nothing to do');
    },
    seen: /nothing to do/,
  },
  'sync-report': { report: { operations: 0, bytes: 'many' }, seen: /many/ },
  'every-kind': {
    afterSync: async (_host, { upsert }) => {
      if (upsert.some(({ protocol }) => protocol === 'SCTP')) throw new Error('no SCTP');
    },
    seen: /a rejection for SCTP \(IPv4\): .*no SCTP/,
  },
  'same-again': {
    async afterSync(_host, change, state) {
      const before = lastChange.get(state);
      lastChange.set(state, JSON.stringify(change));
      if (change.upsert.length === 4 && before === JSON.stringify(change)) throw new Error('exists already');
    },
    seen: /exists already/,
  },
  quiet: { noisy: true, seen: /^\d+ operations$/ },
  'new-service': {
    change: (change, { chains }) =>
      change.full ? change : without(change, ({ key }) => !chains.get(change.family)?.has(key)),
    seen: /without/,
  },
  'changed-endpoints': {
    change: (change, { chains }) =>
      change.full ? change : without(change, ({ key }) => chains.get(change.family)?.has(key) === true),
    seen: /with/,
  },
  'removed-service': { change: (change) => ({ ...change, remove: [] }), seen: /with "default\/s-1\/TCP"/ },
  'changed-node': {
    change(change) {
      const addresses = change.node.addresses.filter((ip) => !/60/.test(ip));
      return change.full || change.upsert.length > 0 ? change : { ...change, node: { ...change.node, addresses } };
    },
    seen: /without "node-/,
  },
  'full-after-partial': {
    change: (change, { counts }) => (change.full && counts.syncs > 4 ? { ...change, full: false } : change),
    seen: /with "default\//,
  },
  crash: { forgetful: true, seen: /more/ },
  'restart-quiet': {
    members(example, host, { counts }) {
      const { sync } = example;
      return {
        async sync(change: Change) {
          const tables = await host.netlink.nftables().tables('ip');
          const isLeft = tables.some(({ name }) => name === 'example');
          if (isLeft && counts.syncs === 0 && change.upsert.length === 4) throw new Error('address in use');
          return sync(change);
        },
      };
    },
    seen: /address in use \(contract\.test\.ts:\d+\)/,
  },
  'families-overlap': {
    async afterSync(_host, { family }) {
      lastFamily = family;
      await Promise.resolve();
      await Promise.resolve();
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (lastFamily !== family) throw new Error('the other family came between');
    },
    seen: /came between/,
  },
  'input-untouched': {
    async afterSync(_host, { upsert }) {
      (upsert as ServicePort[]).reverse();
    },
    seen: /^TypeError: Cannot assign to read only property .*\(contract\.test\.ts:\d+\)$/,
  },
  'sync-rejects': { ignoresStatus: true, swallows: () => true, seen: /it resolved although/ },
  recovers: {
    members(example, _host, { counts }) {
      const { sync } = example;
      return {
        async sync(change: Change) {
          if (counts.failures > 0 && change.upsert.length === 5) throw new Error('broken for ever');
          return sync(change);
        },
      };
    },
    seen: /broken for ever/,
  },
  cleanup: {
    members: (example, _host, { counts }) => {
      const { cleanup } = example;
      return {
        async cleanup() {
          await cleanup();
          if (counts.syncs > 0) throw new Error('something is in use');
        },
      };
    },
    seen: /something is in use/,
  },
  'cleanup-complete': {
    async afterSync(host, { upsert }) {
      if (upsert.length < 20) return;
      const operations = [{ do: 'add table', owned: false }] as const;
      await host.netlink.nftables().commit({ family: 'ip', table: 'left-behind', operations });
    },
    seen: /left-behind/,
  },
  'cleanup-twice': {
    members: (example, _host, { counts }) => {
      const { cleanup } = example;
      return {
        async cleanup() {
          if (counts.cleanups > 0) throw new Error('no such table');
          await cleanup();
        },
      };
    },
    seen: /no such table/,
  },
  'cleanup-fresh': {
    members: (example, _host, { counts }) => {
      const { cleanup } = example;
      return {
        async cleanup() {
          if (counts.syncs > 0) await cleanup();
        },
      };
    },
    seen: /with "nftables ip example/,
  },
  'cleanup-without-options': {
    run: { options: { known: 'x' } },
    async create(_host, options) {
      if (!('known' in options)) throw Object.assign(new Error('known is missing'), { code: 'KP_BACKEND_OPTION' });
    },
    seen: /known is missing/,
  },
  foreign: {
    members: (example, host) => {
      const { cleanup } = example;
      return {
        async cleanup() {
          await cleanup();
          for (const { name } of await host.netlink.nftables().tables('ip')) {
            const operations = [{ do: 'delete table' }] as const;
            await host.netlink.nftables().commit({ family: 'ip', table: name, operations });
          }
        },
      };
    },
    seen: /with cleanup/,
  },
  close: { members: () => ({ close: never }), run: { callMs: 50 }, seen: /does not settle/ },
  'close-leaves-nothing': {
    async afterSync() {
      leftOver.push(setInterval(() => {}, 1000));
    },
    seen: /Timeout/,
  },
  'close-keeps-rules': {
    members: (example, host) => {
      const { close } = example;
      return {
        async close() {
          await close();
          await cleanUp(example, host);
        },
      };
    },
    seen: /without "nftables/,
  },
  'close-twice': {
    members: (example, _host, { counts }) => {
      const { close } = example;
      return {
        async close() {
          if (counts.closes > 0) throw new Error('closed already');
          await close();
        },
      };
    },
    seen: /closed already/,
  },
  'metrics-back': { members: () => ({ async close() {} }), seen: /example_syncs/ },
  'check-intact': {
    members: () => ({ check: async () => ({ intact: false, reason: 'never sure' }) }),
    seen: /never sure/,
  },
  'check-notices': { members: () => ({ check: async () => ({ intact: true }) }), seen: /intact: true/ },
  health: {
    members: () => ({ health: () => ({ healthy: 'yes' }) }),
    seen: /yes/,
  },
  initialize: {
    members: () => ({
      initialize() {
        throw new Error('read-only');
      },
    }),
    seen: /read-only/,
  },
  metrics: {
    members(example, host) {
      const metric = { name: 'x', type: 'gauge', help: 'x', labels: ['a'], read: () => [{ value: 1 }] } as const;
      const takeBack = host.metrics.register(metric);
      const { close } = example;
      return {
        async close() {
          takeBack();
          await close();
        },
      };
    },
    seen: /^$/,
  },
  'constant-messages': {
    async afterSync(host, { upsert }) {
      if (upsert.length > 0) host.log.info(`${upsert.length} service ports synced`);
    },
    seen: /^"4 service ports synced" and "\d service ports synced", for different Services$/,
  },
  render: {
    plugin: {
      render() {
        throw new Error('needs a kernel');
      },
    },
    seen: /needs a kernel/,
  },
  'render-same': { plugin: { render: () => `${rendered++}\n` }, seen: /another text/ },
  'no-leaks': {
    async afterSync() {
      void Promise.reject(new Error('nobody caught me'));
    },
    seen: /nobody caught me/,
  },
  'no-exit': {
    async afterSync() {
      try {
        process.exit(3);
      } catch {
        // The kit does not let it.
      }
    },
    seen: /process\.exit\(3\)/,
  },
  'no-output': {
    async afterSync() {
      process.stdout.write('synced\n');
    },
    seen: /synced/,
  },
};

/** As the sound one does it. */
async function cleanUp(
  _example: unknown,
  host: Parameters<ReturnType<typeof examplePlugin>['create']>[0],
): Promise<void> {
  const sound = await examplePlugin().create(host, {});
  await sound.cleanup();
  await sound.close();
}

/** Hold for every backend that resolves, or only tell a number. */
const CANNOT_FAIL_ALONE = ['large'];

for (const [id, { run, seen, ...defect }] of Object.entries(DEFECTS)) {
  test(`${id} fails alone for the backend that breaks it`, async () => {
    const results = await runContract(examplePlugin(defect), run);
    for (const timer of leftOver.splice(0)) clearInterval(timer);
    const wrong = [...idsOf(results, 'fails'), ...idsOf(results, 'advice')];
    assert.equal(wrong, [id], JSON.stringify(wrong.map((each) => [each, results.get(each)?.verdict])));
    const { verdict } = results.get(id)!;
    assert.ok('seen' in verdict);
    if ('seen' in verdict) assert.match(verdict.seen, seen);
  });
}

test('every behaviour has a backend that breaks it', () => {
  const broken = [...Object.keys(DEFECTS), ...CANNOT_FAIL_ALONE].sort();
  assert.equal(CONTRACT.map(({ id }) => id).sort(), broken);
});

test('every behaviour says where the contract asks for it, and what to do', () => {
  for (const { id, sentence, contract, remedy } of CONTRACT) {
    assert.ok(sentence !== '' && contract !== '' && remedy !== '', id);
  }
});

test('what is quoted of the contract is what the contract says', () => {
  const plain = (text: string): string => text.replace(/\s+\*?\s*/g, ' ');
  const contract = plain(readFileSync(new URL('../../../core/backend.ts', import.meta.url), 'utf8'));
  let quotes = 0;
  const unknown: string[] = [];
  for (const { id, contract: said } of [...CONTRACT, ...PACKET_BEHAVIOURS]) {
    for (const [, quote = ''] of said.matchAll(/"([^"]{4,})"/g)) {
      const parts = quote.split(/\s*…\s*/);
      unknown.push(...parts.filter((part) => !contract.includes(plain(part).trim())).map((part) => `${id}: ${part}`));
      quotes++;
    }
  }
  assert.equal(unknown, []);
  assert.ok(quotes > 20, `${quotes} quotes`);
});

test('where no namespace can be had, only what needs no host is tried', async () => {
  const touched: string[] = [];
  const plugin = examplePlugin({
    async create() {
      touched.push('create');
    },
  });
  const results = await runContract(plugin, { harmlessOnly: 'no namespaces' });
  assert.equal(idsOf(results, 'holds'), ['metadata', 'render', 'render-same']);
  assert.is(idsOf(results, 'not tried').length, CONTRACT.length - 3);
  assert.equal(touched, []);
});

test('a backend that refuses its options is told which flag gives them', async () => {
  const results = await runContract(examplePlugin(), { options: { misspelt: 'x' } });
  assert.equal(idsOf(results, 'fails'), []);
  const verdict = results.get('create')?.verdict;
  assert.ok(verdict?.kind === 'not tried');
  if (verdict?.kind === 'not tried') assert.match(verdict.why, /unknown option misspelt.*--backend-option NAME=VALUE/);
});

test('a host that lacks what the backend needs is no failure of it', async () => {
  const plugin = examplePlugin({
    create: () => Promise.reject(Object.assign(new Error('no ipvs here'), { code: 'KP_BACKEND_UNSUPPORTED' })),
  });
  const results = await runContract(plugin);
  assert.equal(idsOf(results, 'fails'), []);
  const verdict = results.get('sync')?.verdict;
  assert.ok(verdict?.kind === 'not tried' && /no ipvs here/.test(verdict.why));
});

/** What is wrong with a backend, without what is right or could not be tried. */
async function faultsOf(defect: Defect, run?: RunOptions) {
  const results = await runContract(examplePlugin(defect), run);
  const all = [...results.values()];
  return all.filter(({ verdict }) => verdict.kind === 'fails' || verdict.kind === 'advice');
}

/** Listens in the process while it serves; on an address of its own, since others share this network. */
function listening(portsOf: (change: Change) => readonly number[]): Defect {
  const servers = new WeakMap<ExampleState, Map<string, Server>>();
  const address = (family: string): string =>
    `127.${(process.pid >> 8) & 255}.${process.pid & 255}.${family === 'IPv4' ? 4 : 6}`;
  return {
    async afterSync(_host, change, state) {
      const mine = servers.get(state) ?? new Map<string, Server>();
      servers.set(state, mine);
      for (const port of portsOf(change)) {
        const name = `${change.family} ${port}`;
        if (mine.has(name)) continue;
        const server = createServer();
        mine.set(name, server);
        await new Promise<void>((resolve, reject) => {
          server.once('error', reject);
          server.listen(port, address(change.family), resolve);
        });
      }
    },
    members(example, _host, state) {
      const { close } = example;
      return {
        async close() {
          const mine = servers.get(state) ?? new Map<string, Server>();
          await Promise.all([...mine.values()].map((server) => new Promise((done) => server.close(done))));
          mine.clear();
          await close();
        },
      };
    },
  };
}

const nodePorts = ({ upsert }: Change): readonly number[] =>
  upsert.flatMap(({ protocol, nodePort }) => (protocol === 'TCP' && nodePort > 0 ? [nodePort] : []));

test('listeners in the process that serve are gone with close(), and no second instance meets those of the first', async () => {
  const faults = await faultsOf(listening(nodePorts));
  assert.equal(
    faults.map(({ id }) => id),
    ['close-keeps-rules'],
    JSON.stringify(faults),
  );
  const [{ verdict, remedy }] = faults as [(typeof faults)[number]];
  assert.is(verdict.kind, 'fails');
  assert.match('seen' in verdict ? verdict.seen : '', /^gone with close\(\): tcp 127\.\d+\.\d+\.4:30001; /);
  assert.match(remedy, /daemon of its own/);
});

test('listeners of other ports may be its own affair, and are told as advice', async () => {
  const faults = await faultsOf(listening(({ upsert }) => (upsert.length > 0 ? [0] : [])));
  assert.equal(
    faults.map(({ id, verdict }) => [id, verdict.kind]),
    [['close-keeps-rules', 'advice']],
  );
});

test('a change that is written to is told once, before what follows from it', async () => {
  const faults = await faultsOf({
    change(change) {
      (change.upsert as unknown[]).push({});
      return change;
    },
  });
  assert.equal(
    faults.map(({ id }) => id),
    ['input-untouched'],
  );
  assert.match(JSON.stringify(faults), /copy before sorting.*object is not extensible/);
});

test('names in messages are found as numbers are', async () => {
  const faults = await faultsOf({
    async afterSync(host, { upsert }) {
      for (const { name } of upsert) host.log.info(`Serving ${name} now`);
    },
  });
  assert.equal(
    faults.map(({ id, verdict }) => [id, verdict.kind]),
    [['constant-messages', 'advice']],
  );
});

test('a create() that forgets to return, or that misspells what it returns, is told so', async () => {
  const seen = async (made: unknown) => {
    const [fault] = await faultsOf({ plugin: { create: async () => made } });
    return [fault?.id, fault && 'seen' in fault.verdict ? fault.verdict.seen : '', fault?.remedy ?? ''].join(' | ');
  };
  assert.match(await seen(undefined), /^create \| create\(\) returned undefined \| create\(\) has no return/);
  assert.match(await seen(null), /^create \| create\(\) returned null/);
  const half = { families: ['IPv4'], async sync() {}, async close() {} };
  assert.match(await seen({ ...half, async cleanUp() {} }), /^create \| none, but cleanUp \| write cleanup instead/);
  assert.match(await seen(half), /^create \| none \| return /);
});

test('a call that does not settle is told with the limit, and whose it is', async () => {
  const run = { callMs: 50 };
  const [fault] = await faultsOf({ create: never }, run);
  const told = JSON.stringify(fault);
  assert.match(told, /create\(\) to settle within 0\.05 s, the limit of this kit \(kube-proxy waits 120 s\)/);
  assert.match(told, /give every wait in it a limit/);
  const [other] = await faultsOf({ afterSync: never }, run);
  assert.match(JSON.stringify(other), /kube-proxy waits 300 s/);
});

test('what a full sync does not restore is named', async () => {
  const faults = await faultsOf({
    members(example, _host, { counts }) {
      const { sync } = example;
      return {
        sync: async (change: Change) => (counts.syncs < 2 ? sync(change) : { operations: 0, bytes: 0 }),
      };
    },
  });
  const fault = faults.find(({ id }) => id === 'check-notices');
  assert.match(JSON.stringify(fault), /12 of 12 objects missing: nftables ip example; [^"]*; and 9 more/);
});

test('of a program that exec runs, the kit speaks as its author does', async () => {
  const run = { program: '/opt/services.py' };
  const sound = await runContract(examplePlugin(), run);
  assert.equal(idsOf(sound, 'fails'), []);
  for (const id of ['sync-rejects', 'recovers', 'cleanup-without-options', 'check-notices']) {
    const verdict = sound.get(id)?.verdict;
    assert.ok(verdict?.kind === 'not tried' && verdict.why === OF_PROGRAMS[id]?.untried, id);
  }
  const [fault] = await faultsOf({ afterSync: () => Promise.reject(new Error('no')) }, run);
  assert.match(`${fault?.contract} | ${fault?.remedy}`, /protocol of exec, sync.* \| answer \{"type":"done"/);
  const ids = CONTRACT.map(({ id }) => id);
  for (const [id, words] of Object.entries(OF_PROGRAMS)) {
    assert.ok(ids.includes(id), id);
    assert.not.match(JSON.stringify(words), /Host\.|usesConntrack|\w\(\)/, id);
  }
});

test.run();
