/**
 * A kubeconfig taken apart and written anew: for another address that leads to the same server, and for reading where
 * the files that it names are not (a private /run). What it names by file is therefore copied into it.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parse, stringify } from 'yaml';

type Fields = Readonly<Record<string, unknown>>;

/** The current context, whole in itself. */
export interface Access {
  readonly server: URL;
  readonly cluster: Fields;
  readonly user: Fields;
}

export interface AccessChanges {
  /** A port of 127.0.0.1 that leads to the server. */
  readonly port?: number;
  /** Impersonate this user. */
  readonly as?: string;
}

/** Throws an error that names the file and what is missing in it. */
export function readAccess(file: string): Access {
  const config = fieldsOf(parse(readFileSync(file, 'utf8')));
  const named = (list: string, name: unknown, content: string): Fields => {
    const entries = Array.isArray(config[list]) ? config[list].map(fieldsOf) : [];
    const entry = entries.find((each) => each.name === name);
    if (!entry) throw new Error(`${file}: ${list} has no ${JSON.stringify(name)}; give a kubeconfig that is complete`);
    return fieldsOf(entry[content]);
  };
  const context = named('contexts', config['current-context'], 'context');
  const user = context.user === undefined || context.user === '' ? {} : named('users', context.user, 'user');
  const cluster = withData(named('clusters', context.cluster, 'cluster'), file, ['certificate-authority']);
  const server = URL.parse(String(cluster.server));
  if (!server) throw new Error(`${file}: server ${JSON.stringify(cluster.server)} is not a URL; correct it`);
  return { server, cluster, user: withToken(withData(user, file, ['client-certificate', 'client-key']), file) };
}

/** Returns the path. */
export function writeAccess(folder: string, name: string, access: Access, changes: AccessChanges = {}): string {
  const { server, user } = access;
  const path = join(folder, name);
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name, cluster: changes.port === undefined ? access.cluster : relayed(access, changes.port) }],
    users: [{ name, user: changes.as === undefined ? user : { ...user, as: changes.as } }],
    contexts: [{ name, context: { cluster: name, user: name } }],
    'current-context': name,
  };
  if (server.username !== '') throw new Error('a server URL with a user name in it is not supported');
  writeFileSync(path, stringify(config), { mode: 0o600 });
  return path;
}

/** The server's certificate is for the name that it had, whatever the way to it. */
function relayed({ server, cluster }: Access, port: number): Fields {
  const url = new URL(server);
  url.hostname = '127.0.0.1';
  url.port = String(port);
  const host = server.hostname.replace(/^\[|\]$/g, '');
  const name = cluster['tls-server-name'] ?? (host === '127.0.0.1' || server.protocol === 'http:' ? undefined : host);
  return { ...cluster, server: url.href, ...(name === undefined ? {} : { 'tls-server-name': name }) };
}

/** "x: FILE" becomes "x-data: CONTENT", which wins where there are both. */
function withData(fields: Fields, file: string, names: readonly string[]): Fields {
  const result: Record<string, unknown> = { ...fields };
  for (const name of names) {
    const path = result[name];
    delete result[name];
    if (typeof path !== 'string' || path === '' || result[`${name}-data`] !== undefined) continue;
    result[`${name}-data`] = readFileSync(resolve(dirname(file), path)).toString('base64');
  }
  return result;
}

function withToken({ tokenFile, ...fields }: Fields, file: string): Fields {
  if (typeof tokenFile !== 'string' || tokenFile === '') return fields;
  return { ...fields, token: readFileSync(resolve(dirname(file), tokenFile), 'utf8').trim() };
}

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}
