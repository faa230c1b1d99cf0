import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { exec, programEnvironment } from '../../../core/node/exec.ts';
import { errorText } from '../../../core/observe/log.ts';

const test = suite('running programs');

test('output and exit status come back, whatever the status is', async () => {
  const result = await exec('sh', ['-c', 'echo out; echo err >&2; exit 3']);
  assert.equal(result, { status: 3, stdout: 'out\n', stderr: 'err\n', timedOut: false });
});

test('arguments are not interpreted', async () => {
  const { stdout } = await exec('printf', ['%s', '$HOME; `id` * "x"']);
  assert.is(stdout, '$HOME; `id` * "x"');
});

test('tens of megabytes go in while as much comes out', async () => {
  const stdin = `${'x'.repeat(1023)}\n`.repeat(24 * 1024);
  const { stdout, status } = await exec('cat', [], { stdin });
  assert.is(status, 0);
  assert.ok(stdout === stdin, 'the same bytes come back');
});

test('bytes are piped as they are', async () => {
  const { stdout } = await exec('od', ['-An', '-tx1'], { stdin: Uint8Array.of(0, 255, 10) });
  assert.is(stdout.trim(), '00 ff 0a');
});

test('a program that does not read its input ends in peace', async () => {
  const result = await exec('sh', ['-c', 'exec <&-; sleep 0.05; exit 7'], { stdin: 'x'.repeat(8 << 20) });
  assert.is(result.status, 7);
});

test('without input a program reads an end of file, not our terminal', async () => {
  assert.is((await exec('cat', [])).stdout, '');
});

test('a missing program is a rejection that names it and the remedy', async () => {
  try {
    await exec('no-such-program-here', ['x'], { stdin: 'y' });
    assert.unreachable();
  } catch (error) {
    assert.instance(error, Error);
    assert.match((error as Error).message, /cannot start no-such-program-here: it is not installed, or not in PATH/);
  }
});

test('a whole command in the place of a program is told with the list that was meant', async () => {
  const fault = await exec('ip link show', []).catch((error: Error) => errorText(error));
  const call = "'ip', ['link', 'show']";
  assert.is(fault, `cannot start ip link show: there is no program of that name; arguments go into the list: ${call}`);
});

test('a file that may not be executed is told from a missing one', async () => {
  try {
    await exec('/etc/passwd', []);
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /cannot start \/etc\/passwd: it may not be executed/);
  }
});

test('a program that takes too long is ended and what it said until then is kept', async () => {
  const began = performance.now();
  const result = await exec('sh', ['-c', 'echo begun; exec sleep 30'], { timeoutMs: 150 });
  assert.equal(result, { status: -1, stdout: 'begun\n', stderr: '', timedOut: true });
  assert.ok(performance.now() - began < 5000);
});

test('a program that ignores the polite signal is ended too', async () => {
  const began = performance.now();
  const script = "process.on('SIGTERM', () => {}); setInterval(() => {}, 1000); console.log('up')";
  const result = await exec(process.execPath, ['-e', script], { timeoutMs: 700 });
  assert.is(result.timedOut, true);
  assert.is(result.status, -1);
  assert.ok(performance.now() - began < 10_000);
});

test('a descendant that keeps the output open is not waited for', async () => {
  const began = performance.now();
  const result = await exec('sh', ['-c', 'sleep 4 & sleep 4; :'], { timeoutMs: 150 });
  assert.is(result.timedOut, true);
  assert.ok(performance.now() - began < 3500);
});

test('messages are in English and the folders of system tools are searched', () => {
  const environment = programEnvironment({ PATH: '/usr/bin:/sbin', LANG: 'de_DE.UTF-8', HOME: '/root' });
  assert.equal(environment, { PATH: '/usr/bin:/sbin:/usr/sbin', LANG: 'C', LC_ALL: 'C', HOME: '/root' });
  assert.match(programEnvironment({}).PATH!, /\/usr\/bin.*\/usr\/sbin/);
});

test.run();
