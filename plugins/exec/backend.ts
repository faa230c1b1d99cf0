/**
 * The backend: keeps one program running and tells it the desired state.
 *
 *              ┌── 1 s, 2 s, … 60 s ──┐
 *   start ──▶ run ──ends──▶ wait ─────┘        each run begins with nothing: the core is asked for a full sync,
 *                                              and until the program acknowledged it, health says so
 */
import type { Backend, Change, HealthReporting, Host, IPFamily, SyncReport } from '../../core/backend.ts';
import { createDesired } from './desired.ts';
import { createAllowance, createRecent } from './limits.ts';
import { type ExecOptions, optionFault } from './options.ts';
import { cleanupLine, type Level, syncLine } from './protocol.ts';
import { type Served, type Session, shown, startSession } from './session.ts';

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 60_000;
/** A program that acknowledged something and ran for so long has served: its next end is a new misfortune. */
const SERVED_MS = 60_000;
/** After the end of its input, before SIGTERM. With what follows less than the core waits for close(). */
const CLOSE_GRACE_MS = 2000;
/** Wrong lines within WRONG_WITHIN_MS that make the backend unhealthy. */
const MANY_WRONG = 10;
const WRONG_WITHIN_MS = 60_000;

/** One run of the program, once it is ready. */
interface Run {
  readonly session: Session;
  readonly ready: Served;
  readonly since: number;
  /** Resolves with the reason. */
  readonly ended: Promise<string>;
  /** Families of which it acknowledged the whole state, and no sync failed since. */
  readonly served: Set<IPFamily>;
  acknowledged: boolean;
}

