import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type HealthFacts,
  healthz,
  judgeHealth,
  livez,
  readyz,
  rfc3339Nano,
  type Verdict,
} from '../../../core/observe/health.ts';

const WALL = Date.UTC(2025, 10, 23, 7, 10, 53, 123);
const LIMIT = 60_000;

function facts(more: Partial<HealthFacts> = {}): HealthFacts {
  return {
    families: [
      { family: 'IPv4', lastUpdatedMs: 90_000, oldestPendingMs: undefined },
      { family: 'IPv6', lastUpdatedMs: 95_000, oldestPendingMs: undefined },
    ],
    nodeEligible: true,
    limitMs: LIMIT,
    nowMs: 100_000,
    wallMs: WALL,
    ...more,
  };
}

/** IPv4 waits since then. */
function pending(oldestPendingMs: number, more: Partial<HealthFacts> = {}): HealthFacts {
  return facts({
    families: [
      { family: 'IPv4', lastUpdatedMs: 1_000, oldestPendingMs },
      { family: 'IPv6', lastUpdatedMs: 95_000, oldestPendingMs: undefined },
    ],
    ...more,
  });
}

const codes = (given: HealthFacts): string => {
  const health = judgeHealth(given);
  return `healthz ${healthz(health).code}, livez ${livez(health).code}`;
};
const parsed = ({ body }: Verdict): Record<string, unknown> => JSON.parse(body);

const rules = suite('health rules');

rules('nothing waits: healthy', () => assert.is(codes(facts()), 'healthz 200, livez 200'));

rules('what waits makes a family unhealthy exactly when the limit is reached', () => {
  assert.is(codes(pending(100_000 - LIMIT + 1)), 'healthz 200, livez 200');
  assert.is(codes(pending(100_000 - LIMIT)), 'healthz 503, livez 503');
});

rules('one unhealthy family makes the proxy unhealthy, and says which', () => {
  const health = judgeHealth(pending(30_000));
  assert.equal(
    health.families.map(({ family, healthy }) => [family, healthy]),
    [
      ['IPv4', false],
      ['IPv6', true],
    ],
  );
  assert.is(health.reason, 'IPv4: changes wait to be programmed since 70 s');
});

rules('what waits too long is said with the error that keeps it waiting', () => {
  const family = { family: 'IPv4', lastUpdatedMs: 1_000, oldestPendingMs: 30_000 } as const;
  const reason = (lastError: string): string => judgeHealth(facts({ families: [{ ...family, lastError }] })).reason;
  const waits = 'IPv4: changes wait to be programmed since 70 s';
  assert.is(reason('backend x: IPv4: sync failed: no table'), `${waits}: backend x: IPv4: sync failed: no table`);
  assert.ok(reason('x'.repeat(100_000)).length < 2_000, 'every probe gets it');
  const soon = judgeHealth(facts({ families: [{ ...family, oldestPendingMs: 99_000, lastError: 'x' }] }));
  assert.equal([soon.healthy, soon.reason], [true, '']);
});

rules('a family whose loop does not run yet is not unhealthy, and not shown', () => {
  const given = facts({ families: [{ family: 'IPv4', lastUpdatedMs: undefined, oldestPendingMs: 0 }] });
  assert.is(codes(given), 'healthz 200, livez 200');
  assert.not.ok('status' in parsed(livez(judgeHealth(given))));
});

rules('a node that is not eligible fails /healthz only', () => {
  assert.is(codes(facts({ nodeEligible: false })), 'healthz 503, livez 200');
});

rules('a backend that calls itself unhealthy fails both, with its reason', () => {
  const given = facts({ backend: { healthy: false, reason: 'backend userspace: a listener died' } });
  assert.is(codes(given), 'healthz 503, livez 503');
  const body = parsed(livez(judgeHealth(given)));
  assert.is(body.healthy, false);
  assert.is(body.reason, 'backend userspace: a listener died');
  assert.is(codes(facts({ backend: { healthy: true } })), 'healthz 200, livez 200');
});

