/** How few lines an outage is worth. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Fault, FaultKind } from '../../../core/source/api/fault.ts';
import { createOutageLog } from '../../../core/source/api/outage-log.ts';
import { fakeClock } from '../sync/fake-clock.ts';
import { fakeLog } from '../sync/fake-log.ts';

const test = suite('outage log');

function setup() {
  const clock = fakeClock();
  const log = fakeLog();
  return { clock, log, outages: createOutageLog({ log, clock, server: () => 'https://api.test' }) };
}

const fault = (kind: FaultKind, code = 0): Fault => ({ kind, message: `${kind}!`, status: code });

test('all resources share the outage of a server, and one of them ends it', async () => {
  const { clock, log, outages } = setup();
  for (const resource of ['services', 'nodes', 'services']) outages.failed(resource, fault('unreachable'));
  await clock.advance(12_000);
  for (const resource of ['nodes', 'services']) outages.worked(resource);
  assert.equal(
    log.lines.map(({ level, values }) => [level, values]),
    [
      ['warn', { server: 'https://api.test', error: 'unreachable!' }],
      ['info', { server: 'https://api.test', forSeconds: 12 }],
    ],
  );
});

test('while it lasts, lines come after half a minute, a minute more, two more, up to every ten minutes', async () => {
  const { clock, log, outages } = setup();
  const seconds: number[] = [];
  for (let now = 0; now < 3_600; now++) {
    const before = log.lines.length;
    outages.failed('services', fault('unreachable'));
    if (log.lines.length > before) seconds.push(now);
    await clock.advance(1_000);
  }
  assert.equal(seconds, [0, 30, 90, 210, 450, 930, 1530, 2130, 2730, 3330]);
});

test('a server that comes and goes every second is not worth a line each time', async () => {
  const { clock, log, outages } = setup();
  for (let now = 0; now < 60; now++) {
    outages.failed('services', fault('unreachable'));
    await clock.advance(500);
    outages.worked('services');
    await clock.advance(500);
  }
  assert.ok(log.at('warn').length <= 3 && log.at('info').length <= 3, `${log.lines.length} lines`);
});

test('any answer ends that a server cannot be reached, and what is wrong with it is another matter', () => {
  const { log, outages } = setup();
  outages.failed('services', fault('unreachable'));
  outages.failed('services', fault('forbidden', 403));
  assert.equal(
    log.lines.map(({ level, values }) => [level, values.resource, values.verbs]),
    [
      ['warn', undefined, undefined],
      ['info', undefined, undefined],
      ['warn', 'services', 'list, watch'],
    ],
  );
});

test('what only one resource suffers from is told of that resource, and ends with it', () => {
  const { log, outages } = setup();
  outages.failed('nodes', fault('forbidden', 403));
  outages.worked('services');
  assert.is(log.at('info').length, 0);
  outages.worked('nodes');
  assert.is(log.at('info')[0]?.values.resource, 'nodes');
});

test.run();