/** Resolves when the program is ready; rejects, having ended it, if it does not become so. */
export async function createBackend(host: Host, options: ExecOptions): Promise<Backend & HealthReporting> {
  const { log, clock } = host;
  const program = options.command;
  const desired = createDesired();
  const heard = { said: createAllowance(clock, 200, 50), wrong: createAllowance(clock, 5, 10_000) };
  const wrong = createRecent(clock, MANY_WRONG, WRONG_WITHIN_MS);
  const counts = { restarts: 0, refused: 0 };
  let run: Run | undefined;
  /** The newest, ready or not. */
  let session: Session | undefined;
  let starting: Promise<Run> | undefined;
  /** Why there is no run; and why one that is there calls itself unhealthy. */
  let down = '';
  let complaint: string | undefined;
  /** In a row: ends before it served, and starts that came to nothing. */
  let failures = 0;
  let cancelRestart = (): void => {};
  let closed = false;
  const stopping = (): boolean => closed || host.signal.aborted;

  const say = (level: Level, message: string, line: string): void => {
    const allowed = heard.said.take();
    if (allowed) log[level](message, { line: shown(line), passedOver: allowed.passedOver || undefined });
  };

  async function start(): Promise<Run> {
    complaint = undefined;
    wrong.clear();
    const ended = Promise.withResolvers<string>();
    session = startSession(host, options, {
      onLog: (level, message) => say(level, 'The program says', message),
      onErrorLine: (line) => say('info', 'The program wrote on its standard error', line),
      onRefused(line, why) {
        counts.refused++;
        wrong.add();
        const allowed = heard.wrong.take();
        if (!allowed) return;
        const passedOver = allowed.passedOver || undefined;
        log.warn('The program wrote a line that is no answer', { line, why, passedOver });
      },
      onResync: (reason) => host.requestFullSync(`the program asked for it: ${shown(reason)}`),
      onHealth(reason) {
        complaint = reason;
      },
      onEnd: ended.resolve,
    });
    const begun = { session, ready: await session.ready, ended: ended.promise };
    return { ...begun, since: clock.now(), served: new Set(), acknowledged: false };
  }

  function adopt(begun: Run): void {
    run = begun;
    void begun.ended.then((reason) => {
      run = undefined;
      if (begun.acknowledged && clock.now() - begun.since >= SERVED_MS) failures = 0;
      startLater(reason);
    });
  }

  function startLater(reason: string): void {
    down = reason;
    if (stopping()) return;
    const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** failures, LONGEST_PAUSE_MS);
    failures++;
    log.error('The program is down', { reason, startedAgainAfterSeconds: pauseMs / 1000 });
    cancelRestart = clock.after(pauseMs, () => void startAgain().catch(() => {}));
  }

  /** Rejects with why not; the next attempt is under way then. */
  function startAgain(): Promise<Run> {
    cancelRestart();
    starting ??= restart().finally(() => {
      starting = undefined;
    });
    return starting;
  }

  async function restart(): Promise<Run> {
    counts.restarts++;
    try {
      const begun = await start();
      const missing = families.filter((family) => !begun.ready.families.includes(family));
      if (missing.length > 0) {
        await begun.session.end(0);
        throw new Error(`${program} serves ${missing.join(' and ')} no more; restart kube-proxy if that is right`);
      }
      adopt(begun);
      log.info('The program was started again', { program, pid: begun.session.pid() });
      host.requestFullSync('the program was started again');
      return begun;
    } catch (error) {
      startLater(error instanceof Error ? error.message : String(error));
      throw error;
    }
  }

  async function sync(change: Change): Promise<SyncReport> {
    const { family } = change;
    desired.apply(change);
    const current = run;
    if (!current) throw new Error(`${down}; it will be told everything when it is up again`);
    const partial = current.ready.changes && !change.full && current.served.has(family);
    const told = partial ? change : (desired.whole(family) ?? change);
    try {
      const { done, bytes } = await current.session.request((id) => syncLine(id, told));
      current.served.add(family);
      current.acknowledged = true;
      return {
        operations: done.operations ?? change.upsert.length + change.remove.length,
        bytes: done.bytes ?? bytes,
        ...(done.totals && { totals: done.totals }),
      };
    } catch (error) {
      current.served.delete(family);
      throw error;
    }
  }

  function health(): ReturnType<HealthReporting['health']> {
    const unhealthy = (reason: string) => ({ healthy: false, reason }) as const;
    if (!run) return unhealthy(down);
    if (complaint !== undefined) return unhealthy(`${program} says: ${shown(complaint)}`);
    const { served } = run;
    const open = desired.families().filter((family) => !served.has(family));
    if (open.length > 0) return unhealthy(`${program} has not acknowledged the state of ${open.join(' and ')}`);
    if (wrong.many()) return unhealthy(`${program} writes lines that are no answers; the log shows some`);
    return { healthy: true };
  }

  let families: readonly IPFamily[];
  try {
    const begun = await start();
    families = begun.ready.families;
    adopt(begun);
    log.info('The program is ready', { program, pid: begun.session.pid(), ...begun.ready, type: undefined });
  } catch (error) {
    throw hasCode(error, 'KP_EXEC') ? optionFault(`command: ${error.message}`, error) : error;
  }

  const takeBack = [
    host.metrics.register({
      name: 'exec_restarts_total',
      type: 'counter',
      help: 'Times that the program of the exec backend was started again, successfully or not.',
      read: () => [{ value: counts.restarts }],
    }),
    host.metrics.register({
      name: 'exec_refused_lines_total',
      type: 'counter',
      help: 'Lines from the program of the exec backend that were no answers.',
      read: () => [{ value: counts.refused }],
    }),
  ];

  return {
    families,
    sync,
    health,
    async cleanup() {
      const current = run ?? (await startAgain());
      await current.session.request(cleanupLine);
      current.served.clear();
      desired.clear();
    },
    async close() {
      closed = true;
      cancelRestart();
      for (const each of takeBack) each();
      down = `${program} was ended, because the backend was closed`;
      await session?.end(CLOSE_GRACE_MS);
    },
  };
}

function hasCode(error: unknown, code: string): error is Error {
  return error instanceof Error && 'code' in error && error.code === code;
}
