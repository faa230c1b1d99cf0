/** `kube-proxy plugin test`, as it is typed: built-in backends keep the contract, and a broken one is told what it breaks. */
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { insideIsolation } from '../../build/isolate.ts';
import { PACKET_BEHAVIOURS } from '../conformance/packets.ts';
import { privateNetwork } from '../conformance/private-network.ts';
import { skip } from '../skip.ts';
import { programFromSources } from './from-sources.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const test = suite('plugin test');
const folder = mkdtempSync(join(tmpdir(), 'plugin-test-'));
chmodSync(folder, 0o755);
test.after(() => rmSync(folder, { recursive: true }));

interface Report {
  readonly counts: { readonly holds: number; readonly fails: number; readonly notTried: number };
  readonly behaviours: readonly {
    readonly id: string;
    readonly part: string;
    readonly verdict: string;
    readonly why?: string;
    readonly seen?: string;
    readonly note?: string;
  }[];
}

function run(words: readonly string[], env: NodeJS.ProcessEnv = process.env) {
  const [command, ...args] = [...programFromSources(), 'plugin', 'test', ...words];
  const { status, stdout, stderr } = spawnSync(command!, args, { encoding: 'utf8', env, cwd: folder });
  return { status, stdout, stderr };
}

function report(words: readonly string[], env?: NodeJS.ProcessEnv): Report & { readonly status: number | null } {
  const { status, stdout, stderr } = run([...words, '--output', 'json'], env);
  try {
    return { status, ...(JSON.parse(stdout) as Report) };
  } catch {
    throw new Error(`no JSON (status ${status}): ${stdout}${stderr}`);
  }
}

const ids = ({ behaviours }: Report, verdict: string): readonly string[] =>
  behaviours.filter((each) => each.verdict === verdict).map(({ id }) => id);
const verdict = ({ behaviours }: Report, id: string) => behaviours.find((each) => each.id === id);

/** A plugin's file of this text, with the nftables backend as `nftables`. */
function plugin(name: string, text: string): string {
  const file = join(folder, `${name}.ts`);
  writeFileSync(file, `import nftables from '${join(ROOT, 'plugins/nftables/index.ts')}';\n${text}`);
  return file;
}

const obstacle = insideIsolation() ? 'this test has to start outside of any isolation' : whyNot();

function whyNot(): string | undefined {
  const network = privateNetwork();
  return network.kind === 'none' ? network.reason : undefined;
}

const here = (title: string, act: () => void | Promise<void>): void => {
  if (obstacle === undefined) test(title, act);
  else skip(title, obstacle);
};

here('nftables keeps the contract, and connections meet what it says', () => {
  const found = report(['nftables']);
  assert.equal(ids(found, 'fails'), [], JSON.stringify(found.behaviours.filter((each) => each.verdict === 'fails')));
  assert.is(found.status, 0);
  const packets = found.behaviours.filter(({ part }) => part === 'packets');
  assert.equal(packets.map(({ id }) => id).sort(), PACKET_BEHAVIOURS.map(({ id }) => id).sort());
  const untried = packets.filter((each) => each.verdict !== 'holds');
  // Where the kernel speaks SCTP itself, it cannot be asked.
  assert.ok(
    untried.every(({ id }) => id === 'sctp'),
    JSON.stringify(untried),
  );
  assert.match(verdict(found, 'refused')?.note ?? '', /^\d{2,} questions$/);
});

here('iptables keeps the contract', () => {
  const found = report(['iptables', '--packets', 'no']);
  assert.equal(ids(found, 'fails'), [], JSON.stringify(found.behaviours.filter((each) => each.verdict === 'fails')));
  assert.is(found.status, 0);
  // It can be seen, checked, and made to fail.
  for (const id of ['cleanup-complete', 'check-notices', 'sync-rejects', 'close-keeps-rules', 'foreign']) {
    assert.is(verdict(found, id)?.verdict, 'holds', id);
  }
});

here('dry-run keeps the contract, in a line for each behaviour; connections are not its business', () => {
  const { status, stdout } = run(['dry-run']);
  assert.is(status, 0, stdout);
  assert.match(stdout, /^ {2}✓ A full sync of nothing resolves$/m);
  assert.match(stdout, /^ {2}– ClusterIPs answer pods: not tried: .*leavesHostAlone/m);
  assert.match(stdout, /^\d+ hold, 0 fail, \d+ not tried/m);
  assert.not.match(stdout, /^ {2}✗/m);
});

here('a program that exec runs passes, and no connection is asked of what only writes files', () => {
  const program = join(folder, 'keep-state.sh');
  copyFileSync(join(ROOT, 'release/sdk/exec/keep-state.sh'), program);
  chmodSync(program, 0o755);
  const flags = [`--backend-option=command=${program}`, '--backend-option=args=["/run/desired"]'];
  const found = report(['exec', ...flags]);
  assert.equal(ids(found, 'fails'), [], JSON.stringify(found.behaviours.filter((each) => each.verdict === 'fails')));
  assert.is(found.status, 0);
  for (const id of ['sync', 'cleanup-complete', 'close-keeps-rules'])
    assert.is(verdict(found, id)?.verdict, 'holds', id);
  assert.match(verdict(found, 'sync-rejects')?.why ?? '', /"type":"error"/);
  assert.match(verdict(found, 'cluster-ip-from-pods')?.why ?? '', /files at most/);
});

