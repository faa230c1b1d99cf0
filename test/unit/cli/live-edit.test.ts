/** The configuration file edited under a running daemon, as `kubectl edit configmap kube-proxy` does. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { killAll, MAIN, manifest, startProgram } from './program.ts';

const test = suite('the configuration file, edited live');
const folder = mkdtempSync(join(tmpdir(), 'live-edit-'));
const manifests = join(folder, 'web.json');
const mounted = join(folder, 'mounted');
const config = join(mounted, 'config.conf');
let revision = 0;

/** As the kubelet writes a ConfigMap: a new folder, and one link that is swapped. */
function write(text: string): void {
  const data = `..revision-${++revision}`;
  mkdirSync(join(mounted, data), { recursive: true });
  writeFileSync(join(mounted, data, 'config.conf'), text);
  symlinkSync(data, join(mounted, '..data_tmp'));
  renameSync(join(mounted, '..data_tmp'), join(mounted, '..data'));
  if (revision === 1) symlinkSync('..data/config.conf', config);
}

interface Edit {
  readonly metrics: number;
  readonly more?: string;
}

const text = ({ metrics, more = '' }: Edit): string => `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
backend: dry-run
hostnameOverride: worker-1
healthzBindAddress: "0"
metricsBindAddress: 127.0.0.1:${metrics}
${more}
`;

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  await new Promise((done) => server.close(done));
  if (typeof address !== 'object' || address === null) throw new Error('no port');
  return address.port;
}

async function get(port: number, path: string): Promise<string> {
  return (await fetch(`http://127.0.0.1:${port}${path}`)).text();
}

interface Configz {
  readonly 'kubeproxy.config.k8s.io': Readonly<Record<string, unknown>>;
  readonly 'kube-proxy.io': { runningHash: string; fileHash: string; inForce: boolean; error?: string };
}

async function configz(port: number): Promise<Configz> {
  return JSON.parse(await get(port, '/configz'));
}

test.before(() => writeFileSync(manifests, manifest('10.244.1.2')));
test.after.each(killAll);
test.after(() => rmSync(folder, { recursive: true }));

test('a good edit takes effect, a bad one is refused and shown, and a mended one takes effect again', async () => {
  const [first, second] = [await freePort(), await freePort()];
  write(text({ metrics: first }));
  const daemon = startProgram(MAIN, '--config', config, '--manifests', manifests);
  await daemon.says(/Ready backend="dry-run"/);
  const before = await configz(first);
  assert.is(before['kube-proxy.io'].inForce, true);
  assert.is(before['kube-proxy.io'].runningHash, before['kube-proxy.io'].fileHash);

  write(text({ metrics: second, more: 'clusterCIDR: 10.244.0.0/16\nlogging:\n  verbosity: 3' }));
  await daemon.says(/The edited configuration is in force/);
  const after = await configz(second);
  assert.is(after['kubeproxy.config.k8s.io'].clusterCIDR, '10.244.0.0/16');
  assert.is.not(after['kube-proxy.io'].runningHash, before['kube-proxy.io'].runningHash);
  await assertRefused(first);
  assert.match(await get(second, '/metrics'), /^kubeproxy_config_last_reload_successful 1$/m);

  write(text({ metrics: second, more: 'clusterCIDR: 10.244.0.0/99\noomScoreAdj: 5000' }));
  await daemon.says(/refused and the one before stays in force .*10\.244\.0\.0\/99/);
  await daemon.says(/refused and the one before stays in force .*oomScoreAdj/);
  const refused = await configz(second);
  assert.is(refused['kube-proxy.io'].inForce, false);
  assert.match(
    refused['kube-proxy.io'].error ?? '',
    /10\.244\.0\.0\/99[\s\S]*oomScoreAdj|oomScoreAdj[\s\S]*10\.244\.0\.0\/99/,
  );
  assert.is(refused['kube-proxy.io'].runningHash, after['kube-proxy.io'].runningHash);
  assert.is.not(refused['kube-proxy.io'].fileHash, after['kube-proxy.io'].fileHash);
  assert.is(refused['kubeproxy.config.k8s.io'].clusterCIDR, '10.244.0.0/16');
  assert.match(await get(second, '/metrics'), /^kubeproxy_config_last_reload_successful 0$/m);

  write(text({ metrics: second, more: 'clusterCIDR: 10.245.0.0/16' }));
  await daemon.says(/in force[\s\S]*in force file=\S+ hash=\S+\n/);
  assert.is((await configz(second))['kubeproxy.config.k8s.io'].clusterCIDR, '10.245.0.0/16');
  daemon.child.kill('SIGTERM');
  assert.is(await daemon.exit, 0);
});

test('an option that the backend refuses keeps the backend as it was', async () => {
  const port = await freePort();
  write(text({ metrics: port }));
  const daemon = startProgram(MAIN, '--config', config, '--manifests', manifests);
  await daemon.says(/Ready backend="dry-run"/);
  write(text({ metrics: port, more: 'backendOptions:\n  format: poem' }));
  await daemon.says(/refused and the one before stays in force .*format/);
  writeFileSync(manifests, manifest('10.244.1.3'));
  await daemon.says(/dry-run\] ~ default\/web\/TCP endpoints \+10\.244\.1\.3:8080/);
  write(text({ metrics: port, more: 'backendOptions:\n  format: json' }));
  await daemon.says(/Another backend takes over/);
  await daemon.says(/"op":"commit"/);
  daemon.child.kill('SIGTERM');
  assert.is(await daemon.exit, 0);
});

test('the servers can swap their addresses, and a file that goes is shown until it is back', async () => {
  const [health, metrics] = [await freePort(), await freePort()];
  const both = (first: number, second: number): string =>
    text({ metrics: second }).replace('healthzBindAddress: "0"', `healthzBindAddress: 127.0.0.1:${first}`);
  write(both(health, metrics));
  const daemon = startProgram(MAIN, '--config', config, '--manifests', manifests);
  await daemon.says(/Ready backend="dry-run"/);
  write(both(metrics, health));
  await daemon.says(/The edited configuration is in force/);
  assert.is((await configz(health))['kube-proxy.io'].inForce, true);
  assert.match(await get(metrics, '/readyz'), /"ready":true/);
  renameSync(join(mounted, '..data'), join(mounted, '..away'));
  await daemon.says(/cannot be read; the last configuration stays in force/);
  assert.is((await configz(health))['kube-proxy.io'].inForce, false);
  renameSync(join(mounted, '..away'), join(mounted, '..data'));
  await daemon.says(/can be read again/);
  assert.is((await configz(health))['kube-proxy.io'].inForce, true);
  daemon.child.kill('SIGTERM');
  assert.is(await daemon.exit, 0);
});

async function assertRefused(port: number): Promise<void> {
  const answer = await get(port, '/healthz').catch((error: Error) => error);
  assert.instance(answer, Error);
}

test.run();
