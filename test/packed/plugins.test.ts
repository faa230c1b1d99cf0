/** Backends of other people, of each kind of file, in the packed executable: loaded, served, listed, refused, tested. */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { isolateTests } from '../netns/isolated.ts';
import { manifests, startPacked } from './daemon.ts';
import { packed, run } from './executable.ts';

await isolateTests(['nftables', 'iproute2']);
const test = suite('packed plugins');
let folder = '';
test.before.each(() => {
  folder = mkdtempSync('/run/plugins-');
  chmodSync(folder, 0o755);
});
test.after.each(() => rmSync(folder, { recursive: true, force: true }));

/** The body of a backend that keeps what it is told in a file. `types`: an annotation that only TypeScript has. */
const plugin = (name: string, types = ''): string => `{
  name: '${name}',
  apiVersion: 1,
  summary: 'keeps the state in a file',
  leavesHostAlone: true,
  async create(host${types}, options${types}) {
    const ports = new Map();
    return {
      families: ['IPv4'],
      async sync(change${types}) {
        if (change.full) ports.clear();
        for (const key of change.remove) ports.delete(key);
        for (const port of change.upsert) ports.set(port.key, port.cluster.map(({ ip }) => ip));
        fs.writeFileSync(options.file, JSON.stringify([...ports]));
        return { operations: ports.size, bytes: 0 };
      },
      async cleanup() {},
      async close() {},
    };
  },
}`;

const KINDS: readonly (readonly [file: string, source: (name: string) => string])[] = [
  ['esm.js', (name) => `import fs from 'node:fs';\nexport default ${plugin(name)};`],
  ['common.js', (name) => `const fs = require('node:fs');\nmodule.exports = ${plugin(name)};`],
  ['module.mjs', (name) => `import fs from 'node:fs';\nexport default ${plugin(name)};`],
  ['common-2.cjs', (name) => `const fs = require('node:fs');\nmodule.exports.default = ${plugin(name)};`],
  ['typed.ts', (name) => `import fs from 'node:fs';\nexport default ${plugin(name, ': any')};`],
  ['awaits.mjs', (name) => `const fs = await import('node:fs');\nexport default ${plugin(name)};`],
  ['sibling.mjs', (name) => `import { fs } from './part.mjs';\nexport default ${plugin(name)};`],
];

for (const [file, source] of KINDS) {
  test(`a backend in ${file} is loaded and follows an edit`, async () => {
    const path = join(folder, file);
    const state = join(folder, 'state');
    writeFileSync(path, source('state-file'));
    writeFileSync(join(folder, 'part.mjs'), `import fs from 'node:fs';\nexport { fs };`);
    const objects = manifests('10.244.1.5');
    const words = ['--manifests', objects.file, `--backend=${path}`, '--backend-option', `file=${state}`, '-v=2'];
    const daemon = startPacked(words);
    try {
      await daemon.says(/Ready.*state-file/);
      assert.is(readFileSync(state, 'utf8'), '[["default/web/TCP",["10.244.1.5"]]]');
      objects.write('10.244.1.6');
      await daemon.says(/sync="partial"/);
      assert.is(readFileSync(state, 'utf8'), '[["default/web/TCP",["10.244.1.6"]]]');
      assert.is(await daemon.stop(), 0, daemon.log());
    } finally {
      await daemon.stop('SIGKILL');
      objects.remove();
    }
  });
}

test('a backend is found by its name in --plugin-dir, with structured options from the configuration', async () => {
  const state = join(folder, 'state');
  writeFileSync(join(folder, 'state-file.mjs'), KINDS[0]![1]('state-file'));
  const config = join(folder, 'config.yaml');
  writeFileSync(
    config,
    [
      'apiVersion: kubeproxy.config.k8s.io/v1alpha1',
      'kind: KubeProxyConfiguration',
      'backend: state-file',
      `pluginDir: ${folder}`,
      'healthzBindAddress: "0"',
      'metricsBindAddress: "0"',
      `backendOptions: {file: ${state}, list: [1, two, {three: true}]}`,
    ].join('\n'),
  );
  const objects = manifests('10.244.1.5');
  const daemon = startPacked(['--config', config, '--manifests', objects.file]);
  try {
    await daemon.says(/Ready.*state-file/);
    assert.match(readFileSync(state, 'utf8'), '10.244.1.5');
  } finally {
    await daemon.stop();
    objects.remove();
  }
});

