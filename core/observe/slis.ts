/**
 * /metrics/slis: the outcome of each health check, for service level indicators that are scraped more often than all
 * the rest. Only checks that somebody asked for are here, as in the reference. DELETE sets it back.
 */
import Counter from 'prom-client/lib/counter.js';
import Gauge from 'prom-client/lib/gauge.js';
import Registry from 'prom-client/lib/registry.js';

export interface Slis {
  readonly contentType: string;
  /** A check was asked for. `type` is the path's name: healthz, livez, readyz. */
  observe(check: { readonly name: string; readonly type: string; readonly ok: boolean }): void;
  text(): Promise<string>;
  reset(): void;
}

export function createSlis(startTimeSeconds = performance.timeOrigin / 1000): Slis {
  const registry = new Registry();
  const registers = [registry];
  const healthcheck = new Gauge({
    name: 'kubernetes_healthcheck',
    help: '[STABLE] 1 if this check succeeded when it was last asked for, else 0',
    labelNames: ['name', 'type'],
    registers,
  });
  const healthchecks = new Counter({
    name: 'kubernetes_healthchecks_total',
    help: '[STABLE] How often each check was asked for, by outcome',
    labelNames: ['name', 'type', 'status'],
    registers,
  });
  // Who computes from counters must see that they began again.
  new Gauge({
    name: 'process_start_time_seconds',
    help: 'When this process was started, in seconds since the epoch',
    registers,
  }).set(startTimeSeconds);

  return {
    contentType: registry.contentType,
    observe({ name, type, ok }) {
      healthcheck.set({ name, type }, Number(ok));
      healthchecks.inc({ name, type, status: ok ? 'success' : 'error' });
    },
    text: () => registry.metrics(),
    reset() {
      healthcheck.reset();
      healthchecks.reset();
    },
  };
}
