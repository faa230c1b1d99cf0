/** The private namespaces: what happens in there stays in there, and ends however the program ends. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { insideIsolation } from '../../build/isolate.ts';
import { skip } from '../skip.ts';
import { isolateTests } from './isolated.ts';

await isolateTests();
const test = suite('isolation');

const folder = mkdtempSync(join(tmpdir(), 'isolation-test-'));
const program = join(folder, 'program.ts');
const isolate = new URL('../../build/isolate.ts', import.meta.url).pathname;

test.before(() => {
  chmodSync(folder, 0o755);
  // Isolates itself once more, then does as it is told.
  writeFileSync(
    program,
    `import { spawn } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { enterIsolation } from ${JSON.stringify(isolate)};
await enterIsolation();
const [what, value] = process.argv.slice(2);
if (what === 'look') console.log(JSON.stringify({ pid: process.pid, net: readlinkSync('/proc/self/ns/net'), run: readdirSync('/run') }));
if (what === 'exit') process.exitCode = Number(value);
if (what === 'linger') {
  spawn('sleep', [value], { detached: true, stdio: 'ignore' });
  console.log('ready');
  setInterval(() => undefined, 1000);
}
if (what === 'graceful') {
  process.on('SIGTERM', () => process.exit(42));
  console.log('ready');
  setInterval(() => undefined, 1000);
}
`,
  );
});
test.after(() => rmSync(folder, { recursive: true }));

/** The isolated program's environment as an outsider starts it. */
const outside: NodeJS.ProcessEnv = { ...process.env };
delete outside.KUBE_PROXY_ISOLATED_FROM;

async function started(...args: readonly string[]): Promise<ChildProcess> {
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'inherit'], env: outside });
  await once(child.stdout!, 'data');
  return child;
}

/** PIDs of processes with exactly these arguments. */
function running(...args: readonly string[]): readonly string[] {
  const wanted = `${args.join('\0')}\0`;
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8') === wanted;
    } catch {
      return false; // it ended meanwhile
    }
  });
}

async function ended(...args: readonly string[]): Promise<boolean> {
  for (let attempt = 0; attempt < 100 && running(...args).length > 0; attempt++) await sleep(20);
  return running(...args).length === 0;
}

test('this very file runs inside', () => {
  assert.ok(insideIsolation());
  assert.is(process.pid, 1);
});

test('inside there is another network namespace, an empty /run and PID 1', () => {
  const { status, stdout } = spawnSync(process.execPath, [program, 'look'], { encoding: 'utf8', env: outside });
  assert.is(status, 0);
  const seen = JSON.parse(stdout) as { pid: number; net: string; run: string[] };
  assert.is(seen.pid, 1);
  assert.is.not(seen.net, readlinkSync('/proc/self/ns/net'));
  assert.equal(seen.run, []);
});

test('a mark in the environment without another namespace does not pass for being inside', () => {
  const env = { ...outside, KUBE_PROXY_ISOLATED_FROM: readlinkSync('/proc/self/ns/net') };
  const { stdout } = spawnSync(process.execPath, [program, 'look'], { encoding: 'utf8', env });
  assert.is.not((JSON.parse(stdout) as { net: string }).net, readlinkSync('/proc/self/ns/net'));
});

test('the exit status comes out', () => {
  assert.is(spawnSync(process.execPath, [program, 'exit', '7'], { env: outside }).status, 7);
});

test('kill -9 of the outer process ends everything inside, what detached itself included', async () => {
  const child = await started('linger', '86401');
  assert.is(running('sleep', '86401').length, 1);
  child.kill('SIGKILL');
  assert.ok(await ended('sleep', '86401'));
});

test('SIGTERM ends a program that has no handler, and reaches one that has', async () => {
  const plain = await started('linger', '86402');
  plain.kill('SIGTERM');
  const [plainStatus] = await once(plain, 'exit');
  assert.is(plainStatus, 143);
  assert.ok(await ended('sleep', '86402'));
  const graceful = await started('graceful');
  graceful.kill('SIGTERM');
  const [status] = await once(graceful, 'exit');
  assert.is(status, 42);
});

/** Only a root that may change users can play an unprivileged one, who must be able to read what it runs. */
const nobody = ['--reuid', '65534', '--regid', '65534', '--clear-groups', '--'];
const obstacle = [
  ['this user cannot become another one', 'true'],
  ['another user cannot run this Node or read this checkout', process.execPath, '--check', isolate],
  ['this host allows no unprivileged user namespaces', 'unshare', '--user', '--map-root-user', '--net', 'true'],
].find(([, ...command]) => spawnSync('setpriv', [...nobody, ...command]).status !== 0)?.[0];

const title = 'an unprivileged user gets the same';
if (obstacle !== undefined) skip(title, obstacle);
else {
  test(title, () => {
    const command = [...nobody, process.execPath, program, 'look'];
    const run = spawnSync('setpriv', command, { encoding: 'utf8', env: outside });
    assert.is(run.status, 0, run.stderr);
    assert.is((JSON.parse(run.stdout) as { pid: number }).pid, 1);
  });
}

test.run();
