/**
 * Who we are and whom we trust, as it is at the moment of each request: tokens expire after an hour, certificates are
 * renewed under the same name, a kubeconfig is rewritten. Everything is looked at again before every request (some
 * small files; there are five requests a second at most), so that renewal needs neither a restart nor a failure.
 *
 *   kubeconfig changed ──▶ new KubeConfig ─┐
 *   token file: every minute               ├──▶ headers, TLS options ──differ?──▶ new agent; the old one's idle
 *   certificates: every request            ┘                                     connections are closed
 *
 * What cannot be read while it is being replaced leaves the last credentials in use: the server will say if they are
 * no longer good.
 */
import { spawn } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import { createSecureContext } from 'node:tls';
import type { KubeConfig } from '@kubernetes/client-node/dist/config.js';
import type { Logger } from '../../backend.ts';
import type { Environment } from './environment-proxy.ts';
import { type Access, configError, inClusterAccess, plainAccess, readKubeconfig } from './kubeconfig.ts';
import { loadKubeConfigClass } from './load-kubeconfig.ts';

/** What one request is sent with. */
export interface Identity {
  readonly server: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly options: https.RequestOptions;
  /** "kubeconfig /etc/x", and through which proxy, for errors. */
  readonly origin: string;
}

export interface Credentials {
  /** May take as long as a credential plugin takes. Rejects when there is no identity at all. */
  current(): Promise<Identity>;
  /** "https://10.0.0.1:6443", as last read. */
  server(): string;
  /** Forget what is cached; the next request reads and asks for everything again. */
  renew(): void;
  close(): void;
}

export interface CredentialsOptions {
  readonly kubeconfig: string;
  readonly master: string;
  readonly log: Logger;
  readonly environment: Environment;
  /** Where a pod finds its token and certificate authority. */
  readonly serviceAccountFolder: string;
}

/** For a proxy to say that it has connected. */
const CONNECT_LIMIT_MS = 30_000;
/** A credential plugin that asks somebody, or waits for a network, must not be waited for for good. */
const PLUGIN_LIMIT_MS = 60_000;
/** An idle connection is worth keeping for the next request of the same burst, not until the server drops it. */
const IDLE_MS = 30_000;