here('what a plugin does not serve fails in the behaviours that are about it, and nowhere else', () => {
  // It forgets source ranges, SCTP, node ports on localhost, and session affinity.
  const file = plugin(
    'forgetful',
    `
export default {
  ...nftables,
  name: 'forgetful',
  async create(host, options) {
    const backend = await nftables.create(host, options);
    return {
      ...backend,
      sync: (change) =>
        backend.sync({
          ...change,
          node: { ...change.node, nodePortAddresses: { match: 'all', loopback: false } },
          upsert: change.upsert
            .filter(({ protocol }) => protocol !== 'SCTP')
            .map((port) => ({ ...port, sourceRanges: [], affinitySeconds: 0 })),
          remove: change.remove.filter((key) => !key.endsWith('/SCTP')),
        }),
    };
  },
};
`,
  );
  const found = report([file, '--packets', 'only']);
  assert.is(found.status, 1);
  const expected = ['source-ranges', 'sctp', 'affinity', 'node-port-on-localhost'];
  const tried = expected.filter((id) => id !== 'sctp' || verdict(found, 'sctp')?.verdict !== 'not tried');
  const faults = JSON.stringify(found.behaviours.filter((each) => each.verdict === 'fails'));
  assert.equal([...ids(found, 'fails')].sort(), tried.sort(), faults);
});

here('the report says what was expected, what was seen, where the contract says so, and the remedy', () => {
  const file = plugin(
    'leaky',
    `
export default {
  ...nftables,
  name: 'leaky',
  async create(host, options) {
    const backend = await nftables.create(host, options);
    return { ...backend, sync: async (change) => (setInterval(() => {}, 1000), backend.sync(change)) };
  },
};
`,
  );
  const { status, stdout } = run(['leaky.ts', '--packets', 'no']);
  assert.ok(existsSync(file));
  assert.is(status, 1);
  assert.match(
    stdout,
    / {2}✗ close\(\) stops timers, listeners and children\n {6}expected {2}.*\n {6}seen {6}.*Timeout\n {6}contract {2}Backend\.close.*\n {6}remedy {4}./,
  );
  assert.match(stdout, /^\d+ hold, 1 fail, /m);
});

here('what a plugin writes to /etc and /run is gone afterwards, and it cannot reach the network of the host', () => {
  const mark = `plugin-test-${process.pid}`;
  const file = plugin(
    'writer',
    `
import { readlinkSync, writeFileSync } from 'node:fs';
export default {
  ...nftables,
  name: 'writer',
  async create(host, options) {
    writeFileSync('/etc/${mark}', 'x');
    writeFileSync('/run/${mark}', 'x');
    writeFileSync('${join(folder, 'seen')}', readlinkSync('/proc/self/ns/net'));
    return nftables.create(host, options);
  },
};
`,
  );
  const found = report([file, '--packets', 'no']);
  // What it leaves is left after its cleanup(), too.
  assert.equal(ids(found, 'fails'), ['create-changes-nothing', 'cleanup-complete', 'cleanup-fresh']);
  assert.match(verdict(found, 'create-changes-nothing')?.seen ?? '', new RegExp(`file /(etc|run)/${mark}`));
  assert.not.ok(existsSync(`/etc/${mark}`));
  assert.not.ok(existsSync(`/run/${mark}`));
  assert.is.not(readFileSync(join(folder, 'seen'), 'utf8'), readNetwork());
});

function readNetwork(): string {
  return spawnSync('readlink', ['/proc/self/ns/net'], { encoding: 'utf8' }).stdout.trim();
}

test('a file that is no plugin is told with status 2', () => {
  writeFileSync(join(folder, 'nothing.js'), 'module.exports = 42;\n');
  for (const [word, code] of [
    ['./nothing.js', /nothing\.js/],
    ['./not-there.js', /not-there\.js/],
  ] as const) {
    const { status, stdout, stderr } = run([word]);
    assert.is(status, 2, `${stdout}${stderr}`);
    assert.match(stderr, code);
    assert.not.match(stdout, '✓');
  }
  assert.is(run([]).status, 2);
});

test('where no namespace can be had, the backend is not created, and the report says why', () => {
  const programs = join(folder, 'bin');
  spawnSync('mkdir', [programs]);
  writeFileSync(join(programs, 'unshare'), '#!/bin/sh\necho "unshare: not permitted" >&2\nexit 1\n', { mode: 0o755 });
  const file = plugin(
    'careful',
    `
export default { ...nftables, name: 'careful', create() { process.kill(process.pid, 'SIGKILL'); } };
`,
  );
  const { KUBE_PROXY_ISOLATED_FROM: _, ...env } = process.env;
  const found = report([file], { ...env, PATH: `${programs}:${process.env.PATH}` });
  assert.is(found.status, 0);
  assert.equal(ids(found, 'holds'), ['metadata', 'render', 'render-same']);
  assert.match(verdict(found, 'sync')?.why ?? '', /unshare: not permitted.*run it as root/);
});

here('a program that keeps silent is ended, and what it was doing is named', async () => {
  const network = privateNetwork();
  if (network.kind === 'none') throw new Error(network.reason);
  const told: string[] = [];
  const status = await network.run({
    program: ['/bin/sh', '-c', 'echo busy >&3; sleep 100'],
    file: '',
    onSilence: (trying, seconds) => told.push(`${trying} ${seconds}`),
    silenceMs: 500,
  });
  assert.is(status, 1);
  assert.equal(told, ['busy 0.5']);
});

test.run();
