/**
 * Who asks, and whether they may: bearer tokens and client certificates, then rules as RBAC has them. A request without
 * any credentials is system:anonymous, as by default in a real cluster; one with bad credentials is refused with 401.
 */
import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { type ApiError, failure, forbidden, type GroupResource, unauthorized } from '../api/status.ts';

export interface User {
  readonly name: string;
  readonly groups: readonly string[];
}

/** Allows `verbs` on `resources` ("services", "services/status"; "*" = all) of API groups to a user or a group. */
export interface Rule {
  /** Name of a user or of a group. */
  readonly subject: string;
  readonly verbs: readonly string[];
  readonly groups: readonly string[];
  readonly resources: readonly string[];
}

export interface Tokens {
  /** A new token for this user. */
  issue(user: string, groups?: readonly string[]): string;
  /** From now on 401. */
  expire(token: string): void;
  userOf(token: string): User | undefined;
}

const MASTERS = 'system:masters';

export function createTokens(newToken: () => string): Tokens {
  const users = new Map<string, User>();
  return {
    issue(name, groups = []) {
      const token = newToken();
      users.set(token, { name, groups });
      return token;
    },
    expire: (token) => {
      users.delete(token);
    },
    userOf: (token) => users.get(token),
  };
}

/** Throws 401. */
export function authenticate(request: IncomingMessage, tokens: Tokens, allowAnonymous: boolean): User {
  const socket = request.socket as TLSSocket;
  let badCertificate = false;
  const certificate = typeof socket.getPeerCertificate === 'function' ? socket.getPeerCertificate() : undefined;
  if (certificate?.subject !== undefined && Object.keys(certificate.subject).length > 0) {
    const { CN, O } = certificate.subject as { CN?: string; O?: string | string[] };
    if (socket.authorized && CN !== undefined) return known(CN, O === undefined ? [] : [O].flat());
    badCertificate = true;
  }
  const { authorization } = request.headers;
  if (authorization === undefined) {
    if (allowAnonymous && !badCertificate) return { name: 'system:anonymous', groups: ['system:unauthenticated'] };
    throw unauthorized();
  }
  const [, token] = /^bearer\s+(\S+)\s*$/i.exec(authorization) ?? [];
  const user = token === undefined ? undefined : tokens.userOf(token);
  if (user === undefined) throw unauthorized();
  return known(user.name, user.groups);
}

function known(name: string, groups: readonly string[]): User {
  return { name, groups: [...groups, 'system:authenticated'] };
}

export interface Attributes {
  readonly verb: string;
  readonly resource: GroupResource;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
}

/** `rules` undefined: everything is allowed to everyone who is not anonymous. */
export function authorize(user: User, attributes: Attributes, rules: readonly Rule[] | undefined): void {
  if (allowed(user, attributes, rules)) return;
  const { verb, resource, namespace, name, subresource } = attributes;
  const plural = subresource === '' ? resource.plural : `${resource.plural}/${subresource}`;
  const scope = namespace === '' ? 'at the cluster scope' : `in the namespace ${JSON.stringify(namespace)}`;
  const what = `cannot ${verb} resource ${JSON.stringify(plural)} in API group ${JSON.stringify(resource.group)} ${scope}`;
  throw forbidden(resource, name, `User ${JSON.stringify(user.name)} ${what}`);
}

function allowed(user: User, { verb, resource, subresource }: Attributes, rules: readonly Rule[] | undefined): boolean {
  if (user.groups.includes(MASTERS)) return true;
  if (rules === undefined) return user.groups.includes('system:authenticated');
  const plural = subresource === '' ? resource.plural : `${resource.plural}/${subresource}`;
  const has = (list: readonly string[], value: string) => list.includes('*') || list.includes(value);
  return rules.some(
    (rule) =>
      (rule.subject === user.name || user.groups.includes(rule.subject)) &&
      has(rule.verbs, verb) &&
      has(rule.groups, resource.group) &&
      has(rule.resources, plural),
  );
}

/** Paths that are no resources. Everyone may see the version and the health; discovery is for the authenticated. */
export function authorizePath(user: User, path: string, rules: readonly Rule[] | undefined): void {
  if (/^\/(version|healthz|livez|readyz)(\/|$)/.test(path)) return;
  const discovery = /^\/(api|apis|openapi)(\/|$)/.test(path);
  const everything =
    user.groups.includes(MASTERS) || (rules === undefined && user.groups.includes('system:authenticated'));
  if (everything || (discovery && user.groups.includes('system:authenticated'))) return;
  const message = `forbidden: User ${JSON.stringify(user.name)} cannot get path ${JSON.stringify(path)}`;
  throw failure(403, 'Forbidden', message, {}) satisfies ApiError;
}
