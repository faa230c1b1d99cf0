/** Which combinations of parameters of a list or a watch are refused, and which nonsense is let pass, as in reality. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseListOptions, parseResourceVersion } from '../../apiserver/api/list-options.ts';
import { isApiError, type Status } from '../../apiserver/api/status.ts';
import { fieldLabels, kindOf } from '../../apiserver/kinds/kinds.ts';

const test = suite('apiserver list options');
const labels = fieldLabels(kindOf('Service')!);
const parse = (query: string, watchList = true) => parseListOptions(new URLSearchParams(query), labels, watchList);

function refusal(query: string, watchList = true): Status {
  try {
    parse(query, watchList);
  } catch (error) {
    if (isApiError(error)) return error.status;
    throw error;
  }
  throw new Error(`${query} was accepted`);
}

const FORBIDDEN: readonly (readonly [query: string, fields: readonly string[]])[] = [
  ['resourceVersionMatch=Exact', ['resourceVersionMatch']],
  ['resourceVersionMatch=NotOlderThan', ['resourceVersionMatch']],
  ['resourceVersion=5&resourceVersionMatch=exact', ['resourceVersionMatch']],
  ['resourceVersion=0&resourceVersionMatch=Exact', ['resourceVersionMatch']],
  ['resourceVersion=5&resourceVersionMatch=Exact&continue=x', ['resourceVersionMatch']],
  ['sendInitialEvents=true', ['sendInitialEvents']],
  ['sendInitialEvents=false', ['sendInitialEvents']],
  ['watch=1&resourceVersionMatch=NotOlderThan', ['resourceVersionMatch']],
  ['watch=1&sendInitialEvents=true', ['resourceVersionMatch']],
  ['watch=1&sendInitialEvents=false', ['resourceVersionMatch']],
  ['watch=1&sendInitialEvents=true&resourceVersionMatch=Exact', ['resourceVersionMatch', 'resourceVersionMatch']],
  ['watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&continue=x', ['resourceVersionMatch']],
];

for (const [query, fields] of FORBIDDEN) {
  test(`${query} is invalid`, () => {
    const status = refusal(query);
    assert.is(status.code, 422);
    assert.is(status.reason, 'Invalid');
    assert.is(status.details?.kind, 'ListOptions');
    assert.is(status.details?.group, 'meta.k8s.io');
    assert.equal(
      status.details?.causes?.map(({ field }) => field),
      fields,
    );
  });
}

test('a server without the WatchList feature refuses sendInitialEvents in the words that clients look for', () => {
  const query = 'watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan';
  assert.is(parse(query).sendInitialEvents, true);
  const status = refusal(query, false);
  assert.is(status.code, 422);
  assert.is(
    status.message,
    'ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: ' +
      'sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled',
  );
  assert.equal(status.details?.causes?.[0]?.reason, 'FieldValueForbidden');
});

test('numbers that are none are refused', () => {
  for (const query of ['limit=ten', 'timeoutSeconds=5s', 'limit=', 'timeoutSeconds=1.5']) {
    assert.is(refusal(query).code, 400, query);
  }
});

test('what the real server lets pass is let pass', () => {
  assert.is(parse('limit=-1').limit, 0);
  assert.is(parse('unknown=1').limit, 0);
  assert.is(parse('watch=').watch, true);
  assert.is(parse('watch=abc').watch, true);
  assert.is(parse('watch=False').watch, false);
  assert.is(parse('watch=0').watch, false);
  assert.is(parse('').sendInitialEvents, undefined);
  assert.is(parse('watch=1&sendInitialEvents=0&resourceVersionMatch=NotOlderThan').sendInitialEvents, false);
});

test('a resourceVersion that is no number is an error of the unclassified kind', () => {
  assert.is(parseResourceVersion(''), 0);
  assert.is(parseResourceVersion('0'), 0);
  assert.is(parseResourceVersion('17'), 17);
  try {
    parseResourceVersion('abc');
    assert.unreachable();
  } catch (error) {
    assert.ok(isApiError(error));
    assert.is(error.status.code, 500);
    assert.is(error.status.reason, undefined);
    assert.match(error.message, 'resourceVersion: Invalid value: "abc"');
  }
});

test.run();
