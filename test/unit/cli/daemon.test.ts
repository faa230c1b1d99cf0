import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { killAll, MAIN, manifest, NO_SERVERS, start, startProgram } from './program.ts';

const test = suite('the daemon');
const folder = mkdtempSync(join(tmpdir(), 'daemon-'));
const file = join(folder, 'web.json');

test.before.each(() => writeFileSync(file, manifest('10.244.1.2')));
test.after.each(killAll);
test.after(() => rmSync(folder, { recursive: true }));

test('it serves what the manifests say, follows their edits, and stops in order when told to', async () => {
  const daemon = start('--manifests', folder, '--backend', 'dry-run', '--hostname-override', 'worker-1');
  await daemon.says(/kube-proxy\] Ready backend="dry-run" families="IPv4,IPv6" servicePorts=\{"IPv4":1,"IPv6":0\}\n/);
  assert.match(daemon.log(), /dry-run\] \+ default\/web\/TCP 10\.96\.0\.10:80 -> 10\.244\.1\.2:8080\n/);
  writeFileSync(file, manifest('10.244.1.3'));
  await daemon.says(/dry-run\] ~ default\/web\/TCP endpoints \+10\.244\.1\.3:8080 -10\.244\.1\.2:8080\n/);
  assert.is(daemon.log().match(/Ready/g)!.length, 1);
  daemon.child.kill('SIGTERM');
  assert.is(await daemon.exit, 0);
  assert.match(daemon.log(), /Stopping; the rules stay in place signal="SIGTERM"[\s\S]*Stopped\n$/);
  assert.is(daemon.stdout(), '');
});

test('the log can be JSON, and so can what dry-run prints', async () => {
  const flags = ['--backend=dry-run', '--backend-option=format=json', '--logging-format=json'];
  const daemon = start('--manifests', file, ...flags);
  await daemon.says(/"msg":"Ready"/);
  await daemon.says(/"op":"commit","family":"IPv6"/);
  daemon.child.kill('SIGINT');
  assert.is(await daemon.exit, 0);
  for (const line of daemon.log().trimEnd().split('\n')) assert.type(JSON.parse(line).ts, 'number');
  const ops = daemon
    .stdout()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line).op);
  assert.equal(ops.toSorted(), ['add', 'commit', 'commit']);
});

test('a source that cannot work ends it with 2 and one line, before the backend is made', async () => {
  // As a backend that could not be made here, for want of privilege: its own fault would be another line.
  const daemon = start('--manifests', join(folder, 'none'), '--backend', 'dry-run', '--backend-option', 'format=none');
  assert.is(await daemon.exit, 2);
  const said = daemon
    .log()
    .split('\n')
    .filter((line) => line.startsWith('kube-proxy: '));
  assert.is(said.length, 1, daemon.log());
  assert.not.match(daemon.log(), /Ready|\n {4}at /);
});

/** Runs, with a plugin that begins this when its backend is created, until it is told to end. */
async function endsDespite(statement: string): Promise<void> {
  const plugin = join(folder, 'begins.mjs');
  writeFileSync(
    plugin,
    `import { readFile } from 'node:fs';
     const backend = { families: ['IPv4'], async sync() { return { operations: 0, bytes: 0 }; }, async cleanup() {}, async close() {} };
     async function create() { ${statement}; return backend; }
     export default { name: 'begins', apiVersion: 1, summary: 'begins', leavesHostAlone: true, create };`,
  );
  const daemon = start('--manifests', file, '--backend', plugin);
  await daemon.says(/Ready/);
  daemon.child.kill('SIGTERM');
  assert.is(await daemon.exit, 0);
  // Its last line: it did not wait until the time for stopping was over.
  assert.match(daemon.log(), /Stopped\n$/);
}

test('a thread that waits for a pipe for ever does not keep it from ending', async () => {
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  await endsDespite(`readFile('${pipe}', () => {})`);
});

test('a timer that a plugin left running does not keep it from ending', async () => {
  await endsDespite('setInterval(() => {}, 100)');
});

