import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createSysctl } from '../../../core/node/sysctl.ts';

const test = suite('sysctl');
const root = mkdtempSync(join(tmpdir(), 'sysctl-'));
const file = join(root, 'net/ipv4/ip_forward');
const sysctl = createSysctl(root);

test.before(() => {
  mkdirSync(join(root, 'net/ipv4'), { recursive: true });
});
test.before.each(() => writeFileSync(file, '0\n'));
test.after(() => rmSync(root, { recursive: true }));

const message = (act: () => unknown): string => {
  try {
    act();
  } catch (error) {
    return (error as Error).message;
  }
  return 'nothing was thrown';
};

test('a value is read without its line end; a parameter that does not exist is undefined', () => {
  assert.is(sysctl.read('net/ipv4/ip_forward'), '0');
  assert.is(sysctl.read('net/ipv4/nothing'), undefined);
  assert.is(sysctl.read('net/ipv4/ip_forward/below'), undefined);
});

test('a different value is written', () => {
  sysctl.ensure('net/ipv4/ip_forward', '1');
  assert.is(readFileSync(file, 'utf8'), '1');
});

test('an equal value is not written, so that a read-only /proc/sys suffices', () => {
  const { mtimeMs, size } = statSync(file);
  sysctl.ensure('net/ipv4/ip_forward', '0');
  assert.equal([statSync(file).mtimeMs, statSync(file).size], [mtimeMs, size]);
  writeFileSync(file, '4096\t131072\n');
  sysctl.ensure('net/ipv4/ip_forward', '4096 131072');
  assert.is(readFileSync(file, 'utf8'), '4096\t131072\n');
});

test('a parameter that does not exist cannot be ensured', () => {
  assert.match(
    message(() => sysctl.ensure('net/ipv4/nothing', '1')),
    /sysctl net\/ipv4\/nothing does not exist.*module/,
  );
});

test('a name that leads out of /proc/sys is refused', () => {
  for (const name of ['../etc/passwd', 'net/../../etc', '/etc/passwd', '', 'net//ipv4']) {
    assert.match(
      message(() => sysctl.read(name)),
      /is not the name of a parameter/,
      name,
    );
  }
});

test('a value that the kernel does not take is a fault that shows the remedy', () => {
  const said = message(() => createSysctl('/proc').ensure('version', 'x'));
  assert.match(said, /^sysctl version is "Linux.* cannot be set to "x" \(E[A-Z]+\); set it on the host: sysctl -w/);
});

test.run();