/** Rejects (KP_API_CONFIG) if what is configured can never work. */
export async function openCredentials(options: CredentialsOptions): Promise<Credentials> {
  const { log } = options;
  let access = await readAccess(options);
  requireFiles(access);
  let stamp = await stampOf(options.kubeconfig);
  let config: KubeConfig | undefined;
  /** What was last good for authentication, and for connections. */
  let authenticated: https.RequestOptions | undefined;
  let transport: Transport | undefined;
  let pending: Promise<Identity> | undefined;
  /** Ends credential plugins. */
  const closing = new AbortController();
  /** What is wrong now, and what was said of it. */
  let problems: string[] = [];
  let told = '';

  async function current(): Promise<Identity> {
    problems = [];
    await followFile();
    const request = await authenticate();
    await followCertificates(request);
    if (!transport) throw new Error(problems.join('; '));
    const { authorization, ...headers } = lowerCase(request.headers);
    // A token file ends with a line feed as often as not, which no header may hold.
    const token = authorization === undefined ? {} : { authorization: authorization.trim() };
    const { proxyUrl } = access.cluster;
    return {
      server: access.server,
      headers: { ...headers, ...token },
      options: { ...transport.options, ...(request.auth ? { auth: request.auth } : {}) },
      origin: proxyUrl === undefined ? access.origin : `${access.origin}, proxy ${withoutPassword(proxyUrl)}`,
    };
  }

  async function followFile(): Promise<void> {
    const now = await stampOf(options.kubeconfig);
    if (now === stamp) return;
    try {
      access = await readAccess(options);
      stamp = now;
      config = undefined;
      log.info('The kubeconfig changed and was read again', { file: options.kubeconfig });
    } catch (error) {
      problems.push(messageOf(error));
    }
  }

  async function authenticate(): Promise<https.RequestOptions> {
    if (isAnonymous(access)) return {};
    // For a CONNECT that is never answered. A SOCKS agent would take it as a limit on silence and end quiet watches.
    const limit = access.cluster.proxyUrl?.startsWith('http') ? { timeout: CONNECT_LIMIT_MS } : {};
    const request: https.RequestOptions = { headers: {}, ...limit };
    config ??= await createConfig(access, closing.signal);
    const { exec } = access.user;
    try {
      await config.applyToHTTPSOptions(request);
      // Otherwise we would be nobody in particular, for as long as what it said is kept.
      if (exec !== undefined && isEmpty(request)) throw new Error('it gave neither a token nor a certificate');
    } catch (error) {
      // The class keeps what a plugin said, whether it makes sense or not.
      if (exec !== undefined) config = undefined;
      const plugin = exec === undefined ? '' : `credential plugin ${exec.command}: `;
      const problem = `${access.origin}: ${plugin}${messageOf(error) || 'it failed without a word'}`;
      if (!authenticated) throw new Error(problem, { cause: error });
      problems.push(problem);
      return authenticated;
    }
    authenticated = request;
    return request;
  }

  /** Connections that are in use live on with the certificates they began with. */
  async function followCertificates(request: https.RequestOptions): Promise<void> {
    const { ca, cert, key, servername, rejectUnauthorized } = request;
    const { server, proxyUrl } = access.cluster;
    const parts = [ca, cert, key].map((part) => (Buffer.isBuffer(part) ? part.toString('base64') : (part ?? '')));
    const fingerprint = JSON.stringify([server, proxyUrl, servername, rejectUnauthorized, ...parts]);
    if (transport?.fingerprint === fingerprint) return;
    const tls = defined({ ca, cert, key, servername, rejectUnauthorized });
    try {
      // Certificate and key are two files, and for a moment they may not fit each other.
      createSecureContext(defined({ ca, cert, key }));
    } catch (error) {
      problems.push(`${access.origin}: the certificates cannot be used (${messageOf(error)})`);
      return;
    }
    const old = transport;
    if (old && proxyUrl !== undefined) {
      // The class caches its agents by name, whatever became of the certificates.
      config = await createConfig(access, closing.signal);
      await config.applyToHTTPSOptions(request);
    }
    const own = { keepAlive: true, timeout: IDLE_MS, ...tls };
    const agent = proxyUrl !== undefined ? (request.agent as http.Agent) : createAgent(access.server, own);
    transport = { fingerprint, agent, options: { ...tls, agent } };
    if (!old) return;
    retire(old.agent);
    log.info('The server or its certificates changed; new connections use the new ones', { origin: access.origin });
  }

  /** A problem that stays is told once. */
  function tell(): void {
    const text = problems.join('; ');
    if (text !== '' && text !== told) {
      log.warn('The credentials cannot be renewed; the last that could be read stay in use', { problem: text });
    }
    told = text;
  }

  return {
    async current() {
      pending ??= current();
      try {
        const identity = await pending;
        tell();
        return identity;
      } finally {
        pending = undefined;
      }
    },
    server: () => access.server.origin,
    renew() {
      config = undefined;
    },
    close() {
      closing.abort();
      transport?.agent.destroy();
    },
  };
}

/** How connections are made. */
interface Transport {
  readonly fingerprint: string;
  readonly agent: http.Agent;
  readonly options: https.RequestOptions;
}

function createAgent(server: URL, options: https.AgentOptions): http.Agent {
  return server.protocol === 'http:' ? new http.Agent(options) : new https.Agent(options);
}

/** Nobody in particular, directly to a server that the system's authorities vouch for: nothing is to be loaded. */
function isAnonymous({ cluster, user }: Access): boolean {
  const { caFile, caData, tlsServerName, proxyUrl, skipTLSVerify, server } = cluster;
  const plain = [caFile, caData, tlsServerName, proxyUrl].every((part) => part === undefined);
  return plain && Object.keys(user).length === 1 && (!skipTLSVerify || server.startsWith('http:'));
}

async function readAccess(options: CredentialsOptions): Promise<Access> {
  const { kubeconfig, master, environment, serviceAccountFolder } = options;
  if (kubeconfig !== '') return readKubeconfig(await parseFile(kubeconfig), kubeconfig, master, environment);
  if (master !== '') return plainAccess(master, environment);
  const hasCA = existsSync(`${serviceAccountFolder}/ca.crt`);
  if (!hasCA) {
    options.log.warn('There is no ca.crt for the API server; the authorities of the system count', {
      folder: serviceAccountFolder,
    });
  }
  return inClusterAccess(serviceAccountFolder, hasCA, environment);
}

