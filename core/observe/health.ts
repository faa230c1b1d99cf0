/**
 * Whether this proxy is healthy, and in which words it says so: the rules and bodies of /healthz, /livez and /readyz.
 * Pure; core/observe/http-health.ts serves them.
 *
 *   a family        unhealthy when a change waits for longer than the limit (2 × sync period): syncs fail or hang
 *   the proxy       healthy when all families and the backend are
 *   /livez          200 when healthy: a restart might help when it is not
 *   /healthz        200 when healthy and the node may get traffic from load balancers
 *   /readyz (ours)  200 once every family was synced: what a rollout waits for
 *
 * An API server that is away makes nothing unhealthy: what is programmed goes on working, and a restart would not help.
 *
 * Ages come from a clock that cannot be set; instants are shown as the wall clock is now, minus the age. So setting
 * the clock of the host moves what is shown, and never the verdict.
 */
import type { IPFamily } from '../backend.ts';

/** Instants are milliseconds of the monotonic clock. */
export interface FamilyFacts {
  readonly family: IPFamily;
  /** The last successful sync; before the first, when its loop started. Undefined: its loop does not run yet. */
  readonly lastUpdatedMs: number | undefined;
  /** Since when something waits to be programmed; undefined when nothing does. */
  readonly oldestPendingMs: number | undefined;
  /** Why the last sync failed; undefined when it did not. */
  readonly lastError?: string | undefined;
}

export interface HealthFacts {
  readonly families: readonly FamilyFacts[];
  /** Of a backend with parts that can fail between syncs. */
  readonly backend?: { readonly healthy: true } | { readonly healthy: false; readonly reason: string };
  /** The Node is known, is not being deleted, and the cluster autoscaler is not about to remove it. */
  readonly nodeEligible: boolean;
  /** For how long something may wait. */
  readonly limitMs: number;
  /** The monotonic clock now, and the wall clock: milliseconds since the epoch. */
  readonly nowMs: number;
  readonly wallMs: number;
}

export interface Health {
  /** Without eligibility. */
  readonly healthy: boolean;
  readonly nodeEligible: boolean;
  /** Families that have been updated, and whether each is healthy. */
  readonly families: readonly { readonly family: IPFamily; readonly healthy: boolean; readonly lastUpdated: string }[];
  /** Why it is not healthy; "" when it is. */
  readonly reason: string;
  /** The newest update of any family; the zero time when there was none. */
  readonly lastUpdated: string;
  readonly currentTime: string;
}

export interface Verdict {
  readonly code: 200 | 503;
  readonly body: string;
}

/** What Go prints for an instant that never was. */
const ZERO_TIME = '0001-01-01T00:00:00Z';

/** Characters of a sync's error in a reason: some tools put their whole output into theirs. */
const LONGEST_ERROR = 1_000;

export function judgeHealth(facts: HealthFacts): Health {
  const { nowMs, wallMs, limitMs } = facts;
  // Two clocks are read one after the other; whole milliseconds keep an instant the same from one answer to the next.
  const shown = (instantMs: number): string => rfc3339Nano(Math.round(wallMs - (nowMs - instantMs)));
  const reasons: string[] = [];
  let newest: number | undefined;
  const families = [];
  for (const { family, lastUpdatedMs, oldestPendingMs, lastError } of facts.families) {
    if (lastUpdatedMs === undefined) continue;
    const waitedMs = oldestPendingMs === undefined ? undefined : nowMs - oldestPendingMs;
    const healthy = waitedMs === undefined || waitedMs < limitMs;
    if (!healthy) {
      const why = lastError === undefined ? '' : `: ${lastError.slice(0, LONGEST_ERROR)}`;
      reasons.push(`${family}: changes wait to be programmed since ${seconds(waitedMs)}${why}`);
    }
    newest = Math.max(newest ?? lastUpdatedMs, lastUpdatedMs);
    families.push({ family, healthy, lastUpdated: shown(lastUpdatedMs) });
  }
  if (facts.backend?.healthy === false) reasons.push(facts.backend.reason);
  return {
    healthy: reasons.length === 0,
    nodeEligible: facts.nodeEligible,
    families: families.sort((a, b) => (a.family < b.family ? -1 : 1)),
    reason: reasons.join('; '),
    lastUpdated: newest === undefined ? ZERO_TIME : shown(newest),
    currentTime: rfc3339Nano(wallMs),
  };
}

export function healthz(health: Health): Verdict {
  const { healthy, nodeEligible, reason } = health;
  const away = nodeEligible ? [] : ['this Node is not known yet, or is about to be deleted'];
  const why = [...(reason === '' ? [] : [reason]), ...away].join('; ');
  return verdict({ ...health, reason: why }, healthy && nodeEligible, { nodeEligible });
}

export function livez(health: Health): Verdict {
  return verdict(health, health.healthy, {});
}

/** `waiting`: the families that have not been synced yet; `started` false: it is not known yet which there are. */
export function readyz(facts: { readonly started: boolean; readonly waiting: readonly IPFamily[] }): Verdict {
  const ready = facts.started && facts.waiting.length === 0;
  return { code: ready ? 200 : 503, body: JSON.stringify({ ready, waiting: [...facts.waiting].sort() }) };
}

/**
 * The reference's keys in its order. On 200 `lastUpdated` is now, as it always was for whoever parses it: nothing was
 * missed until now. Ours is `reason`, behind the others and on 503 only, where nobody compares bodies: what is wrong
 * is asked for at the very moment at which looking it up in the log is hardest.
 */
function verdict(health: Health, ok: boolean, eligibility: { readonly nodeEligible?: boolean }): Verdict {
  const { lastUpdated, currentTime, healthy, families, reason } = health;
  const status = families.map(({ family, ...one }) => [family, { lastUpdated: one.lastUpdated, healthy: one.healthy }]);
  const body = {
    lastUpdated: ok ? currentTime : lastUpdated,
    currentTime,
    ...eligibility,
    healthy,
    ...(status.length > 0 ? { status: Object.fromEntries(status) } : {}),
    ...(reason !== '' ? { reason } : {}),
  };
  return { code: ok ? 200 : 503, body: JSON.stringify(body) };
}

/** Go's time.RFC3339Nano in UTC: fractions to the microsecond, without zeros at their end. */
export function rfc3339Nano(epochMs: number): string {
  const wholeMs = Math.floor(epochMs);
  // A double holds today's epoch in milliseconds to about 0.2 µs.
  const micros = Math.min(999, Math.floor((epochMs - wholeMs) * 1000));
  const text = new Date(wholeMs).toISOString();
  const fraction = (text.slice(20, 23) + String(micros).padStart(3, '0')).replace(/0+$/, '');
  return `${text.slice(0, 19)}${fraction === '' ? '' : `.${fraction}`}Z`;
}

function seconds(ms: number): string {
  return `${Math.floor(ms / 1000)} s`;
}
