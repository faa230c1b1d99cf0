/**
 * An API server for tests: real HTTPS, real rules, no cluster. It answers what a kube-apiserver 1.36 answers for the
 * resources that a node proxy touches, refuses what that refuses, and misbehaves on request.
 *
 *   const server = await startApiServer();
 *   server.objects.apply({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'web' }, spec: { ports: [{ port: 80 }] } });
 *   const { path } = server.kubeconfigFor({ kind: 'token', token: server.tokens.issue('system:kube-proxy') });
 *   …
 *   await server.stop();
 *
 * | what a test does                   | how |
 * |------------------------------------|-----|
 * | write and read objects             | `objects`: apply, delete, get, list; the same validation as requests, ApiError when refused |
 * | let it misbehave                   | `faults.add(fault, match?, times?)`, see faults.ts |
 * | act on streams that are open       | `watches(match?)`: end, reset, close, freeze, fail, send, bookmark each |
 * | drop connections, stall handshakes | `dropConnections('reset' | 'close')`, `stallHandshakes(true)` |
 * | see what was asked                 | `requests()`: method, path, query, user, verb, resource, status, …; `forgetRequests()` |
 * | forget history                     | `compact()`: watches and lists of the past get 410 |
 * | restart it                         | `down()`, `up()`, `restart({ … })`: same port, same objects unless restored from a backup |
 * | who may what                       | `tokens.issue/expire`, `clientCertificate(user, groups)`, option `rules`, `setRules` |
 * | another certificate                | `rotateCertificate({ newAuthority })`; `ca()` is the present one |
 *
 * Default user for a quick start: `adminKubeconfig()`. Everything is released by `stop()`, the folder too if it made it.
 * Time comes from `options.clock`, so that bookmarks, timeouts and slow answers can be driven by a fake one.
 *
 * Simplified, on purpose: no protobuf, no Table output, no server-side apply, no aggregated discovery; deleting a
 * namespace is immediate; nothing plays controller (no slices are made for Services, no load balancer addresses).
 */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '../../core/backend.ts';
import { systemClock } from '../../core/node/clock.ts';
import { type Certificate, createAuthority } from './certificates.ts';
import { createCluster, type TestClusterOptions } from './cluster.ts';
import { createFaults, type Faults, type Match, matches } from './faults.ts';
import { createTokens, type Rule, type Tokens } from './http/auth.ts';
import { createHandler, type RequestRecord } from './http/handler.ts';
import type { OpenWatch } from './http/watch.ts';
import { type Credential, type KubeconfigFiles, writeKubeconfig, writeServiceAccount } from './kubeconfig.ts';
import { createListener } from './listener.ts';
import type { Objects } from './objects.ts';

export interface ApiServerOptions extends TestClusterOptions {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 0: any free port. */
  readonly port?: number;
  /** Where keys and kubeconfigs go. Default: a new temporary folder, removed by `stop()`. */
  readonly folder?: string;
  readonly clock?: Clock;
  /** Time between bookmarks. Default 60,000. */
  readonly bookmarkMilliseconds?: number;
  /** How long a request may wait for a version that is still to come. Default 3000. */
  readonly freshnessMilliseconds?: number;
  /** End of watches that ask for none. Default 2700. */
  readonly watchTimeoutSeconds?: number;
  /** The feature gate WatchList. Default true. */
  readonly watchList?: boolean;
  /** Whether requests without credentials are system:anonymous (403) or refused (401). Default true. */
  readonly anonymous?: boolean;
  /** What users may do besides the group system:masters. Default: everything. */
  readonly rules?: readonly Rule[];
}

export interface RestartOptions {
  /** What happens to connections: RST, closed, or watches ended properly first (default). */
  readonly how?: 'reset' | 'close' | 'end';
  /** Come back with the same objects under lower versions. */
  readonly lowerResourceVersion?: boolean;
  /** Come back in the state of this past version, as after restoring a backup of etcd. */
  readonly restoreTo?: number;
}

export interface ApiServer {
  /** "https://127.0.0.1:PORT"; does not change over restarts. */
  readonly url: string;
  readonly port: number;
  /** Where it keeps its files. */
  readonly folder: string;
  readonly objects: Objects;
  readonly faults: Faults;
  readonly tokens: Tokens;
  /** The CA's certificate, PEM. */
  ca(): string;
  kubeconfigFor(credential: Credential, name?: string): KubeconfigFiles;
  /** For a user who may do everything. */
  adminKubeconfig(): string;
  /** A folder with token, ca.crt and namespace as a pod has it. */
  serviceAccountFolder(token: string): string;
  clientCertificate(user: string, groups?: readonly string[], days?: number): Certificate;
  setRules(rules: readonly Rule[] | undefined): void;
  resourceVersion(): number;
  /** Use up versions, as changes of other resources do. */
  advance(by?: number): void;
  compact(): void;
  /** Oldest first; the last 100,000. */
  requests(): readonly RequestRecord[];
  forgetRequests(): void;
  /** Streams that are open, of this resource or user. */
  watches(match?: Omit<Match, 'verb'>): readonly OpenWatch[];
  /** TCP connections. */
  connections(): number;
  dropConnections(how: 'reset' | 'close'): void;
  stallHandshakes(stalled: boolean): void;
  /** New connections see another certificate, signed by another CA if so wanted. */
  rotateCertificate(options?: { readonly newAuthority?: boolean; readonly certificate?: Certificate }): void;
  down(how?: RestartOptions['how']): Promise<void>;
  up(options?: Omit<RestartOptions, 'how'>): Promise<void>;
  restart(options?: RestartOptions): Promise<void>;
  stop(): Promise<void>;
}