test('what cannot be loaded ends it with status 2 and one line that says why', () => {
  const objects = manifests('10.244.1.5');
  const refusals: readonly (readonly [file: string, source: string, mode: number, pattern: RegExp])[] = [
    ['throws.js', `throw new Error('no license');`, 0o644, /throws\.js.*no license/],
    ['syntax.mjs', `export default {`, 0o644, /syntax\.mjs/],
    ['enum.ts', `enum A { B }\nexport default ${plugin('x')}`, 0o644, /enum\.ts/],
    ['nothing.js', `module.exports = 5;`, 0o644, /nothing\.js/],
    ['old.js', `module.exports = ${plugin('old').replace('apiVersion: 1', 'apiVersion: 99')};`, 0o644, /99/],
    ['name.js', `module.exports = ${plugin('Bad Name')};`, 0o644, /Bad Name/],
    ['world.js', `module.exports = ${plugin('world')};`, 0o666, /world\.js.*chmod/],
  ];
  try {
    for (const [file, source, mode, pattern] of refusals) {
      const path = join(folder, file);
      writeFileSync(path, source);
      chmodSync(path, mode);
      const { status, stdout, stderr } = packed(['--manifests', objects.file, '--backend', path]);
      assert.is(status, 2, `${file}: ${stderr}`);
      assert.is(stdout, '');
      const said = stderr.split('\n').filter((line) => line.startsWith('kube-proxy: '));
      assert.is(said.length, 1, stderr);
      assert.match(said[0]!, pattern, file);
    }
    const { status, stderr } = packed(['--manifests', objects.file, '--backend', join(folder, 'absent.js')]);
    assert.is(status, 2);
    assert.match(stderr, 'absent.js');
  } finally {
    objects.remove();
  }
});

test('a file mounted the way a ConfigMap is, through links, is loaded', () => {
  const data = join(folder, '..2026_11_23');
  mkdirSync(data);
  writeFileSync(join(data, 'state-file.mjs'), KINDS[0]![1]('state-file'));
  symlinkSync('..2026_11_23', join(folder, '..data'));
  symlinkSync('..data/state-file.mjs', join(folder, 'state-file.mjs'));
  const { status, stdout, stderr } = packed(['plugins', '--plugin-dir', folder]);
  assert.is(status, 0, stderr);
  assert.match(stdout, 'state-file');
});

test('plugin new writes a backend that passes plugin test and serves', async () => {
  const made = packed(['plugin', 'new', 'my-backend'], { cwd: folder });
  assert.is(made.status, 0, made.stderr);
  const path = join(folder, 'my-backend', 'my-backend.js');
  const tested = packed(['plugin', 'test', path], { cwd: folder });
  assert.is(tested.status, 0, `${tested.stdout}\n${tested.stderr}`);
  assert.match(tested.stdout, /\d+ hold, 0 fail/);
  const again = packed(['plugin', 'new', 'my-backend'], { cwd: folder });
  assert.is(again.status, 2);
  // Its own test needs Node.js and nothing else.
  const own = run([process.execPath, '--test', join(folder, 'my-backend', 'my-backend.test.js')]);
  assert.is(own.status, 0, own.stdout);
});

test('plugin test names what a backend does wrong', () => {
  const path = join(folder, 'forgetful.mjs');
  const forgetful = plugin('forgetful').replace('for (const key of change.remove) ports.delete(key);', '');
  writeFileSync(
    path,
    `import fs from 'node:fs';\nexport default ${forgetful.replace('async close() {}', 'async close() { throw new Error("no"); }')};`,
  );
  const { status, stdout } = packed(['plugin', 'test', path, '--backend-option', `file=${join(folder, 'state')}`]);
  assert.is(status, 1, stdout);
  assert.match(stdout, /close/);
});

