/** Every built-in backend in the packed executable: loaded when chosen, programs the kernel, follows an edit, cleans up. */
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { BUILT_IN } from '../../core/cli/backends.ts';
import { isolateTests } from '../netns/isolated.ts';
import { manifests, startPacked } from './daemon.ts';
import { packed, run } from './executable.ts';

await isolateTests(['iptables', 'nftables']);
const test = suite('packed backends');

interface Case {
  readonly title: string;
  readonly flags: (folder: string) => readonly string[];
  /** What shows its work, as text. */
  readonly state: (folder: string, log: string) => string;
  /** Its state stays when it stops. */
  readonly programs: boolean;
}

const KERNEL = { programs: true };
const CASES: Readonly<Record<string, readonly Case[]>> = {
  nftables: [{ title: 'nftables', flags: () => [], state: () => run(['nft', 'list', 'ruleset']).stdout, ...KERNEL }],
  iptables: ['nft', 'legacy'].map((variant) => ({
    title: `iptables, ${variant}`,
    flags: () => ['--backend-option', `variant=${variant}`],
    state: () => run([`iptables-${variant}-save`]).stdout,
    ...KERNEL,
  })),
  'dry-run': [{ title: 'dry-run', flags: () => [], state: (_, log) => log, programs: false }],
  exec: [
    {
      title: 'exec',
      flags: (folder) => ['--backend-option', `command=${program(folder)}`],
      state: (folder) => readFileSync(join(folder, 'state'), 'utf8'),
      programs: false,
    },
  ],
};

/** Keeps the last state that it was told, as it came. */
function program(folder: string): string {
  const file = join(folder, 'program');
  const lines = [
    '#!/bin/sh',
    'while read -r line; do',
    '  case $line in',
    `  *'"type":"hello"'*) echo '{"type":"ready"}' ;;`,
    `  *) case $line in *10.96.0.10*) printf '%s' "$line" > ${join(folder, 'state')} ;; esac`,
    '     id=$(printf "%s" "$line" | sed "s/.*\\"id\\":\\([0-9]*\\).*/\\1/")',
    `     echo "{\\"type\\":\\"done\\",\\"id\\":$id}" ;;`,
    '  esac',
    'done',
    '',
  ];
  writeFileSync(file, lines.join('\n'), { mode: 0o755 });
  return file;
}

/** Tried below. That of ipvs is served in the virtual machine (test/vm): few kernels have what it is built on. */
const ELSEWHERE = ['ipvs', 'userspace'];

test('every built-in backend is tried here', () => {
  assert.equal([...Object.keys(CASES), ...ELSEWHERE].sort(), BUILT_IN.map(({ name }) => name).sort());
});

for (const way of ['redirect', 'direct']) {
  test(`userspace, ${way}: threads of the executable forward connections`, async () => {
    const objects = manifests('10.244.1.5');
    run(['ip', 'link', 'set', 'lo', 'up']);
    run(['ip', 'address', 'add', '10.244.1.5/32', 'dev', 'lo']);
    // Where connections are brought in: no loopback address.
    run(['ip', 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'up1']);
    run(['ip', 'address', 'add', '192.168.77.1/24', 'dev', 'up0']);
    run(['ip', 'link', 'set', 'up0', 'up']);
    run(['ip', 'route', 'add', 'default', 'dev', 'up0']);
    const server = createServer((socket) => socket.end('endpoint')).listen(8080, '10.244.1.5');
    await once(server, 'listening');
    const daemon = startPacked(['--backend=userspace', `--backend-option=way=${way}`, '--manifests', objects.file]);
    try {
      await daemon.says(/Ready/);
      const destination = way === 'redirect' ? '10.96.0.10' : '127.96.0.10';
      const answer = await new Promise<string>((resolve, reject) => {
        const socket = connect(80, destination, () => undefined)
          .setEncoding('utf8')
          .setTimeout(10_000);
        socket.once('data', (text) => resolve(String(text))).once('error', reject);
        socket.once('timeout', () => reject(new Error(`no answer: ${daemon.log()}`)));
      });
      assert.is(answer, 'endpoint');
      assert.is(await daemon.stop(), 0, daemon.log());
    } finally {
      server.close();
      await daemon.stop('SIGKILL');
      packed(['cleanup']);
      for (const words of [
        ['link', 'del', 'up0'],
        ['address', 'del', '10.244.1.5/32', 'dev', 'lo'],
      ])
        run(['ip', ...words]);
      objects.remove();
    }
  });
}

test('ipvs: is in the executable, prints what it would do, and starts or names what the kernel lacks', async () => {
  const objects = manifests('10.244.1.5', '10.244.1.7');
  try {
    const words = ['--backend=ipvs', '--manifests', objects.file];
    const { status, stdout, stderr } = packed(['render', ...words]);
    assert.is(status, 0, stderr);
    assert.match(stdout, /^-a -t 10\.96\.0\.10:80 -r 10\.244\.1\.5:\d+ -m -w 1$/m);
    const daemon = startPacked(words);
    await daemon.says(/Ready|CONFIG_IP_VS.*choose another backend/);
    const served = /Ready/.test(daemon.log());
    const ended = served ? await daemon.stop() : (daemon.child.exitCode ?? (await once(daemon.child, 'exit'))[0]);
    assert.is(ended, served ? 0 : 1, daemon.log());
  } finally {
    objects.remove();
    packed(['cleanup']);
  }
});

for (const [backend, cases] of Object.entries(CASES)) {
  for (const { title, flags, state, programs } of cases) {
    test(`${title}: serves, follows an edit, starts again on what is there, cleans up`, async () => {
      const folder = mkdtempSync('/run/packed-');
      const objects = manifests('10.244.1.5', '10.244.1.7');
      const words = ['--manifests', objects.file, '--backend', backend, ...flags(folder), '-v=2'];
      let daemon = startPacked(words);
      try {
        await daemon.says(/Ready/);
        assert.match(state(folder, daemon.log()), '10.244.1.5');
        objects.write('10.244.1.5', '10.244.1.6');
        await daemon.says(/sync="partial"/);
        assert.match(state(folder, daemon.log()), '10.244.1.6');
        assert.is(await daemon.stop(), 0, daemon.log());
        if (programs) assert.match(state(folder, ''), '10.244.1.6');
        daemon = startPacked(words);
        await daemon.says(/Ready/);
        if (programs) assert.match(daemon.log(), /family="IPv4" sync="full".* operations=0 /, daemon.log());
        assert.is(await daemon.stop('SIGINT'), 0, daemon.log());
      } finally {
        await daemon.stop('SIGKILL');
        const { status, stderr } = packed(['cleanup']);
        assert.is(status, 0, stderr);
        if (programs) assert.not.match(state(folder, ''), /10\.96\.0\.10|KUBE-SVC/);
        objects.remove();
        rmSync(folder, { recursive: true, force: true });
      }
    });
  }
}

test('plugins lists each with what this machine supports', () => {
  const { status, stdout, stderr } = packed(['plugins']);
  assert.is(status, 0, stderr);
  for (const { name } of BUILT_IN) assert.match(stdout, name);
  assert.match(stdout, /nftables[^\n]*(\n[^\n]+){0,4}IPv4/);
});

test.run();
