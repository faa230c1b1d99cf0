/** The health server and the metrics server as a client sees them: status, headers and body, byte for byte. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CONFIGZ_KEY, type ConfigzFacts } from '../../../core/observe/configz.ts';
import { type HealthFacts, judgeHealth } from '../../../core/observe/health.ts';
import { healthRoutes } from '../../../core/observe/http-health.ts';
import { type MetricsRoutesOptions, metricsRoutes } from '../../../core/observe/http-metrics.ts';
import { profileRoutes } from '../../../core/observe/http-profile.ts';
import { type Routes, routeTable } from '../../../core/observe/http-reply.ts';
import { type HttpServer, startHttpServer } from '../../../core/observe/http-server.ts';
import { createSlis } from '../../../core/observe/slis.ts';
import { fakeClock } from '../sync/fake-clock.ts';
import { fakeLog } from '../sync/fake-log.ts';
import { type Answer, ask, dial, eventually, type Question } from './ask.ts';
import { parseExposition, valueOf } from './exposition.ts';

const servers: HttpServer[] = [];

async function serve(routes: Routes): Promise<(path: string, question?: Question) => Promise<Answer>> {
  const server = await startHttpServer({
    name: 'server',
    flag: '--flag',
    routes,
    target: { host: '127.0.0.1', port: 0 },
    hardFail: true,
    clock: fakeClock(),
    log: fakeLog(),
  });
  servers.push(server);
  return (path, question) => ask(server.bound(), path, question);
}

const WALL = Date.UTC(2025, 10, 23, 7, 10, 53);
const facts = (more: Partial<HealthFacts> = {}): HealthFacts => ({
  families: [{ family: 'IPv4', lastUpdatedMs: 0, oldestPendingMs: undefined }],
  nodeEligible: true,
  limitMs: 60_000,
  nowMs: 1_000,
  wallMs: WALL,
  ...more,
});

const health = suite('health server');

health('/healthz and /livez answer every method with JSON, and each answer is told', async () => {
  let now = facts();
  const told: string[] = [];
  const get = await serve(
    healthRoutes({
      health: () => judgeHealth(now),
      readiness: () => ({ started: true, waiting: [] }),
      onAnswer: (check, code) => void told.push(`${check} ${code}`),
    }),
  );
  const good = await get('/healthz', { method: 'POST' });
  assert.is(good.status, 200);
  assert.is(good.headers['content-type'], 'application/json');
  assert.is(good.headers['x-content-type-options'], 'nosniff');
  assert.is(
    good.body,
    '{"lastUpdated":"2025-11-23T07:10:53Z","currentTime":"2025-11-23T07:10:53Z","nodeEligible":true,"healthy":true,' +
      '"status":{"IPv4":{"lastUpdated":"2025-11-23T07:10:52Z","healthy":true}}}',
  );
  now = facts({ nodeEligible: false });
  const leaving = await get('/healthz?verbose');
  assert.equal([leaving.status, leaving.headers['content-type']], [503, 'application/json']);
  assert.is((await get('/livez')).status, 200);
  now = facts({ backend: { healthy: false, reason: 'gone' } });
  assert.is((await get('/livez')).status, 503);
  assert.equal(told, ['healthz 200', 'healthz 503', 'livez 200', 'livez 503']);
  for (const path of ['/', '/metrics', '/healthz/', '/livez/ping']) assert.is((await get(path)).status, 404, path);
});

health('/readyz is 503 until every family was synced', async () => {
  let readiness: { started: boolean; waiting: ('IPv4' | 'IPv6')[] } = { started: false, waiting: [] };
  const get = await serve(
    healthRoutes({ health: () => judgeHealth(facts()), readiness: () => readiness, onAnswer: () => {} }),
  );
  assert.is((await get('/readyz')).status, 503);
  readiness = { started: true, waiting: ['IPv6'] };
  const waiting = await get('/readyz');
  assert.equal([waiting.status, waiting.body], [503, '{"ready":false,"waiting":["IPv6"]}']);
  readiness = { started: true, waiting: [] };
  const ready = await get('/readyz');
  assert.equal([ready.status, ready.body], [200, '{"ready":true,"waiting":[]}']);
});

const CONFIG: ConfigzFacts = {
  config: { apiVersion: 'kubeproxy.config.k8s.io/v1alpha1', kind: 'KubeProxyConfiguration', mode: 'nftables' },
  runningHash: 'aaaa',
  fileHash: 'aaaa',
  readAtMs: WALL,
};

function options(more: Partial<MetricsRoutesOptions> = {}): MetricsRoutesOptions {
  return {
    metrics: { contentType: 'text/plain; version=0.0.4; charset=utf-8', text: async () => 'a 1\n' },
    slis: createSlis(1234.5),
    proxyMode: () => 'nftables',
    configz: () => CONFIG,
    profiling: () => false,
    ...more,
  };
}

const metrics = suite('metrics server');

metrics('/healthz says ok as long as it answers', async () => {
  const get = await serve(metricsRoutes(options()));
  const { status, body, headers } = await get('/healthz');
  assert.equal([status, body, headers['content-type']], [200, 'ok', 'text/plain; charset=utf-8']);
});

metrics('/metrics is the text format of Prometheus', async () => {
  const get = await serve(metricsRoutes(options()));
  const { status, body, headers } = await get('/metrics');
  assert.equal([status, body], [200, 'a 1\n']);
  assert.is(headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
});

metrics('/proxyMode is the bare name of the mode', async () => {
  const get = await serve(metricsRoutes(options()));
  const { body, headers } = await get('/proxyMode');
  assert.is(body, 'nftables');
  assert.is(headers['content-type'], 'text/plain; charset=utf-8');
  assert.is(headers['x-content-type-options'], 'nosniff');
});

metrics('/metrics/slis counts the checks that were asked for, and DELETE sets them back', async () => {
  const { slis, ...rest } = options();
  const get = await serve(metricsRoutes({ slis, ...rest }));
  slis.observe({ name: 'proxy', type: 'livez', ok: true });
  slis.observe({ name: 'proxy', type: 'livez', ok: false });
  await get('/healthz');
  const first = await get('/metrics/slis');
  assert.is(first.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
  const families = parseExposition(first.body);
  assert.is(families.get('kubernetes_healthcheck')!.type, 'gauge');
  assert.is(families.get('kubernetes_healthchecks_total')!.type, 'counter');
  assert.is(valueOf(families, 'kubernetes_healthcheck', { name: 'ping', type: 'healthz' }), 1);
  assert.is(valueOf(families, 'kubernetes_healthcheck', { name: 'proxy', type: 'livez' }), 0);
  const total = (name: string, type: string, status: string): number | undefined =>
    valueOf(families, 'kubernetes_healthchecks_total', { name, type, status });
  assert.equal(
    [total('ping', 'healthz', 'success'), total('proxy', 'livez', 'success'), total('proxy', 'livez', 'error')],
    [1, 1, 1],
  );
  assert.is(valueOf(families, 'process_start_time_seconds'), 1234.5);

  const reset = await get('/metrics/slis', { method: 'DELETE' });
  assert.equal([reset.status, reset.body], [200, 'metrics reset\n']);
  const after = parseExposition((await get('/metrics/slis')).body);
  assert.is(after.get('kubernetes_healthchecks_total')!.samples.length, 0);
  assert.is(valueOf(after, 'process_start_time_seconds'), 1234.5);
});

metrics(
  '/configz shows the configuration in force under the reference’s key, and the file’s fate beside it',
  async () => {
    let now = CONFIG;
    const get = await serve(metricsRoutes(options({ configz: () => now })));
    const good = await get('/configz');
    assert.is(good.headers['content-type'], 'application/json');
    assert.equal(JSON.parse(good.body), {
      [CONFIGZ_KEY]: CONFIG.config,
      'kube-proxy.io': { runningHash: 'aaaa', fileHash: 'aaaa', inForce: true, readAt: '2025-11-23T07:10:53Z' },
    });
    now = { ...CONFIG, fileHash: 'bbbb', error: 'iptables.masqueradeBit: 99 is not within 0..31' };
    const { 'kube-proxy.io': refused } = JSON.parse((await get('/configz')).body);
    assert.equal(refused, {
      runningHash: 'aaaa',
      fileHash: 'bbbb',
      inForce: false,
      readAt: '2025-11-23T07:10:53Z',
      error: 'iptables.masqueradeBit: 99 is not within 0..31',
    });
    now = { config: {}, runningHash: 'aaaa', fileHash: '' };
    assert.equal(JSON.parse((await get('/configz')).body)['kube-proxy.io'], {
      runningHash: 'aaaa',
      fileHash: '',
      inForce: true,
    });
  },
);

metrics('/flagz and /statusz exist while their gates are on', async () => {
  let on = false;
  const get = await serve(
    metricsRoutes(
      options({
        flagz: () => (on ? { flags: { v: '2', 'bind-address': '0.0.0.0' } } : undefined),
        statusz: () =>
          on
            ? {
                startedAtMs: WALL,
                nowMs: WALL + 93_784_000,
                version: '0.1.0',
                kubernetesVersion: 'v1.36.0',
                nodeVersion: '24.1.0',
                backend: 'nftables',
              }
            : undefined,
      }),
    ),
  );
  assert.equal([(await get('/flagz')).status, (await get('/statusz')).status], [404, 404]);
  on = true;
  const flagz = (await get('/flagz')).body;
  assert.match(flagz, /^kube-proxy flags\n/);
  assert.match(flagz, '\nbind-address=0.0.0.0\nv=2\n');
  const statusz = (await get('/statusz')).body;
  assert.match(statusz, '\nStarted: 2025-11-23T07:10:53Z\nUp: 26 h 03 min 04 s\n');
  assert.match(statusz, '\nBinary version: 0.1.0\nEmulation version: v1.36.0\n');
  assert.match(statusz, '\nPaths: /configz /healthz /metrics /metrics/slis /proxyMode\n');
});

metrics('takes the methods that each path has, and knows no other path', async () => {
  const get = await serve(metricsRoutes(options()));
  for (const path of ['/healthz', '/metrics', '/proxyMode', '/configz']) {
    assert.is((await get(path, { method: 'POST' })).status, 405, path);
    assert.is((await get(path, { method: 'HEAD' })).status, 200, path);
  }
  for (const path of ['/', '/livez', '/readyz', '/metrics/', '/proxymode', '/debug/pprof/']) {
    assert.is((await get(path)).status, 404, path);
  }
});

const debug = suite('profiling');

debug('is there only while it is on', async () => {
  let on = false;
  const get = await serve(metricsRoutes(options({ profiling: () => on })));
  const paths = ['/debug/pprof/', '/debug/pprof/heap', '/debug/flags/v'];
  for (const path of paths) assert.is((await get(path)).status, 404, path);
  on = true;
  assert.match((await get('/debug/pprof/')).body, 'profile?seconds=N');
  const heap = JSON.parse((await get('/debug/pprof/heap')).body);
  assert.ok(heap.memory.rss > 0 && heap.spaces.length > 0);
  assert.is((await get('/debug/pprof/goroutine')).status, 404);
});

debug('the verbosity of the log can be set, with PUT, to a number', async () => {
  const set: number[] = [];
  const get = await serve(
    metricsRoutes(options({ profiling: () => true, setVerbosity: (level) => void set.push(level) })),
  );
  const put = (body: string): Promise<Answer> => get('/debug/flags/v', { method: 'PUT', body });
  assert.equal([(await put('4')).status, (await put('0\n')).body], [200, 'verbosity is now 0\n']);
  for (const text of ['', 'loud', '-1', '4.5', '1000']) assert.is((await put(text)).status, 400, text);
  assert.is((await put('9'.repeat(1000))).status, 413);
  assert.equal(set, [4, 0]);
  assert.is((await get('/debug/flags/v')).status, 405);
});

debug('a profile is one that tools open', async () => {
  const get = await serve(metricsRoutes(options({ profiling: () => true })));
  const { status, headers, body } = await get('/debug/pprof/profile?seconds=1');
  assert.is(status, 200);
  assert.match(String(headers['content-disposition']), 'kube-proxy.cpuprofile');
  const profile = JSON.parse(body);
  assert.ok(profile.nodes.length > 0);
  assert.ok(profile.endTime - profile.startTime >= 900_000, 'microseconds');
});

debug('profiles are bounded, one at a time, and end when the client goes', async () => {
  const taken: { seconds: number; aborted: boolean }[] = [];
  const take = (seconds: number, signal: AbortSignal): Promise<string> => {
    const one = { seconds, aborted: false };
    taken.push(one);
    return new Promise((resolve) => {
      signal.addEventListener('abort', () => {
        one.aborted = true;
        resolve('{}');
      });
    });
  };
  const routes = routeTable(profileRoutes(take));
  const get = await serve(routes);
  for (const seconds of ['0', '61', '-1', 'x', '1.5', '']) {
    assert.is((await get(`/debug/pprof/profile?seconds=${seconds}`)).status, 400, seconds);
  }
  assert.is((await get('/debug/pprof/profile', { method: 'HEAD' })).status, 200);
  assert.is(taken.length, 0);
  const client = await dial(servers.at(-1)!.bound());
  client.write('GET /debug/pprof/profile HTTP/1.1\r\nHost: a\r\n\r\n');
  await eventually('the profile has begun', () => taken.length === 1);
  assert.is(taken[0]!.seconds, 30);
  assert.is((await get('/debug/pprof/profile?seconds=5')).status, 409);
  client.destroy();
  await eventually('it ends', () => taken[0]!.aborted);
  const next = await dial(servers.at(-1)!.bound());
  next.write('GET /debug/pprof/profile?seconds=60 HTTP/1.1\r\nHost: a\r\n\r\n');
  await eventually('another one may begin', () => taken.length === 2);
  next.destroy();
  await eventually('it ends, too', () => taken[1]!.aborted);
});

for (const each of [health, metrics, debug]) {
  each.after.each(async () => {
    await Promise.all(servers.splice(0).map((server) => server.close()));
  });
  each.run();
}