const MOST_RECORDS = 100_000;

export async function startApiServer(options: ApiServerOptions = {}): Promise<ApiServer> {
  const clock = options.clock ?? systemClock;
  const host = options.host ?? '127.0.0.1';
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'apiserver-'));
  const { store, writer, objects, restore } = createCluster(options);
  const faults = createFaults();
  const tokens = createTokens(() => randomUUID());
  const open = new Set<OpenWatch>();
  let records: RequestRecord[] = [];
  let rules = options.rules;
  let authority = createAuthority(folder);

  const server = createServer({ ...tlsOptions(authority.certificate, authority.issueServer()), keepAlive: true });
  server.requestTimeout = 0;
  server.keepAliveTimeout = 0;
  const listener = createListener(server, host, options.port ?? 0);
  const waitForVersion = (wanted: number): Promise<boolean> =>
    new Promise((resolve) => {
      const deadline = clock.now() + (options.freshnessMilliseconds ?? 3000);
      const look = (): void => {
        if (store.resourceVersion() >= wanted) resolve(true);
        else if (clock.now() >= deadline) resolve(false);
        else clock.after(Math.min(50, deadline - clock.now()), look);
      };
      look();
    });
  const handler = createHandler({
    store,
    writer,
    clock,
    faults,
    tokens,
    open,
    anonymous: options.anonymous ?? true,
    watchList: options.watchList ?? true,
    bookmarkMilliseconds: options.bookmarkMilliseconds ?? 60_000,
    defaultTimeoutSeconds: options.watchTimeoutSeconds ?? 2700,
    rules: () => rules,
    waitForVersion,
    newAuditID: randomUUID,
    resetConnection: listener.resetConnection,
    record(entry) {
      records.push(entry);
      if (records.length > MOST_RECORDS * 2) records = records.slice(-MOST_RECORDS);
    },
  });
  server.on('request', (request, response) => void handler(request, response));
  server.on('tlsClientError', () => {});
  await listener.open();

  const down: ApiServer['down'] = async (how = 'end') => {
    await listener.close();
    if (how === 'end') {
      for (const watch of [...open]) watch.end();
      // What is on its way may arrive; frozen streams never end.
      for (let round = 0; round < 20 && open.size > 0; round++) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    listener.drop(how === 'reset' ? 'reset' : 'close');
    open.clear();
  };
  const up: ApiServer['up'] = async ({ lowerResourceVersion = false, restoreTo } = {}) => {
    if (restoreTo !== undefined) restore(restoreTo);
    if (lowerResourceVersion) store.renumber();
    store.forgetWatches();
    await listener.open();
  };
  const url = `https://${host.includes(':') ? `[${host}]` : host}:${listener.port()}`;
  let kubeconfigs = 0;
  const kubeconfigFor: ApiServer['kubeconfigFor'] = (credential, name = `kubeconfig-${++kubeconfigs}`) =>
    writeKubeconfig(folder, name, url, authority.certificate, credential);

  return {
    url,
    port: listener.port(),
    folder,
    objects,
    faults,
    tokens,
    ca: () => authority.certificate,
    kubeconfigFor,
    adminKubeconfig: () =>
      kubeconfigFor({ kind: 'certificate', ...authority.issueClient('admin', ['system:masters']) }, 'admin').path,
    serviceAccountFolder: (token) => writeServiceAccount(folder, token, authority.certificate),
    clientCertificate: (user, groups, days) => authority.issueClient(user, groups, days),
    setRules(next) {
      rules = next;
    },
    resourceVersion: () => store.resourceVersion(),
    advance: (by = 1) => store.advance(by),
    compact: () => store.compact(),
    requests: () => records.slice(-MOST_RECORDS),
    forgetRequests() {
      records = [];
    },
    watches: (match = {}) => [...open].filter((watch) => matches(match, { verb: 'watch', ...watch })),
    connections: () => listener.connections(),
    dropConnections: (how) => listener.drop(how),
    stallHandshakes: (stalled) => listener.stallHandshakes(stalled),
    rotateCertificate({ newAuthority = false, certificate } = {}) {
      if (newAuthority) authority = createAuthority(folder, 'another-test-ca');
      server.setSecureContext(tlsOptions(authority.certificate, certificate ?? authority.issueServer()));
    },
    down,
    up,
    async restart({ how, ...rest } = {}) {
      await down(how);
      await up(rest);
    },
    async stop() {
      await down('close');
      server.close();
      if (options.folder === undefined) rmSync(folder, { recursive: true, force: true });
    },
  };
}

function tlsOptions(ca: string, { certificate, key }: Certificate) {
  return { ca, cert: certificate, key, requestCert: true, rejectUnauthorized: false, minVersion: 'TLSv1.2' } as const;
}