/** Listens in a thread, and tells its clients where they were going. */
const THREAD = `
import { createServer } from 'node:net';
import { fs } from './part.mjs';
export default (host, port: number) => {
  createServer((socket) => {
    const original = host.sockets.originalDestination((socket as any)._handle.fd);
    socket.on('error', () => {});
    socket.end(JSON.stringify(original));
  }).listen(port, '127.0.0.1', () => host.post(typeof fs.readFileSync));
  host.onMessage(() => { throw new Error('told to fail'); });
};
`;
const THREADED = `
export default {
  name: 'threaded',
  apiVersion: 1,
  summary: 'serves in a thread',
  leavesHostAlone: true,
  async create(host) {
    let thread;
    const start = () => new Promise((resolve) => {
      const onExit = (reason) => {
        host.log.warn('The thread is gone', { reason });
        void start();
      };
      thread = host.thread(new URL('./worker.ts', import.meta.url), { data: 8080, onMessage: resolve, onExit });
    });
    host.log.info('The thread serves', { says: await start() });
    return {
      families: ['IPv4'],
      async sync(change) {
        if (!change.full) thread.post('fail');
        return { operations: 0, bytes: 0 };
      },
      async cleanup() {},
      async close() {},
    };
  },
};
`;

test('a backend runs a module in a thread, which asks the kernel for original destinations and may fail', async () => {
  writeFileSync(join(folder, 'worker.ts'), THREAD);
  writeFileSync(join(folder, 'part.mjs'), `import fs from 'node:fs';\nexport { fs };`);
  const path = join(folder, 'threaded.mjs');
  writeFileSync(path, THREADED);
  const rule = 'ip daddr 10.96.0.10 tcp dport 80 dnat to 127.0.0.1:8080';
  const rules = `table ip test {\n chain out {\n type nat hook output priority -100\n ${rule}\n }\n}\n`;
  assert.is(run(['nft', '-f', '-'], { input: rules }).status, 0);
  assert.is(run(['ip', 'route', 'add', 'local', '10.96.0.0/16', 'dev', 'lo']).status, 0);
  const ask = (): Promise<string> => text(connect(80, '10.96.0.10'));
  const objects = manifests('10.244.1.5');
  const daemon = startPacked(['--manifests', objects.file, '--backend', path]);
  try {
    await daemon.says(/The thread serves.*says="function"[\s\S]*Ready/);
    assert.is(await ask(), '{"ip":"10.96.0.10","port":80}');
    objects.write('10.244.1.6');
    await daemon.says(/The thread is gone.*ended by an error: told to fail \(.*worker\.ts:\d+\)/);
    await untilAnswered(ask);
    assert.is(await ask(), '{"ip":"10.96.0.10","port":80}');
    assert.is(await daemon.stop(), 0, daemon.log());
  } finally {
    await daemon.stop('SIGKILL');
    objects.remove();
  }
});

/** Its successor needs some milliseconds until it listens. */
async function untilAnswered(ask: () => Promise<string>): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    try {
      return void (await ask());
    } catch {
      await sleep(50);
    }
  }
  throw new Error('nobody listens again');
}

test('what a thread would run, and others may change, is refused', async () => {
  writeFileSync(join(folder, 'worker.ts'), THREAD, { mode: 0o644 });
  chmodSync(join(folder, 'worker.ts'), 0o666);
  const path = join(folder, 'threaded.mjs');
  writeFileSync(path, THREADED);
  const objects = manifests('10.244.1.5');
  try {
    const { status, stderr } = packed(['--manifests', objects.file, '--backend', path]);
    assert.is(status, 2, stderr);
    assert.match(stderr, /worker\.ts.*chmod/);
  } finally {
    objects.remove();
  }
});

test.run();
