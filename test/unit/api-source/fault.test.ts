/** What an answer means for what is done next. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ApiResponse } from '../../../core/source/api/api-connection.ts';
import { faultOfError, faultOfResponse, faultOfStatus, parseRetryAfter } from '../../../core/source/api/fault.ts';
import { MalformedJSON } from '../../../core/source/api/json-stream.ts';
import { compareVersions } from '../../../core/source/api/resource-version.ts';
import { status } from './raw-objects.ts';

const test = suite('fault');

function response(code: number, body: unknown, headers: Readonly<Record<string, string>> = {}): ApiResponse {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return { status: code, headers, body: (async function* () {})(), text: async () => text, discard() {} };
}

test('the status of an answer decides, and its Status object explains', async () => {
  for (const [code, kind] of [
    [400, 'refused'],
    [401, 'unauthorized'],
    [403, 'forbidden'],
    [404, 'missing'],
    [405, 'refused'],
    [410, 'expired'],
    [422, 'refused'],
    [429, 'throttled'],
    [500, 'server'],
    [503, 'server'],
    [504, 'server'],
    [302, 'server'],
  ] as const) {
    const fault = await faultOfResponse(response(code, status(code, 'Reason', 'what is\nwrong')));
    assert.equal([fault.kind, fault.message, fault.status], [kind, 'what is wrong', code]);
  }
});

test('an answer that is no Status says its number', async () => {
  for (const body of ['<html>Bad Gateway</html>', '', 'null', '[]', '{"kind":"Pod","message":"no"}']) {
    assert.equal(await faultOfResponse(response(502, body)), {
      kind: 'server',
      message: 'the server answered 502',
      status: 502,
    });
  }
});

test('an answer whose text cannot be read says its number, too', async () => {
  const broken: ApiResponse = { ...response(500, ''), text: () => Promise.reject(new Error('reset')) };
  assert.is((await faultOfResponse(broken)).message, 'the server answered 500');
});

test('a version from the future and one from the past are told apart, however they are said', () => {
  const cause = { causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }] };
  assert.is(faultOfStatus(status(504, 'Timeout', 'x', cause)).kind, 'ahead');
  assert.is(faultOfStatus(status(504, 'Timeout', 'Too large resource version: 9, current: 3')).kind, 'ahead');
  assert.is(faultOfStatus(status(410, 'Expired', 'too old resource version: 3 (9)')).kind, 'expired');
  assert.is(faultOfStatus(status(410, 'Gone', 'x')).kind, 'expired');
  const etcd = 'etcdserver: mvcc: required revision has been compacted';
  assert.is(faultOfStatus(status(500, 'InternalError', etcd)).kind, 'expired');
});

test('Retry-After is seconds or a date, of the header or of the Status', async () => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  const throttled = status(429, 'TooManyRequests', 'slow', { retryAfterSeconds: 3 });
  assert.is((await faultOfResponse(response(429, throttled), now)).retryAfterMs, 3_000);
  assert.is((await faultOfResponse(response(429, throttled, { 'retry-after': '5' }), now)).retryAfterMs, 5_000);
  assert.is(parseRetryAfter('Thu, 01 Jan 2026 00:00:07 GMT', now), 7_000);
  for (const text of ['Wed, 31 Dec 2025 23:59:59 GMT', '0', 'soon', '', '-3', undefined]) {
    assert.is(parseRetryAfter(text, now), undefined, text);
  }
  assert.is(parseRetryAfter('999999', now), 300_000);
});

test('what is thrown is a broken answer, a TLS fault, or a server out of reach', () => {
  assert.is(faultOfError(new MalformedJSON('x')).kind, 'broken');
  assert.is(faultOfError(Object.assign(new Error('x'), { code: 'KP_API_TLS' })).kind, 'tls');
  assert.is(faultOfError(Object.assign(new Error('x'), { code: 'ECONNRESET' })).kind, 'unreachable');
  assert.is(faultOfError('text').message, 'text');
});

test('versions are compared as numbers of any length, and only if they are numbers', () => {
  const order = (a: string, b: string): number | undefined => {
    const difference = compareVersions(a, b);
    return difference === undefined ? undefined : Math.sign(difference);
  };
  assert.is(order('9', '10'), -1);
  assert.is(order('18446744073709551615', '18446744073709551614'), 1);
  assert.is(order('7', '7'), 0);
  for (const [a, b] of [
    ['', ''],
    ['', '5'],
    ['5', 'a'],
    ['05', '5'],
    ['0', '5'],
    ['-1', '5'],
  ] as const) {
    assert.is(order(a, b), undefined, `${a} ${b}`);
  }
  assert.is(order('opaque', 'opaque'), 0);
});

test.run();
