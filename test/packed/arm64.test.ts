/**
 * The executable for arm64, built on a machine of another kind and run by qemu's emulation of a process: it starts, it
 * reads manifests, it prints rules. What it says to the kernel is the same code, and is not tried here.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ensurePackages } from '../../build/packages.ts';
import { argvOf, goldenCases, renderCase } from '../golden/cases.ts';
import { skip } from '../skip.ts';
import { DIST, run } from './executable.ts';

const test = suite('packed for arm64');
const PROGRAM = join(DIST, 'kube-proxy-linux-arm64');
const LIBRARIES = '/usr/aarch64-linux-gnu';

function problem(): string {
  if (process.arch !== 'x64') return 'the emulation is set up for x64 machines only';
  if (!existsSync(PROGRAM)) return `there is no ${PROGRAM}; type: npm run build all`;
  try {
    ensurePackages(['qemu-user-static', 'libstdc++6-arm64-cross']);
    return '';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

const PLUGIN = `
const count = (changes: readonly { upsert: unknown[] }[]): number => changes.reduce((sum, each) => sum + each.upsert.length, 0);
export default {
  name: 'counting',
  apiVersion: 1,
  summary: 'counts',
  create: () => Promise.reject(new Error('it only renders')),
  render: (changes: readonly { upsert: unknown[] }[]) => count(changes) + ' service ports\\n',
};
`;

const emulated = (args: readonly string[]) => run(['qemu-aarch64-static', '-L', LIBRARIES, PROGRAM, ...args]);
const reason = problem();
if (reason !== '') {
  skip('the executable for arm64', reason);
} else {
  test('it says its version, for arm64', () => {
    const { status, stdout, stderr } = emulated(['version']);
    assert.is(status, 0, stderr);
    assert.match(stdout, 'linux/arm64)');
  });

  for (const backend of ['nftables', 'iptables']) {
    test(`it renders for ${backend} as the sources do here`, async () => {
      const [golden] = goldenCases();
      assert.ok(golden);
      const { status, stdout, stderr } = emulated(argvOf(golden, backend));
      assert.is(status, 0, stderr);
      assert.fixture(stdout, await renderCase(golden, backend));
    });
  }

  test('it loads a backend written in TypeScript', () => {
    const folder = mkdtempSync('/tmp/packed-');
    try {
      const file = join(folder, 'counting.ts');
      writeFileSync(file, PLUGIN);
      const manifests = join(goldenCases()[0]!.folder, 'objects.yaml');
      const { status, stdout, stderr } = emulated(['render', '--backend', file, '--manifests', manifests]);
      assert.is(status, 0, stderr);
      assert.match(stdout, /^\d+ service ports\n$/);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test('its library for netlink is that of arm64', () => {
    const machine = (at: Buffer): number => at.readUInt16LE(18);
    // ELF: e_machine, 183 = AArch64. The library begins where a second ELF header of a shared object does.
    const program = readFileSync(PROGRAM);
    const second = program.indexOf(Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]), 64);
    assert.is(machine(program), 183);
    assert.ok(second > 0);
    assert.is(machine(program.subarray(second)), 183);
  });
}
test.run();
