/** The whole daemon with a plugin that does everything wrong: whatever it does, the process lives, says who, and serves. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { killAll } from '../cli/program.ts';
import { type Act, type EvilOptions, startEvil } from './evil-plugin.ts';

const test = suite('the daemon with an evil plugin');
let remove = (): void => {};
test.after.each(() => {
  killAll();
  remove();
});

async function start(options: EvilOptions) {
  const { evil, remove: removeFiles } = await startEvil(options);
  remove = removeFiles;
  return evil;
}

/** What is asked for until it is so, since the log alone does not tell. */
async function until(ask: () => Promise<string>, pattern: RegExp, limitMs = 40_000): Promise<void> {
  const deadline = performance.now() + limitMs;
  for (let answer = ''; ; answer = await ask()) {
    if (pattern.test(answer)) return;
    if (performance.now() > deadline) throw new Error(`no ${pattern} in ${answer}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

const escaped = (text: string): RegExp =>
  new RegExp(`An exception escaped from the backend; [^\n]*backend="evil" error="${text}`);
const unhandled = (text: string): RegExp =>
  new RegExp(`A rejection in the backend was not handled; [^\n]*backend="evil" error="${text}`);
const refused = (call: string): RegExp =>
  new RegExp(`wanted what would harm the whole process and was refused; [^\n]*backend="evil" error="process.${call}`);
const failed = (text: string): RegExp =>
  new RegExp(`Sync failed; [^\n]*error="backend evil: IPv4: sync failed: [^\n]*${text}`);

/** What the log says of each, and whether health tells, too. */
const SAID: readonly (readonly [act: Act, says: RegExp, health?: RegExp])[] = [
  [
    'timer',
    escaped('thrown in a timer \\(evil\\.mjs:\\d+\\)"'),
    /backend evil: an exception escaped: thrown in a timer/,
  ],
  ['hostTimer', escaped('thrown in a timer of the host'), /an exception escaped: thrown in a timer of the host/],
  ['rejection', unhandled('rejected at large'), /backend evil: a rejection was not handled: rejected at large/],
  ['emitter', escaped('nobody listens'), /an exception escaped: nobody listens/],
  ['child', escaped('spawn /nonexistent/program ENOENT'), /spawn \/nonexistent\/program ENOENT/],
  ['exit', refused('exit\\(3\\)'), /backend evil: it wanted what would harm the whole process: [^"]*process.exit\(3\)/],
  ['exitLater', refused('exit\\(4\\)'), /process.exit\(4\)/],
  ['exitHidden', refused('reallyExit\\(5\\)'), /process.reallyExit\(5\)/],
  ['abort', refused('abort\\(\\)'), /process.abort\(\)/],
  ['kill', refused('kill\\(\\d+, SIGKILL\\)'), /process.kill\(\d+, SIGKILL\)/],
  ['forgedSignal', refused('emit\\(SIGTERM\\)'), /process.emit\(SIGTERM\)/],
  ['chdir', refused('chdir\\(/\\)'), /process.chdir/],
  ['throwsNull', failed('null')],
  ['laterNull', escaped('null'), /an exception escaped: null/],
  ['hostile', unhandled('something was thrown that cannot be shown'), /a rejection was not handled: something/],
  ['stackTrap', escaped('a trap'), /an exception escaped: a trap/],
  ['nonsense', /synced but its report is wrong backend="evil"/],
  ['noThenable', failed('no thenable')],
  [
    'mutate',
    failed(
      'the change is frozen: copy it before [^\n]*Cannot assign to read only property[^\n]* \\(evil\\.mjs:\\d+\\)',
    ),
  ],
  ['block', /kept from everything else [^\n]*backend="evil" call="IPv4: sync" seconds=[1-9]/],
];

test('whatever it does, the process lives, log and health name it, and it serves when it behaves', async () => {
  const daemon = await start({ backend: 'evil' });
  await daemon.says(/Ready backend="evil"/);
  await daemon.says(escaped('thrown since it was loaded'));
  await daemon.says(unhandled('leaked by create'));
  let number = 1;
  for (const [act, says, health] of SAID) {
    number++;
    // Two, so that there is an order to spoil.
    daemon.serve(act, `10.244.1.${number}`, '10.244.9.9');
    await daemon.says(says);
    if (health) await until(daemon.healthz, health);
    await daemon.says(new RegExp(`evil\\] Serving act="${act}" endpoints="10.244.1.${number} `));
    assert.is(daemon.child.exitCode, null, act);
  }
  const metrics = await daemon.metrics();
  for (const kind of ['exception', 'rejection', 'refused', 'stall']) {
    assert.match(metrics, new RegExp(`^kubeproxy_backend_faults_total\\{backend="evil",kind="${kind}"\\} [1-9]`, 'm'));
  }
  await until(daemon.healthz, /"nodeEligible":true,"healthy":true/);
  assert.match(daemon.log(), /synced in full and was quiet since; it counts as healthy again backend="evil"/);
  daemon.child.kill('SIGTERM');
  assert.is(await daemon.exit, 0);
  assert.not.match(daemon.log(), /this is a bug/);
});

test('who waits for a call that hangs is told which, and what follows it is served', async () => {
  const daemon = await start({ backend: 'evil' });
  await daemon.says(/Ready backend="evil"/);
  daemon.serve('hang', '10.244.1.2');
  await daemon.says(/Still waiting for the backend backend="evil" call="IPv4: sync" seconds=1\d\n/);
  daemon.configure('dry-run');
  await daemon.says(
    /The backend that is left has not ended its calls; .*backend="evil" waitsFor="IPv4: sync, for \d+ s"/,
  );
  daemon.letGo();
  await daemon.says(/Ready backend="dry-run"/);
  await daemon.says(/dry-run\] \+ default\/web\/TCP 10\.96\.0\.10:80 -> 10\.244\.1\.2:8080/);
  daemon.child.kill('SIGTERM');
  assert.is(await daemon.exit, 0);
});

const CREATES: readonly (readonly [how: string, says: RegExp])[] = [
  ['null', /backend evil: create failed: null/],
  ['exit', /backend evil: create failed: process\.exit\(11\) would end the whole kube-proxy/],
  [
    'nothing',
    /\S+evil\.mjs: backend evil: create\(\) made no backend: it returned undefined \(is a return missing\?\); .* \(KP_BACKEND_SHAPE\)/,
  ],
  [
    'pieces',
    /\S+evil\.mjs: backend evil: create\(\) made no backend: cleanup is no function; close is no function; families is no list/,
  ],
];

test('one that cannot be created ends the start with its name, whatever it left running', async () => {
  for (const [how, says] of CREATES) {
    const daemon = await start({ backend: 'evil', options: `  create: "${how}"` });
    assert.is(await daemon.exit, 1, how);
    assert.match(daemon.log(), new RegExp(`kube-proxy: ${says.source}`), daemon.log());
    remove();
    remove = () => {};
  }
});

test('one that cannot be created is refused while another serves, which goes on', async () => {
  const daemon = await start({ backend: 'dry-run' });
  await daemon.says(/Ready backend="dry-run"/);
  let number = 1;
  for (const [how, says] of CREATES) {
    daemon.configure('evil', `  create: "${how}"`);
    await daemon.says(new RegExp(`the one before stays in force [^\n]*${says.source}`));
    number++;
    daemon.serve('good', `10.244.1.${number}`);
    await daemon.says(new RegExp(`dry-run\\] ~ default/web/TCP endpoints \\+10.244.1.${number}:8080`));
  }
  daemon.child.kill('SIGTERM');
  assert.is(await daemon.exit, 0);
});

test.run();