rules('setting the clock of the host changes no verdict', () => {
  for (const wallMs of [WALL - 86_400_000, WALL + 86_400_000]) {
    assert.is(codes(pending(99_000, { wallMs })), 'healthz 200, livez 200');
    assert.is(codes(pending(1_000, { wallMs })), 'healthz 503, livez 503');
  }
});

rules('ready is when every family was synced, and not before it is known which there are', () => {
  assert.equal(readyz({ started: false, waiting: [] }), { code: 503, body: '{"ready":false,"waiting":[]}' });
  assert.equal(readyz({ started: true, waiting: ['IPv6', 'IPv4'] }), {
    code: 503,
    body: '{"ready":false,"waiting":["IPv4","IPv6"]}',
  });
  assert.equal(readyz({ started: true, waiting: [] }), { code: 200, body: '{"ready":true,"waiting":[]}' });
});

const bodies = suite('health bodies');

bodies('/healthz on 200 says that it was updated now, and when each family was', () => {
  assert.is(
    healthz(judgeHealth(facts())).body,
    '{"lastUpdated":"2025-11-23T07:10:53.123Z","currentTime":"2025-11-23T07:10:53.123Z","nodeEligible":true,' +
      '"healthy":true,"status":{"IPv4":{"lastUpdated":"2025-11-23T07:10:43.123Z","healthy":true},' +
      '"IPv6":{"lastUpdated":"2025-11-23T07:10:48.123Z","healthy":true}}}',
  );
});

bodies('/healthz on 503 says when any family was last updated, and healthy does not speak of the node', () => {
  assert.is(
    healthz(judgeHealth(facts({ nodeEligible: false }))).body,
    '{"lastUpdated":"2025-11-23T07:10:48.123Z","currentTime":"2025-11-23T07:10:53.123Z","nodeEligible":false,' +
      '"healthy":true,"status":{"IPv4":{"lastUpdated":"2025-11-23T07:10:43.123Z","healthy":true},' +
      '"IPv6":{"lastUpdated":"2025-11-23T07:10:48.123Z","healthy":true}},' +
      '"reason":"this Node is not known yet, or is about to be deleted"}',
  );
});

bodies('/livez knows nothing of the node; what is wrong comes last', () => {
  const { body } = livez(judgeHealth(pending(30_000, { nodeEligible: false })));
  assert.equal(Object.keys(JSON.parse(body)), ['lastUpdated', 'currentTime', 'healthy', 'status', 'reason']);
  assert.equal(Object.keys(parsed(livez(judgeHealth(facts())))), ['lastUpdated', 'currentTime', 'healthy', 'status']);
});

bodies('before any family runs, the last update is the zero time', () => {
  const body = parsed(healthz(judgeHealth(facts({ families: [], nodeEligible: false }))));
  assert.is(body.lastUpdated, '0001-01-01T00:00:00Z');
});

bodies('an instant is shown the same though the two clocks are read apart', () => {
  const at = (nowMs: number, wallMs: number): string => judgeHealth(facts({ nowMs, wallMs })).families[0]!.lastUpdated;
  assert.is(at(100_000.4, WALL + 0.3), at(107_000.1, WALL + 7_000.2));
});

const times = suite('RFC 3339 times');

times('have the fraction that is needed and no more', () => {
  const base = Date.UTC(2025, 0, 2, 3, 4, 5);
  const cases: readonly (readonly [number, string])[] = [
    [base, '2025-01-02T03:04:05Z'],
    [base + 100, '2025-01-02T03:04:05.1Z'],
    [base + 7, '2025-01-02T03:04:05.007Z'],
    [base + 120.5, '2025-01-02T03:04:05.1205Z'],
    [base + 999.99951171875, '2025-01-02T03:04:05.999999Z'],
    [0, '1970-01-01T00:00:00Z'],
    [-0.5, '1969-12-31T23:59:59.9995Z'],
  ];
  for (const [ms, text] of cases) assert.is(rfc3339Nano(ms), text);
});

rules.run();
bodies.run();
times.run();
