import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseOptions } from '../../../plugins/userspace/options.ts';

const test = suite('userspace options');

test('by default the way is found out, names are in the table, and connections get 30 seconds of grace', () => {
  const { way, threads, limits, proxyProtocol, portOffset, ownership, comments } = parseOptions({});
  assert.equal(
    { way, proxyProtocol, portOffset, ownership, comments },
    { way: 'auto', proxyProtocol: false, portOffset: 20_000, ownership: 'auto', comments: true },
  );
  assert.ok(threads >= 1 && threads <= 4);
  const { graceSeconds, idleSeconds, keepAliveSeconds, unrepliedSeconds, repliedSeconds } = limits;
  assert.equal([graceSeconds, idleSeconds, keepAliveSeconds, unrepliedSeconds, repliedSeconds], [30, 0, 60, 30, 120]);
});

test('numbers may be text, as a flag has them; what is on or off may be true or false', () => {
  const given = { threads: '3', graceSeconds: 0, comments: false, ownership: true, proxyProtocol: 'v2', way: 'direct' };
  const options = parseOptions(given);
  assert.is(options.threads, 3);
  assert.is(options.limits.graceSeconds, 0);
  assert.equal(
    [options.comments, options.ownership, options.proxyProtocol, options.way],
    [false, 'on', true, 'direct'],
  );
});

test('bounds are of all threads together, however many there are', () => {
  const { limits } = parseOptions({ threads: 4, maxConnections: 1001, maxSessions: 2 });
  assert.equal([limits.maxConnections, limits.maxSessions], [1001, 2]);
});

test('one error names every fault', () => {
  const faulty = {
    way: 'sideways',
    threads: 0,
    idleSeconds: -1,
    portOffset: '1.5',
    comments: 'maybe',
    toString: 1,
    proxyProtocol: true,
  };
  try {
    parseOptions(faulty);
    assert.unreachable();
  } catch (error) {
    assert.is((error as { code?: string }).code, 'KP_BACKEND_OPTION');
    const { message } = error as Error;
    for (const part of [
      'way: "sideways" is not one of auto, redirect, direct',
      'threads: 0 is not a whole number from 1 to 64',
      'idleSeconds: -1 is not a whole number',
      'portOffset: "1.5" is not a whole number from 0 to 60000',
      'comments: "maybe" is not one of on, off',
      'proxyProtocol: true is not one of off, v2',
      'toString: unknown option; known are way, ',
    ]) {
      assert.ok(message.includes(part), `${part}\n${message}`);
    }
  }
});

test.run();
