/** The whole daemon with --backend exec, from manifests, and a real program in JavaScript. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Daemon, killAll, MAIN, manifest, startProgram } from '../unit/cli/program.ts';
import { eventually } from '../unit/observe/ask.ts';
import { isolateTests } from './isolated.ts';

// What other backends left on the host goes when this one takes over; it shall not be this host's.
await isolateTests([]);

const test = suite('the daemon with the exec backend');
const folder = mkdtempSync(join(tmpdir(), 'kp-exec-daemon-'));
const manifests = join(folder, 'web.json');
const log = join(folder, 'told');
const hang = join(folder, 'hang');
const program = join(folder, 'program');
const LIMIT_MS = 20_000;

/** Appends what it is told to a file; answers nothing while the file `hang` is there. */
writeFileSync(
  program,
  `#!/bin/sh
exec '${process.execPath}' -e '
const { appendFileSync, existsSync } = require("node:fs");
const [log, hang] = process.argv.slice(1);
appendFileSync(log, JSON.stringify({ pid: process.pid }) + "\\n");
require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { type, id } = JSON.parse(line);
  appendFileSync(log, line + "\\n");
  if (existsSync(hang)) return;
  console.log(JSON.stringify(type === "hello" ? { type: "ready", families: ["IPv4"] } : { type: "done", id }));
}).on("close", () => appendFileSync(log, JSON.stringify({ type: "end" }) + "\\n"));
' "$@"
`,
  { mode: 0o755 },
);

test.before.each(() => {
  writeFileSync(log, '');
  write(['10.244.1.1']);
  rmSync(hang, { force: true });
});
test.after.each(killAll);
test.after(() => rmSync(folder, { recursive: true }));

function write(endpoints: readonly string[]): void {
  writeFileSync(`${manifests}.new`, manifest(...endpoints));
  renameSync(`${manifests}.new`, manifests);
}

interface Told {
  readonly type?: string;
  readonly pid?: number;
  readonly change?: {
    readonly full: boolean;
    readonly upsert: readonly { readonly cluster: readonly { readonly ip: string }[] }[];
  };
}

const told = (): readonly Told[] =>
  readFileSync(log, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
/** Of the newest run of the program: the endpoints of the last sync. */
function endpointsTold(): readonly string[] {
  const all = told();
  const run = all.slice(all.findLastIndex(({ pid }) => pid !== undefined));
  const change = run.findLast(({ type }) => type === 'sync')?.change;
  return change?.full ? change.upsert.flatMap(({ cluster }) => cluster.map(({ ip }) => ip)) : [];
}
const pids = (): readonly number[] => told().flatMap(({ pid }) => (pid === undefined ? [] : [pid]));
const says = (endpoints: readonly string[]): Promise<void> =>
  eventually(`the program is told ${endpoints}`, () => String(endpointsTold()) === String(endpoints), LIMIT_MS);

const OPTIONS = ['--backend=exec', '--backend-option=timeoutSeconds=1', `--backend-option=command=${program}`];
const ARGS = `--backend-option=args=${JSON.stringify([log, hang])}`;

function start(...flags: readonly string[]): Daemon {
  return startProgram(MAIN, `--manifests=${manifests}`, '--metrics-bind-address=0', ...OPTIONS, ARGS, ...flags);
}

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  await new Promise((done) => server.close(done));
  if (typeof address !== 'object' || address === null) throw new Error('no port');
  return address.port;
}

test('the program is told the state, every edit of it, and the end', async () => {
  const daemon = start('--healthz-bind-address=0');
  await says(['10.244.1.1']);
  write(['10.244.1.1', '10.244.1.2']);
  await says(['10.244.1.1', '10.244.1.2']);
  daemon.child.kill('SIGTERM');
  assert.is(await daemon.exit, 0, daemon.log());
  assert.is(told().at(-1)!.type, 'end');
  assert.is(pids().length, 1);
});

test('a program that is killed is started again and told everything; health says so until then', async () => {
  const port = await freePort();
  const healthy = async (): Promise<boolean> => (await fetch(`http://127.0.0.1:${port}/healthz`)).ok;
  const daemon = start(`--healthz-bind-address=127.0.0.1:${port}`);
  await says(['10.244.1.1']);
  await eventually('it is healthy', () => healthy().catch(() => false), LIMIT_MS);
  process.kill(pids()[0]!, 'SIGKILL');
  await daemon.says(/The program is down.*was ended by SIGKILL/);
  await eventually('a second run', () => pids().length === 2, LIMIT_MS);
  await says(['10.244.1.1']);
  await eventually('it is healthy again', healthy, LIMIT_MS);

  // From now on it hangs.
  writeFileSync(hang, '');
  write(['10.244.1.3']);
  await says(['10.244.1.3']);
  await daemon.says(/did not answer within 1 s, and was ended/);
  assert.is(await healthy(), false);
  rmSync(hang);
  await eventually('it is healthy in the end', healthy, LIMIT_MS);
  assert.equal(endpointsTold(), ['10.244.1.3']);
  assert.is(daemon.child.exitCode, null);
});

test('a daemon that is killed takes the program with it', async () => {
  const daemon = start('--healthz-bind-address=0');
  await says(['10.244.1.1']);
  daemon.child.kill('SIGKILL');
  await eventually('the program has seen the end', () => told().at(-1)!.type === 'end', LIMIT_MS);
});

test('a program that is not there, or says no, is one line and nothing runs', async () => {
  const without = startProgram(MAIN, `--manifests=${manifests}`, '--backend=exec', '--backend-option=command=/no/such');
  assert.is(await without.exit, 2, without.log());
  assert.match(without.log(), /exec backend options: command: cannot start \/no\/such: it is not installed/);

  const none = startProgram(MAIN, `--manifests=${manifests}`, '--backend=exec');
  assert.is(await none.exit, 2);
  assert.match(none.log(), /command: missing; name it: --backend-option command=/);

  const cat = startProgram(MAIN, `--manifests=${manifests}`, '--backend=exec', '--backend-option=command=/bin/cat');
  assert.is(await cat.exit, 1);
  assert.match(cat.log(), /\/bin\/cat answered the hello with a line that has type "hello"/);
});

test('what render prints can be piped into a program', () => {
  const rendered = spawnSync(process.execPath, [MAIN, 'render', `--manifests=${manifests}`, '--backend=exec']);
  assert.is(rendered.status, 0, String(rendered.stderr));
  const run = spawnSync(program, [log, hang], { input: rendered.stdout });
  assert.equal(
    String(run.stdout)
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line)),
    [
      { type: 'ready', families: ['IPv4'] },
      { type: 'done', id: 1 },
      { type: 'done', id: 2 },
    ],
  );
});

test('cleanup is asked of a program that is named, and of none otherwise', async () => {
  const cleaned = startProgram(MAIN, 'cleanup', ...OPTIONS, ARGS);
  await cleaned.exit;
  assert.match(cleaned.stdout(), /^exec: cleaned up$/m);
  assert.equal(
    told().flatMap(({ type }) => type ?? []),
    ['hello', 'cleanup', 'end'],
  );
  const other = startProgram(MAIN, 'cleanup');
  await other.exit;
  assert.match(other.stdout(), /^exec: not tried; if it ran here: kube-proxy cleanup --backend exec, with/m);
});

test.run();
