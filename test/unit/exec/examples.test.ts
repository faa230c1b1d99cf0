/** The example programs, run by the backend itself. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Backend } from '../../../core/backend.ts';
import { createHost } from '../../../core/node/host.ts';
import plugin from '../../../plugins/exec/index.ts';
import { skip } from '../../skip.ts';
import { full, many, NODE6, partial, servicePort } from '../nftables/samples.ts';
import { fakeLog } from '../sync/fake-log.ts';

const EXAMPLES = resolve(import.meta.dirname, '../../../release/sdk/exec');
const test = suite('example programs of the exec backend');
const folder = mkdtempSync(join(tmpdir(), 'kp-exec-'));
test.after(() => rmSync(folder, { recursive: true }));

/** A copy that is ours, as the sources may belong to someone else. */
function installed(name: string): string {
  const file = join(folder, name);
  copyFileSync(join(EXAMPLES, name), file);
  chmodSync(file, 0o755);
  return file;
}

async function withBackend(options: object, use: (backend: Backend) => Promise<void>): Promise<void> {
  const host = createHost({ log: fakeLog(), signal: new AbortController().signal, requestFullSync() {} });
  try {
    const backend = await plugin.create(host, { ...options });
    try {
      await use(backend);
    } finally {
      await backend.close();
    }
  } finally {
    host.close();
  }
}

async function failure(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'it succeeded',
    (error: Error) => error.message,
  );
}

test('they have at most 25 lines, beside the page about them', () => {
  const names = readdirSync(EXAMPLES).filter((name) => name !== 'README.md');
  assert.equal(names.toSorted(), ['keep-state.sh', 'services.py']);
  for (const name of names) {
    const lines = readFileSync(join(EXAMPLES, name), 'utf8').trimEnd().split('\n');
    assert.ok(lines.length <= 25, `${name} has ${lines.length} lines`);
  }
});

for (const shell of ['dash', 'bash']) {
  if (spawnSync(shell, ['-c', ':']).error) {
    skip(`keep-state.sh with ${shell}`, `${shell} is not installed`);
    continue;
  }
  test(`keep-state.sh keeps the state of each family in a file, with ${shell}`, async () => {
    const state = join(folder, shell, 'state');
    const command = `/bin/${shell}`;
    const args = [installed('keep-state.sh'), state];
    const kept = (family: string): unknown => JSON.parse(readFileSync(join(state, `${family}.json`), 'utf8'));
    const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
    mkdirSync(join(folder, shell));
    await withBackend({ command, args }, async (backend) => {
      const odd = servicePort({
        name: 'odd',
        annotations: { 'kube-proxy.io/a': 'back\\slash "quote" \t tab, %s $HOME é' },
      });
      await Promise.all([backend.sync(full([...many(20), odd])), backend.sync(full([], NODE6, 'IPv6'))]);
      assert.equal(kept('IPv4'), plain(full([...many(20), odd].sort((a, b) => (a.key < b.key ? -1 : 1)))));
      assert.equal(kept('IPv6'), plain(full([], NODE6, 'IPv6')));
      await backend.sync(
        partial(
          [],
          many(20).map(({ key }) => key),
        ),
      );
      assert.equal(kept('IPv4'), plain(full([odd])));
      assert.equal(readdirSync(state).toSorted(), ['IPv4.json', 'IPv6.json']);
    });
    assert.equal(readdirSync(state).toSorted(), ['IPv4.json', 'IPv6.json'], 'they stay when kube-proxy goes');
    await withBackend({ command, args }, async (backend) => {
      await backend.cleanup();
      assert.equal(readdirSync(state), []);
      rmSync(state, { recursive: true });
      assert.match(await failure(backend.sync(full([]))), / says: .* cannot be written$/);
    });
  });
}

const python = spawnSync('python3', ['--version']);
if (python.error || python.status !== 0) skip('services.py keeps a table', 'python3 is not installed');
else {
  test('services.py keeps a table of both families in one file', async () => {
    const file = join(folder, 'services');
    const [ipv4] = many(1);
    const six = servicePort({ name: 'six', clusterIP: 'fd00:10::1', cluster: [], local: [], internalPolicy: 'Local' });
    await withBackend({ command: installed('services.py'), options: { file } }, async (backend) => {
      await backend.sync(full([ipv4!]));
      assert.is(readFileSync(file, 'utf8'), '10.96.0.1:80/TCP 10.244.1.11:8080 10.244.1.12:8080\n');
      await backend.sync(full([six], NODE6, 'IPv6'));
      await backend.sync(partial([], [ipv4!.key]));
      assert.is(readFileSync(file, 'utf8'), '[fd00:10::1]:80/TCP\n');
      await backend.cleanup();
      assert.not.ok(existsSync(file) || existsSync(`${file}.new`));
    });
    const nowhere = { command: installed('services.py'), options: { file: join(folder, 'no', 'such', 'folder') } };
    await withBackend(nowhere, async (backend) => {
      assert.match(await failure(backend.sync(full([]))), /services\.py says: FileNotFoundError: /);
    });
    const without = withBackend({ command: installed('services.py') }, async () => {});
    assert.match(await failure(without), /services\.py says no: KeyError: 'file'$/);
  });
}

test.run();