test('what a backend says of a Service is in the log without asking for more, where there is no API server', async () => {
  const plugin = join(folder, 'says.mjs');
  writeFileSync(
    plugin,
    `async function create(host) {
       const sync = async ({ upsert }) => {
         for (const port of upsert) host.events.warn(port, 'Odd', 'it is odd; make it even');
         try { host.events.warn({}, 'Odd', 'x'); } catch (error) { host.log.info('Refused', { error: error.message }); }
         return { operations: 0, bytes: 0 };
       };
       return { families: ['IPv4'], sync, async cleanup() {}, async close() {} };
     }
     export default { name: 'says', apiVersion: 1, summary: 'says', leavesHostAlone: true, create };`,
  );
  const daemon = start('--manifests', file, '--backend', plugin);
  await daemon.says(/Ready/);
  assert.match(
    daemon.log(),
    /W\d.* A Service is not served as its author asks service="[^"/]+\/[^"]+" reason="Odd" note="it is odd; make it even"/,
  );
  assert.match(daemon.log(), /Refused error="event undefined\/undefined is no Service: /);
  daemon.child.kill('SIGTERM');
  assert.is(await daemon.exit, 0);
});

/** The daemon with a plugin of our own: faults escape from it, and it never ends its second sync of IPv4. */
const BAD_PLUGIN = `
import { daemon } from '${resolve(import.meta.dirname, '../../../core/cli/daemon.ts')}';
import { createLog } from '${resolve(import.meta.dirname, '../../../core/observe/log.ts')}';
import { parseCommandLine } from '${resolve(import.meta.dirname, '../../../core/config/command-line.ts')}';
import { checkSettings } from '${resolve(import.meta.dirname, '../../../core/config/settings.ts')}';
const line = parseCommandLine(process.argv.slice(1));
const { settings } = checkSettings(line, ['iptables']);
const write = (line) => process.stderr.write(line);
const log = createLog({ verbosity: 0, format: 'text', component: 'kube-proxy', pid: 1, write, now: Date.now });
let syncs = 0;
const backend = {
  families: ['IPv4'],
  sync: () => (++syncs === 1 ? Promise.resolve({ operations: 0, bytes: 0 }) : new Promise(() => log.info('Hanging'))),
  cleanup: async () => {},
  close: async () => {},
};
const plugin = {
  name: 'bad', apiVersion: 1, summary: '',
  async create(host) {
    setTimeout(() => { throw new Error('thrown at large'); }, 10);
    setTimeout(() => Promise.reject(new Error('rejected at large')), 20);
    setTimeout(() => host.requestFullSync('to hang'), 1500);
    setInterval(() => {}, 1000);
    return backend;
  },
};
process.exitCode = await daemon({ settings, line, log }, async () => ({ plugin, options: {}, leavesHostAlone: true }));
`;

test('what escapes from a plugin is logged and ends nothing, and one that hangs cannot keep it alive', async () => {
  const script = ['--input-type=module', '--eval', BAD_PLUGIN, '--', ...NO_SERVERS];
  const daemon = startProgram(...script, '--manifests', file);
  await daemon.says(/An exception escaped from the backend; .* backend="bad" error="thrown at large"/);
  await daemon.says(/A rejection in the backend was not handled; .* backend="bad" error="rejected at large"/);
  await daemon.says(/Ready backend="bad" families="IPv4"/);
  await daemon.says(/Hanging/);
  const told = performance.now();
  daemon.child.kill('SIGTERM');
  assert.is(await daemon.exit, 0);
  assert.ok(performance.now() - told < 7000);
  assert.match(daemon.log(), /did not stop in time/);
});

test('core/main.ts is a program of its own', async () => {
  assert.ok(statSync(MAIN).mode & 0o100, 'executable');
  const [status, stdout] = await new Promise<[unknown, string]>((done) => {
    execFile(process.execPath, [MAIN, '--help'], (error, out) => done([error?.code ?? 0, out]));
  });
  assert.is(status, 0);
  assert.match(stdout, /^Usage: kube-proxy/);
  const [wrong, , stderr] = await new Promise<[unknown, string, string]>((done) => {
    execFile(process.execPath, [MAIN, '--nope'], (error, out, err) => done([error?.code ?? 0, out, err]));
  });
  assert.is(wrong, 2);
  assert.match(stderr, /^kube-proxy: --nope: unknown flag/);
});

test.run();
