/** --write-config-to: what is written, how, and that it reads back. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseCommandLine } from '../../../core/config/command-line.ts';
import { printConfiguration, toExternal } from '../../../core/config/external.ts';
import { checkSettings, loadConfigText } from '../../../core/config/settings.ts';
import { writeConfigFile } from '../../../core/config/write-config.ts';
import { BACKENDS, KUBEADM, load } from './files.ts';

const byFlags = (...argv: readonly string[]) => {
  const { settings, faults } = checkSettings(parseCommandLine(argv), BACKENDS);
  assert.equal(faults, []);
  return settings.configuration;
};
const readBack = (text: string) => {
  const { settings, faults, warnings } = loadConfigText(text, 'c', parseCommandLine(['--config=c']), BACKENDS);
  assert.equal([faults, warnings], [[], []]);
  return settings!.configuration;
};

const folder = mkdtempSync(join(tmpdir(), 'write-config-'));
const test = suite('writing the configuration');
test.after(() => rmSync(folder, { recursive: true }));

test('names are in the order of the alphabet, in every stanza', () => {
  const inOrder = (value: unknown): void => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return;
    assert.equal(Object.keys(value), Object.keys(value).toSorted());
    Object.values(value).forEach(inOrder);
  };
  inOrder(toExternal(byFlags('--feature-gates=B=true,A=true')));
});

test('it begins as the reference does, and what is ours is there only when it says something', () => {
  const text = printConfiguration(byFlags());
  assert.match(text, /^apiVersion: kubeproxy\.config\.k8s\.io\/v1alpha1\nbindAddress: 0\.0\.0\.0\n/);
  assert.match(text, /\nkind: KubeProxyConfiguration\n/);
  assert.not.match(text, /^backend/m);
  assert.match(
    printConfiguration(byFlags('--backend=acme', '--backend-option=a=b')),
    /\nbackend: acme\nbackendOptions:\n {2}a: b\n/,
  );
});

test('paths of plugins are absolute in a file, wherever the program was started', () => {
  const text = printConfiguration(byFlags('--backend=./acme.js', '--plugin-dir=plugins'));
  assert.match(text, new RegExp(`^backend: ${process.cwd()}/acme\\.js$`, 'm'));
  assert.match(text, new RegExp(`^pluginDir: ${process.cwd()}/plugins$`, 'm'));
  assert.match(printConfiguration(byFlags('--plugin-dir=')), /^mode: iptables$/m);
});

test('words that Kubernetes would read as something else are quoted', () => {
  const text = printConfiguration(
    byFlags('--hostname-override=off', '--ipvs-scheduler=010', '--healthz-port=0', '--backend-option=a=0o7'),
  );
  for (const quoted of ['hostnameOverride: "off"', 'scheduler: "010"', 'healthzBindAddress: "0"', '  a: "0o7"']) {
    assert.ok(text.includes(`${quoted}\n`), text);
  }
});

for (const [title, configuration] of [
  ['the defaults', byFlags()],
  ["kubeadm's", loadConfigText(KUBEADM, 'c', parseCommandLine(['--config=c']), BACKENDS).settings!.configuration],
  ['no servers', byFlags('--healthz-bind-address=', '--metrics-port=0')],
  [
    'another backend, many flags',
    byFlags(
      '--backend=acme',
      '--backend-option=a=true',
      '--nodeport-addresses=primary',
      '--bind-address=fd00::1',
      '-v3',
    ),
  ],
  ['nftables', load('mode: nftables\nnftables: {masqueradeBit: 3}\n').settings!.configuration],
] as const) {
  test(`${title}: what is written reads back as the same`, () => {
    assert.equal(readBack(printConfiguration(configuration)), configuration);
    assert.equal(readBack(JSON.stringify(toExternal(configuration))), configuration);
  });
}

test('no pause at all is written as the shortest there is, because 0 means the default in a file', () => {
  const text = printConfiguration(byFlags('--iptables-min-sync-period=0'));
  assert.match(text, /\niptables:\n(?: {2}.*\n)* {2}minSyncPeriod: 1ns\n/);
  assert.ok(readBack(text).iptables.minSyncPeriod < 0.001);
  assert.is(printConfiguration(readBack(text)), text);
});

test('the file is written whole, for all to read, and nothing else stays', async () => {
  const path = join(folder, 'config.conf');
  writeFileSync(path, 'what was there', { mode: 0o600 });
  await writeConfigFile(path, byFlags());
  assert.is(readFileSync(path, 'utf8'), printConfiguration(byFlags()));
  assert.is(statSync(path).mode & 0o777, 0o644);
  assert.equal(readdirSync(folder), ['config.conf']);
});

test('a place that cannot be written to is named, and nothing is left there', async () => {
  mkdirSync(join(folder, 'full', 'config.conf'), { recursive: true });
  for (const name of ['none', 'full']) {
    const path = join(folder, name, 'config.conf');
    let message = '';
    await writeConfigFile(path, byFlags()).catch((error: Error) => {
      message = error.message;
    });
    assert.ok(message.startsWith(`${path}: cannot be written (`), message);
  }
  assert.equal(readdirSync(folder).toSorted(), ['config.conf', 'full']);
  assert.equal(readdirSync(join(folder, 'full')), ['config.conf']);
});

test.run();