async function parseFile(file: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw configError(
      `kubeconfig ${file}: cannot be read (${reasonOf(error)}); correct --kubeconfig or its permissions`,
      error,
    );
  }
  const { parse } = await import('yaml');
  try {
    return parse(text, { logLevel: 'error' });
  } catch (error) {
    throw configError(`kubeconfig ${file}: is not YAML or JSON (${placeOf(error)}); correct the file`);
  }
}

/** What and where. Neither its message nor the error as a cause: both quote the file, which holds credentials. */
function placeOf(error: unknown): string {
  const { code, linePos } = error as { code?: unknown; linePos?: readonly { line: number; col: number }[] };
  const [at] = linePos ?? [];
  return `${typeof code === 'string' ? code : 'unreadable'}${at ? ` at line ${at.line}, column ${at.col}` : ''}`;
}

function isEmpty({ headers, cert, key }: https.RequestOptions): boolean {
  return lowerCase(headers).authorization === undefined && (cert === undefined || key === undefined);
}

/** At the start, what is missing or makes no sense is an error of configuration; later it may be on its way. */
function requireFiles({ origin, files, cluster, user }: Access): void {
  for (const { field, path } of files) {
    try {
      accessSync(path, constants.R_OK);
    } catch (error) {
      throw configError(`${origin}: ${field} ${path}: cannot be read (${reasonOf(error)}); correct the path`, error);
    }
  }
  const read = (file: string | undefined, data: string | undefined): Buffer | undefined =>
    file !== undefined ? readFileSync(file) : data !== undefined ? Buffer.from(data, 'base64') : undefined;
  try {
    createSecureContext(
      defined({
        ca: read(cluster.caFile, cluster.caData),
        cert: read(user.certFile, user.certData),
        key: read(user.keyFile, user.keyData),
      }),
    );
  } catch (error) {
    throw configError(`${origin}: its certificates cannot be used (${messageOf(error)}); correct them`, error);
  }
}

async function createConfig({ cluster, user }: Access, closing: AbortSignal): Promise<KubeConfig> {
  const config = new (await loadKubeConfigClass())();
  const context = { name: cluster.name, cluster: cluster.name, user: user.name };
  config.loadFromOptions({ clusters: [cluster], users: [user], contexts: [context], currentContext: context.name });
  if (user.exec !== undefined) limitPlugins(config, closing);
  return config;
}

/** The class runs a plugin for as long as it likes to run, and after our end. It keeps the function that starts it where tests can set it. */
function limitPlugins(config: KubeConfig, closing: AbortSignal): void {
  const { authenticators } = config as unknown as { authenticators: readonly { execFn?: unknown }[] };
  for (const authenticator of authenticators) {
    if (authenticator.execFn === undefined) continue;
    authenticator.execFn = (command: string, args: readonly string[], options: object) =>
      // Not its option `timeout`, whose timer outlives a plugin that cannot be started.
      spawn(command, args, {
        ...options,
        signal: AbortSignal.any([closing, AbortSignal.timeout(PLUGIN_LIMIT_MS)]),
        killSignal: 'SIGKILL',
      });
  }
}

/** Requests under way go on; nothing is kept for later ones. */
function retire(agent: http.Agent): void {
  agent.maxFreeSockets = 0;
  for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
}

/** Changes whenever the file may have changed; "" for no file or one that is not there. */
async function stampOf(file: string): Promise<string> {
  if (file === '') return '';
  try {
    const { dev, ino, size, mtimeNs } = await stat(file, { bigint: true });
    return `${dev}:${ino}:${size}:${mtimeNs}`;
  } catch {
    return '';
  }
}

function lowerCase(headers: https.RequestOptions['headers']): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(headers ?? {}).map(([name, value]) => [name.toLowerCase(), String(value)]));
}

function withoutPassword(proxy: string): string {
  const url = URL.parse(proxy);
  return url ? `${url.protocol}//${url.host}` : 'of the kubeconfig';
}

function defined<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]: Exclude<T[K], undefined> };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
}

function reasonOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : messageOf(error);
}
