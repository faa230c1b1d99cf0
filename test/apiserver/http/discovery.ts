/** What the server says about itself: versions, groups, resources, health; as much as clients need to find their way. */
import { groupVersion } from '../kinds/kind.ts';
import { KINDS } from '../kinds/kinds.ts';

export const SERVER_VERSION = {
  major: '1',
  minor: '36',
  gitVersion: 'v1.36.0',
  gitCommit: '0000000000000000000000000000000000000000',
  gitTreeState: 'clean',
  buildDate: '2026-01-01T00:00:00Z',
  goVersion: 'none',
  compiler: 'none',
  platform: 'linux/amd64',
};

const GROUPS: readonly string[] = [...new Set(KINDS.map(({ group }) => group))].filter((group) => group !== '');

/** Undefined: no such page. */
export function discovery(path: string): unknown {
  const parts = path.split('/').filter((part) => part !== '');
  if (parts[0] === 'openapi') return openAPI(path);
  if (path === '/version' || path === '/version/') return SERVER_VERSION;
  if (parts[0] === 'api') {
    if (parts.length === 1) return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] };
    return parts.length === 2 && parts[1] === 'v1' ? resources('') : undefined;
  }
  if (parts[0] !== 'apis') return undefined;
  const [, group, version] = parts;
  if (group === undefined) return { kind: 'APIGroupList', apiVersion: 'v1', groups: GROUPS.map(apiGroup) };
  if (!GROUPS.includes(group)) return undefined;
  if (version === undefined) return { kind: 'APIGroup', apiVersion: 'v1', ...apiGroup(group) };
  return version === 'v1' && parts.length === 3 ? resources(group) : undefined;
}

/**
 * Just enough OpenAPI for kubectl to learn that the server validates fields itself. No schemas on purpose: with none to
 * be had it takes the merge keys of patches from its own types, which are the real ones.
 */
function openAPI(path: string): unknown {
  const place = (group: string) => (group === '' ? 'api/v1' : `apis/${group}/v1`);
  const groups = ['', ...GROUPS];
  if (path === '/openapi/v3') {
    const entries = groups.map((group) => [place(group), { serverRelativeURL: `/openapi/v3/${place(group)}?hash=0` }]);
    return { paths: Object.fromEntries(entries) };
  }
  const group = groups.find((one) => path === `/openapi/v3/${place(one)}`);
  if (group === undefined) return undefined;
  const paths = KINDS.filter((kind) => kind.group === group).map(({ version, kind, plural, namespaced }) => {
    const patch = {
      parameters: [{ name: 'fieldValidation', in: 'query', schema: { type: 'string' } }],
      'x-kubernetes-action': 'patch',
      'x-kubernetes-group-version-kind': { group, version, kind },
    };
    return [`/${place(group)}/${namespaced ? 'namespaces/{namespace}/' : ''}${plural}/{name}`, { patch }];
  });
  const info = { title: 'Kubernetes', version: SERVER_VERSION.gitVersion };
  return { openapi: '3.0.0', info, paths: Object.fromEntries(paths), components: { schemas: {} } };
}

function apiGroup(name: string) {
  const version = { groupVersion: `${name}/v1`, version: 'v1' };
  return { name, versions: [version], preferredVersion: version };
}

function resources(group: string) {
  const entries = KINDS.filter((kind) => kind.group === group).flatMap((kind) => {
    const { plural: name, singular: singularName, namespaced, verbs, shortNames } = kind;
    const entry = {
      name,
      singularName,
      namespaced,
      kind: kind.kind,
      verbs,
      ...(shortNames.length > 0 ? { shortNames } : {}),
    };
    const status = {
      name: `${name}/status`,
      singularName: '',
      namespaced,
      kind: kind.kind,
      verbs: ['get', 'patch', 'update'],
    };
    return kind.hasStatus ? [entry, status] : [entry];
  });
  const [first] = KINDS.filter((kind) => kind.group === group);
  return { kind: 'APIResourceList', apiVersion: 'v1', groupVersion: groupVersion(first!), resources: entries };
}
