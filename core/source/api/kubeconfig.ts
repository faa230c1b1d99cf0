/**
 * From a kubeconfig, or from what a pod finds in its place, to what `KubeConfig` of client-node takes. Pure.
 *
 * Only the current context's cluster and user are taken, and what that library reads differently from client-go, which
 * all other components use, is settled here:
 *
 *   tokenFile                       not known there; the kubeconfig of every kubeadm cluster's kube-proxy has it
 *   relative tokenFile, command     not made absolute there
 *   …-data beside a file            the file wins there, the data in client-go
 *   a context without a user        loses its certificate authority there
 *   http:// as the server           refused there without insecure-skip-tls-verify
 *   KUBERNETES_EXEC_INFO            not given to exec plugins there, which may insist on it
 *
 * Impersonation is by user name alone (`as`); groups (`as-groups`) are not known there either and are refused here.
 */
import { dirname, isAbsolute, join } from 'node:path';
import type { Cluster, User } from '@kubernetes/client-node/dist/config_types.js';
import { type Environment, proxyFromEnvironment } from './environment-proxy.ts';

/** Everything needed to speak to one server. */
export interface Access {
  /** What errors name: the kubeconfig's path, or where a pod's credentials are. */
  readonly origin: string;
  readonly server: URL;
  readonly cluster: Cluster;
  readonly user: User;
  /** Files that it refers to. */
  readonly files: readonly { readonly field: string; readonly path: string }[];
}

type Fields = Readonly<Record<string, unknown>>;

const NAME = 'kube-proxy';

/** The origin is wrong in a way that time does not heal. */
export function configError(problem: string, cause?: unknown): Error {
  return Object.assign(new Error(problem, { cause }), { code: 'KP_API_CONFIG' });
}

/** `config` is the file's parsed text, `master` the URL that replaces its server, or "". Throws KP_API_CONFIG. */
export function readKubeconfig(config: unknown, file: string, master: string, environment: Environment): Access {
  const fail = (problem: string): never => {
    throw configError(`kubeconfig ${file}: ${problem}`);
  };
  if (!isFields(config)) return fail('is not a kubeconfig (not a YAML or JSON object); give another --kubeconfig');
  const current = config['current-context'];
  if (typeof current !== 'string' || current === '') return fail('current-context: is not set; name a context there');
  const context = named(config.contexts, current, 'context');
  if (!context) return fail(`current-context: ${show(current)} is not in contexts; correct it or add the context`);
  const given = named(config.clusters, context.cluster, 'cluster');
  if (!given) return fail(`context ${show(current)}: its cluster ${show(context.cluster)} is not in clusters; add it`);
  const anonymous = context.user === undefined || context.user === null || context.user === '';
  const user = anonymous ? {} : named(config.users, context.user, 'user');
  if (!user) return fail(`context ${show(current)}: its user ${show(context.user)} is not in users; add it`);
  for (const field of ['as-uid', 'as-groups', 'as-user-extra']) {
    if (user[field] !== undefined) return fail(`user ${show(context.user)}: ${field} is not supported; use "as" alone`);
  }

  const folder = dirname(file);
  const path = (value: unknown): string | undefined => {
    const name = text(value);
    return name === undefined || isAbsolute(name) ? name : join(folder, name);
  };
  /** Data wins over a file of the same. */
  const fileUnlessData = (data: unknown, name: unknown) => (text(data) === undefined ? path(name) : undefined);
  const caFile = fileUnlessData(given['certificate-authority-data'], given['certificate-authority']);
  const certFile = fileUnlessData(user['client-certificate-data'], user['client-certificate']);
  const keyFile = fileUnlessData(user['client-key-data'], user['client-key']);
  const tokenFile = path(user.tokenFile);
  const usesTLS = caFile !== undefined || text(given['certificate-authority-data']) !== undefined;
  const server = serverURL(master || (text(given.server) ?? ''), usesTLS ? 'https' : 'http');
  if (!server) {
    return fail(
      master === ''
        ? `cluster ${show(context.cluster)}: server: ${show(given.server)} is not a URL; give one like https://10.0.0.1:6443`
        : `--master: ${show(master)} is not a URL; give one like https://10.0.0.1:6443`,
    );
  }
  const cluster = clusterOf(server, environment, {
    caData: text(given['certificate-authority-data']),
    caFile,
    tlsServerName: text(given['tls-server-name']),
    skipTLSVerify: given['insecure-skip-tls-verify'] === true,
    proxyUrl: text(given['proxy-url']),
  });
  const exec = isFields(user.exec) ? execOf(user.exec, folder, cluster) : undefined;
  return {
    origin: `kubeconfig ${file}`,
    server,
    cluster,
    user: defined<User>({
      name: NAME,
      certData: text(user['client-certificate-data']),
      certFile,
      keyData: text(user['client-key-data']),
      keyFile,
      // The file is the one that is renewed.
      token: tokenFile === undefined ? text(user.token) : undefined,
      authProvider: tokenFile === undefined ? user['auth-provider'] : tokenFileProvider(tokenFile),
      exec,
      username: text(user.username),
      password: text(user.password),
      impersonateUser: text(user.as),
    }),
    files: filesOf({
      'certificate-authority': caFile,
      'client-certificate': certFile,
      'client-key': keyFile,
      tokenFile,
    }),
  };
}

