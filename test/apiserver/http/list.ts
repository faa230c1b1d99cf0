/**
 * Answering a list: which state (the newest, one not older than, exactly one), and in how many pieces. Continue tokens
 * are those of a real server: base64url of {"v":"meta.k8s.io/v1","rv":N,"start":"key"}; rv -1 is "whatever is now".
 */
import type { ListOptions } from '../api/list-options.ts';
import { parseResourceVersion } from '../api/list-options.ts';
import { badRequest, expired, tooLargeResourceVersion } from '../api/status.ts';
import { groupVersion, type Kind } from '../kinds/kind.ts';
import type { Store, Version } from '../store/store.ts';

export interface ListAnswer {
  readonly items: readonly Version[];
  readonly resourceVersion: number;
  /** "" when nothing remains. */
  readonly continue: string;
  readonly remaining: number | undefined;
}

const LIST_EXPIRED = 'The resourceVersion for the provided list is too old.';
const INCONSISTENT =
  'The provided continue parameter is too old to display a consistent list result. You can start a new list without ' +
  'the continue parameter, or use the continue token in this response to retrieve the remainder of the results. ' +
  'Continuing with the provided token results in an inconsistent list - objects that were created, modified, or ' +
  'deleted between the time the first chunk was returned and now may show up in the list.';

/** The version that a list must wait for: above the current one it is not to be had yet. 0 = none. */
export function minimumVersion(options: ListOptions): number {
  return options.continue === '' ? parseResourceVersion(options.resourceVersion) : 0;
}

export function list(store: Store, kind: Kind, namespace: string, options: ListOptions): ListAnswer {
  const table = store.table(kind.plural);
  const current = store.resourceVersion();
  const wanted = minimumVersion(options);
  if (wanted > current) throw tooLargeResourceVersion(wanted, current);

  let start = '';
  let version = current;
  if (options.continue !== '') {
    if (options.resourceVersion !== '' && options.resourceVersion !== '0') {
      throw badRequest('specifying resource version is not allowed when using continue');
    }
    const token = decodeContinue(options.continue);
    start = token.start;
    if (token.version >= 0) version = token.version;
  } else if (
    options.resourceVersionMatch === 'Exact' ||
    (options.resourceVersionMatch === '' && options.limit > 0 && wanted > 0)
  ) {
    // A limit with a version and no match rule means exactly that version: so it was before there were rules.
    version = wanted;
  }
  const state = version === current ? table.list() : table.listAt(version);
  if (state === undefined) {
    if (options.continue === '') throw expired(LIST_EXPIRED);
    throw expired(INCONSISTENT, encodeContinue(start, -1));
  }

  const prefix = namespace === '' ? '' : `${namespace}/`;
  const items: Version[] = [];
  let last: Version | undefined;
  let passed = 0;
  // Servers ignore the limit of a list that the watch cache answers, whatever it was in the past: version "0".
  const limit = options.resourceVersion === '0' && options.continue === '' ? 0 : options.limit;
  const candidates = state.filter(({ key }) => key.startsWith(prefix) && key >= start);
  for (const candidate of candidates) {
    if (limit > 0 && items.length >= limit) break;
    passed++;
    last = candidate;
    if (options.labels.matches(candidate.labels) && options.fields.matches(candidate.fields)) items.push(candidate);
  }
  const left = candidates.length - passed;
  const selected = !(options.labels.empty && options.fields.empty);
  return {
    items,
    resourceVersion: version,
    continue: left > 0 && last !== undefined ? encodeContinue(`${last.key}\0`, version) : '',
    // With a selector nobody has counted what remains.
    remaining: left > 0 && !selected ? left : undefined,
  };
}

/** The text of the list, in pieces. Its items carry neither kind nor apiVersion, as those of every built-in kind. */
export function* listText(kind: Kind, answer: ListAnswer): Generator<string> {
  const metadata = {
    resourceVersion: String(answer.resourceVersion),
    ...(answer.continue === '' ? {} : { continue: answer.continue }),
    ...(answer.remaining === undefined ? {} : { remainingItemCount: answer.remaining }),
  };
  const type = { kind: `${kind.kind}List`, apiVersion: groupVersion(kind) };
  yield `${JSON.stringify({ ...type, metadata }).slice(0, -1)},"items":[`;
  let separator = '{';
  for (const { tail } of answer.items) {
    yield separator;
    yield tail;
    separator = ',{';
  }
  yield ']}\n';
}

function encodeContinue(start: string, version: number): string {
  return Buffer.from(JSON.stringify({ v: 'meta.k8s.io/v1', rv: version, start })).toString('base64url');
}

function decodeContinue(token: string): { readonly start: string; readonly version: number } {
  const refuse = (why: string) => badRequest(`invalid continue token: continue key is not valid${why}`);
  let parsed: { v?: unknown; rv?: unknown; start?: unknown };
  try {
    parsed = JSON.parse(Buffer.from(token, 'base64url').toString('utf8')) as typeof parsed;
  } catch (error) {
    throw refuse(`: ${(error as Error).message}`);
  }
  if (typeof parsed !== 'object' || parsed === null) throw refuse(': not an object');
  if (parsed.v !== 'meta.k8s.io/v1')
    throw refuse(`: server does not recognize this encoded version ${String(parsed.v)}`);
  if (typeof parsed.rv !== 'number' || parsed.rv === 0) {
    throw refuse(': incorrect encoded start resourceVersion (version meta.k8s.io/v1)');
  }
  if (typeof parsed.start !== 'string' || parsed.start === '') {
    throw refuse(': encoded start key empty (version meta.k8s.io/v1)');
  }
  return { start: parsed.start, version: parsed.rv };
}
