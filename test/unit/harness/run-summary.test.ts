/** The runner's arithmetic: a file that did not prove itself is a failure. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { judge } from '../../run-summary.ts';

const test = suite('run summary');

const uvu = (total: number, passed: number, skipped = 0) =>
  `• • (${passed} / ${total})\n\n  Total:     ${total}\n  Passed:    ${passed}\n  Skipped:   ${skipped}\n  Duration:  1.00ms\n\n`;
const run = (output: string, status = 0) => judge({ output, status, signal: '', timedOut: false });
const killed = (output: string, signal: string, timedOut: boolean) =>
  judge({ output, status: undefined, signal, timedOut });

test('counts what uvu counted, over all batches of one file', () => {
  const { passed, failed, skipped, fault } = run(uvu(3, 3) + uvu(2, 2));
  assert.equal({ passed, failed, skipped, fault }, { passed: 5, failed: 0, skipped: 0, fault: '' });
});

test('reads coloured summaries too', () => {
  const green = '\n  Total:     2\u001b[32m\n  Passed:    2\u001b[39m\n  Skipped:   0\n';
  assert.is(run(green).passed, 2);
  assert.is(run(green).failed, 0);
});

test('counts failed tests once, without another for the exit status that they cause', () => {
  const { passed, failed, fault } = run(uvu(5, 3), 1);
  assert.equal({ passed, failed, fault }, { passed: 3, failed: 2, fault: '' });
});

test('counts each test that was skipped with a reason, and shows the reason', () => {
  const { skipped, failed, reasons } = run(`# skipped: a: no root\n# skipped: b: no SCTP\n${uvu(1, 1)}`);
  assert.is(skipped, 2);
  assert.is(failed, 0);
  assert.equal(reasons, ['# skipped: a: no root', '# skipped: b: no SCTP']);
});

test('accepts a file that skipped everything and said why', () => {
  assert.is(run('# skipped: all of x: no root\n').failed, 0);
});

test('fails a file that leaves out tests without a reason', () => {
  const { failed, fault } = run(uvu(1, 1, 2));
  assert.is(failed, 1);
  assert.match(fault, '.only');
});

test('fails a file that runs no test', () => {
  assert.match(run('').fault, 'ran no test');
  assert.match(run(uvu(0, 0)).fault, 'ran no test');
});

test('fails a file that crashes before its summary, even when it exits with a status of its own', () => {
  assert.is(run('TypeError: x', 1).failed, 1);
  assert.match(run('TypeError: x', 7).fault, 'status 7');
});

test('fails a file that ends badly after every test passed', () => {
  assert.match(run(uvu(2, 2), 1).fault, 'though no test failed');
});

test('fails a file that was killed, or took too long', () => {
  assert.match(killed(uvu(2, 2), 'SIGSEGV', false).fault, 'SIGSEGV');
  assert.match(killed('', 'SIGKILL', true).fault, 'too long');
});

test.run();