/** As a pod: https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/. `hasCA`: the folder has a ca.crt. */
export function inClusterAccess(folder: string, hasCA: boolean, environment: Environment): Access {
  const { KUBERNETES_SERVICE_HOST: host = '', KUBERNETES_SERVICE_PORT: port = '' } = environment;
  const server = host === '' || port === '' ? undefined : serverURL(joinHostPort(host, port), 'https');
  if (!server) {
    throw configError(
      'no API server is known: this is no pod of a cluster (KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are ' +
        'not set); give --kubeconfig FILE, or --manifests PATH to do without an API server',
    );
  }
  const caFile = hasCA ? join(folder, 'ca.crt') : undefined;
  const tokenFile = join(folder, 'token');
  return {
    origin: `service account ${folder}`,
    server,
    cluster: clusterOf(server, environment, { caFile, skipTLSVerify: false }),
    user: { name: NAME, authProvider: tokenFileProvider(tokenFile) },
    files: filesOf({ 'certificate-authority': caFile, token: tokenFile }),
  };
}

/** --master without a kubeconfig: a plain URL and nobody in particular. */
export function plainAccess(master: string, environment: Environment): Access {
  const server = serverURL(master, 'http');
  if (!server) throw configError(`--master: ${show(master)} is not a URL; give one like https://10.0.0.1:6443`);
  const cluster = clusterOf(server, environment, { skipTLSVerify: false });
  return { origin: `--master ${master}`, server, cluster, user: { name: NAME }, files: [] };
}

/** "host:port" is a URL, too, whose scheme is said by what else is given. */
function serverURL(given: string, scheme: 'http' | 'https'): URL | undefined {
  const url = given === '' ? null : URL.parse(given.includes('://') ? given : `${scheme}://${given}`);
  return url && (url.protocol === 'https:' || url.protocol === 'http:') && url.hostname !== '' ? url : undefined;
}

function joinHostPort(host: string, port: string): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function clusterOf(
  server: URL,
  environment: Environment,
  given: Partial<{ [K in keyof Cluster]: Cluster[K] | undefined }>,
): Cluster {
  return defined<Cluster>({
    ...given,
    name: NAME,
    server: server.href,
    skipTLSVerify: given.skipTLSVerify === true || server.protocol === 'http:',
    proxyUrl: given.proxyUrl ?? proxyFromEnvironment(server, environment),
  });
}

function tokenFileProvider(tokenFile: string): unknown {
  return { name: 'tokenFile', config: { tokenFile } };
}

/** client.authentication.k8s.io: the plugin is told in its environment what it is asked for. */
function execOf(exec: Fields, folder: string, cluster: Cluster): Fields {
  const command = text(exec.command) ?? '';
  const info = {
    apiVersion: exec.apiVersion,
    kind: 'ExecCredential',
    spec: {
      interactive: false,
      ...(exec.provideClusterInfo === true
        ? {
            cluster: {
              server: cluster.server,
              'tls-server-name': cluster.tlsServerName,
              'certificate-authority-data': cluster.caData,
              'proxy-url': cluster.proxyUrl,
            },
          }
        : {}),
    },
  };
  const env = Array.isArray(exec.env) ? exec.env : [];
  return {
    ...exec,
    // A command with a slash is meant from the kubeconfig's folder, one without is looked for in PATH.
    command: command.includes('/') && !isAbsolute(command) ? join(folder, command) : command,
    args: Array.isArray(exec.args) ? exec.args : [],
    env: [...env, { name: 'KUBERNETES_EXEC_INFO', value: JSON.stringify(info) }],
  };
}

function filesOf(files: Readonly<Record<string, string | undefined>>): Access['files'] {
  return Object.entries(files).flatMap(([field, path]) => (path === undefined ? [] : [{ field, path }]));
}

/** An entry of one of the kubeconfig's lists of named things. */
function named(list: unknown, name: unknown, content: string): Fields | undefined {
  if (!Array.isArray(list) || typeof name !== 'string') return undefined;
  const entry = list.find((candidate) => isFields(candidate) && candidate.name === name);
  return isFields(entry) && isFields(entry[content]) ? entry[content] : undefined;
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** Without the fields that are undefined, for types whose optional fields may not be. */
function defined<T>(fields: { readonly [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;
}

function show(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value);
}
