/**
 * A plugin file that does wrong on demand, and the daemon with it. The annotation kube-proxy.io/act of the Service names
 * what the plugin does at the next sync, once.
 */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Daemon, MAIN, manifest, startProgram } from '../cli/program.ts';

/** Bodies of functions of (host, options, change). */
export const ACTS = {
  good: '',
  timer: `setTimeout(() => { throw new Error('thrown in a timer'); }, 10);`,
  hostTimer: `host.clock.after(10, () => { throw new Error('thrown in a timer of the host'); });`,
  rejection: `setTimeout(() => { Promise.reject(new Error('rejected at large')); }, 10);`,
  emitter: `setTimeout(() => new EventEmitter().emit('error', new Error('nobody listens')), 10);`,
  child: `spawn('/nonexistent/program');`,
  exit: 'process.exit(3);',
  exitLater: 'setTimeout(() => process.exit(4), 10);',
  exitHidden: 'try { process.reallyExit(5); } catch {}',
  abort: 'setTimeout(() => process.abort(), 10);',
  kill: `process.kill(process.pid, 'SIGKILL');`,
  forgedSignal: `process.emit('SIGTERM', 'SIGTERM');`,
  chdir: `process.chdir('/');`,
  throwsNull: 'throw null;',
  laterNull: 'setTimeout(() => { throw null; }, 10);',
  hostile: `Promise.reject(new Proxy({}, { get() { throw 1; }, getPrototypeOf() { throw 2; } }));`,
  stackTrap: `setTimeout(() => { throw Object.defineProperty(new Error('a trap'), 'stack', { get() { throw 1; } }); }, 10);`,
  nonsense: 'return undefined;',
  noThenable: 'return { then() { throw new Error("no thenable"); } };',
  mutate: 'change.upsert[0].cluster.reverse();',
  block: `await null; const end = process.threadCpuUsage().user + 1_200_000; while (process.threadCpuUsage().user < end);`,
  hang: 'while (!existsSync(options.release)) await new Promise((done) => setTimeout(done, 50));',
} as const;
export type Act = keyof typeof ACTS;

const SOURCE = `
import { spawn } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { existsSync } from 'node:fs';

process.on('uncaughtException', () => process.exit(9));
setTimeout(() => { throw new Error('thrown since it was loaded'); }, 10);

const acts = {
${Object.entries(ACTS)
  .map(([name, body]) => `  async ${name}(host, options, change) { ${body} return { operations: 1, bytes: 1 }; },`)
  .join('\n')}
};
const creates = {
  null() { throw null; },
  exit() { setInterval(() => {}, 1000); process.exit(11); },
  nothing() {},
  pieces: () => ({ families: 'IPv4', sync() {} }),
};

export default {
  name: 'evil', apiVersion: 1, summary: 'does wrong on demand', leavesHostAlone: true,
  async create(host, options) {
    if (options.create) return creates[options.create]();
    Promise.reject(new Error('leaked by create'));
    let last = 'good';
    return {
      families: ['IPv4'],
      async sync(change) {
        const [port] = change.upsert;
        const act = port?.annotations['kube-proxy.io/act'] ?? 'good';
        const report = await acts[act === last ? 'good' : (last = act)](host, options, change);
        host.log.info('Serving', { act, endpoints: port?.cluster.map(({ ip }) => ip).join(' ') });
        return report;
      },
      async cleanup() {},
      async close() {},
    };
  },
};
`;

export interface EvilDaemon extends Daemon {
  /** The Service has these endpoints from now on, and the plugin does this at the next sync. */
  serve(act: Act, ...endpoints: readonly string[]): void;
  /** Ends the act that hangs. */
  letGo(): void;
  healthz(): Promise<string>;
  metrics(): Promise<string>;
  /** Of the configuration: which backend, and with what options. */
  configure(backend: 'evil' | 'dry-run', options?: string): void;
}

export interface EvilOptions {
  readonly backend: 'evil' | 'dry-run';
  readonly options?: string;
  readonly flags?: readonly string[];
}

/** `remove`: to be called when the daemon has ended. */
export async function startEvil({ backend, options, flags = [] }: EvilOptions) {
  const folder = mkdtempSync(join(tmpdir(), 'evil-'));
  const at = (name: string): string => join(folder, name);
  writeFileSync(at('evil.mjs'), SOURCE, { mode: 0o644 });
  const [healthPort, metricsPort] = [await freePort(), await freePort()];
  const replace = (name: string, text: string): void => {
    writeFileSync(at(`${name}.new`), text);
    renameSync(at(`${name}.new`), at(name));
  };
  const serve: EvilDaemon['serve'] = (act, ...endpoints) => {
    const list = JSON.parse(manifest(...endpoints));
    list.items[0].metadata.annotations = { 'kube-proxy.io/act': act };
    replace('web.json', JSON.stringify(list));
  };
  const configure: EvilDaemon['configure'] = (chosen, given = '') => {
    const lines = [
      'apiVersion: kubeproxy.config.k8s.io/v1alpha1',
      'kind: KubeProxyConfiguration',
      `backend: ${chosen === 'evil' ? at('evil.mjs') : chosen}`,
      'hostnameOverride: worker-1',
      'iptables:',
      '  minSyncPeriod: 50ms',
      `healthzBindAddress: 127.0.0.1:${healthPort}`,
      `metricsBindAddress: 127.0.0.1:${metricsPort}`,
      ...(chosen === 'evil' ? ['backendOptions:', `  release: ${at('release')}`, given] : []),
    ];
    replace('config.conf', `${lines.join('\n')}\n`);
  };
  const get = async (port: number, path: string): Promise<string> =>
    (await fetch(`http://127.0.0.1:${port}${path}`)).text();
  serve('good', '10.244.1.1');
  configure(backend, options);
  const daemon = startProgram(MAIN, '--config', at('config.conf'), '--manifests', at('web.json'), ...flags);
  const evil: EvilDaemon = {
    ...daemon,
    serve,
    configure,
    letGo: () => writeFileSync(at('release'), ''),
    healthz: () => get(healthPort, '/healthz'),
    metrics: () => get(metricsPort, '/metrics'),
  };
  return { evil, remove: () => rmSync(folder, { recursive: true }) };
}

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  await new Promise((done) => server.close(done));
  if (typeof address !== 'object' || address === null) throw new Error('no port');
  return address.port;
}
