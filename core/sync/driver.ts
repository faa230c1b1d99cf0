/**
 * The only code that calls a backend. Whatever a plugin does (throws at once, rejects, never answers, answers
 * nonsense) comes out of here as a value that names the plugin and the family.
 *
 *   sync loop ──▶ driver ──▶ backend.sync / check / health / close
 *                   └─ deadline: the caller goes on; the call itself cannot be ended, `settled` tells when it did
 *
 * What a plugin does outside its answers is dealt with around it, where it is opened: core/daemon/contain-backend.ts.
 */
import type { Backend, Change, Clock, HealthReporting, IPFamily, SelfChecking, SyncReport } from '../backend.ts';
import { describeError, describeValue, loggedError } from './describe-error.ts';

export type Outcome<T> =
  | { readonly kind: 'done'; readonly value: T; readonly durationMs: number }
  /** `fault` says the same as `error`, for the log, which shows stacks to who wants them. */
  | { readonly kind: 'failed'; readonly error: string; readonly fault: Error; readonly durationMs: number }
  /** Not back within the deadline; `settled` resolves when it is. */
  | {
      readonly kind: 'late';
      readonly error: string;
      readonly fault: Error;
      readonly durationMs: number;
      readonly settled: Promise<void>;
    };

export interface DriverOptions {
  readonly backend: Backend;
  /** As the operator knows it; begins every error. */
  readonly name: string;
  readonly clock: Clock;
  readonly syncDeadlineMs: number;
}

/** A sync that took effect. */
export interface SyncResult {
  readonly report: SyncReport;
  /** What was wrong with the report, if anything: a bad report does not undo what is in the kernel. */
  readonly reportProblem?: string;
}

export type CheckResult = { readonly intact: true } | { readonly intact: false; readonly reason: string };
export type BackendHealth = { readonly healthy: true } | { readonly healthy: false; readonly reason: string };

export interface Driver {
  readonly name: string;
  /** Whether the backend is SelfChecking. */
  readonly checks: boolean;
  sync(change: Change): Promise<Outcome<SyncResult>>;
  check(family: IPFamily): Promise<Outcome<CheckResult>>;
  /** Healthy if the backend does not report health; unhealthy if asking it fails. */
  health(): BackendHealth;
  close(): Promise<Outcome<void>>;
}

const CHECK_DEADLINE_MS = 30_000;
const CLOSE_DEADLINE_MS = 5_000;
/** It is part of every answer of /healthz. */
const LONGEST_REASON = 1_000;
const UNHEALTHY = '{ healthy: false, reason }';
const REPORT_SHAPE = 'sync() must resolve to { operations, bytes, totals? }';

export function createDriver(options: DriverOptions): Driver {
  const { backend, name, clock, syncDeadlineMs } = options;
  const abilities: Backend & Partial<SelfChecking & HealthReporting> = backend;

  async function call<T>(what: string, limitMs: number, invoke: () => Promise<T>): Promise<Outcome<T>> {
    const began = clock.now();
    const elapsed = (): number => clock.now() - began;
    const ended = settle(invoke).then((result): Outcome<T> => {
      if (result.ok) return { kind: 'done', value: result.value, durationMs: elapsed() };
      const error = `backend ${name}: ${what} failed: ${describeError(result.thrown)}`;
      return { kind: 'failed', error, fault: loggedError(error, result.thrown), durationMs: elapsed() };
    });
    let cancel = (): void => {};
    const expired = new Promise<Outcome<T>>((resolve) => {
      cancel = clock.after(limitMs, () => {
        const error = `backend ${name}: ${what} did not end within ${limitMs / 1000} s`;
        const fault = loggedError(error, undefined);
        resolve({ kind: 'late', error, fault, durationMs: elapsed(), settled: ended.then(() => undefined) });
      });
    });
    const outcome = await Promise.race([ended, expired]);
    cancel();
    return outcome;
  }

  return {
    name,
    checks: typeof abilities.check === 'function',

    sync: (change) =>
      call(`${change.family}: sync`, syncDeadlineMs, async () => readReport(await backend.sync(change))),

    check: (family) =>
      call(`${family}: check`, CHECK_DEADLINE_MS, async () => readCheck(await abilities.check?.(family))),

    health() {
      if (typeof abilities.health !== 'function') return { healthy: true };
      try {
        const health = readHealth(abilities.health());
        if (health.healthy) return health;
        return { healthy: false, reason: `backend ${name}: ${health.reason.slice(0, LONGEST_REASON)}` };
      } catch (error) {
        return { healthy: false, reason: `backend ${name}: health failed: ${describeError(error)}` };
      }
    },

    close: () => call('close', CLOSE_DEADLINE_MS, async () => backend.close()),
  };
}

/** Turn a call, even one that throws before it returns a promise, into a value. */
async function settle<T>(
  invoke: () => Promise<T>,
): Promise<{ readonly ok: true; readonly value: T } | { readonly ok: false; readonly thrown: unknown }> {
  try {
    return { ok: true, value: await invoke() };
  } catch (thrown) {
    return { ok: false, thrown };
  }
}

/** A plugin in plain JavaScript may return anything; what cannot be read counts as nothing reported. */
function readReport(raw: unknown): SyncResult {
  try {
    return readCounts(raw);
  } catch (thrown) {
    const reportProblem = `${REPORT_SHAPE}; reading what it did throws: ${describeError(thrown)}`;
    return { report: { operations: 0, bytes: 0 }, reportProblem };
  }
}

function readCounts(raw: unknown): SyncResult {
  const fields: Readonly<Record<string, unknown>> = typeof raw === 'object' && raw !== null ? { ...raw } : {};
  const wrong: string[] = [];
  const count = (field: string): number => {
    const value = fields[field];
    if (typeof value === 'number' && Number.isFinite(value) && value >= 0) return value;
    wrong.push(field);
    return 0;
  };
  const report: { operations: number; bytes: number; totals?: Readonly<Record<string, number>> } = {
    operations: count('operations'),
    bytes: count('bytes'),
  };
  const { totals } = fields;
  if (typeof totals === 'object' && totals !== null) {
    const numbers = Object.entries(totals).filter((entry): entry is [string, number] => typeof entry[1] === 'number');
    report.totals = Object.fromEntries(numbers);
  } else if (totals !== undefined) {
    wrong.push('totals');
  }
  if (wrong.length === 0) return { report };
  return { report, reportProblem: `${REPORT_SHAPE}; wrong: ${wrong.join(', ')}` };
}

/** What is no answer is an unhealthy one: who cannot say that all is well has a fault. */
function readHealth(raw: unknown): BackendHealth {
  const fields: { readonly healthy?: unknown; readonly reason?: unknown } = typeof raw === 'object' && raw ? raw : {};
  const { healthy, reason } = fields;
  if (healthy === true) return { healthy };
  if (healthy === false && typeof reason === 'string') return { healthy, reason };
  const returned = healthy === false ? '{ healthy: false } without a reason' : describeValue(raw);
  return { healthy: false, reason: `health() must return { healthy: true } or ${UNHEALTHY}; it returned ${returned}` };
}

function readCheck(raw: unknown): CheckResult {
  const fields: Readonly<Record<string, unknown>> = typeof raw === 'object' && raw !== null ? { ...raw } : {};
  if (fields.intact === true) return { intact: true };
  if (fields.intact !== false)
    throw new TypeError('check() must resolve to { intact: true } or { intact: false, reason }');
  return { intact: false, reason: typeof fields.reason === 'string' ? fields.reason : 'no reason given' };
}
