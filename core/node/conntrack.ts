/**
 * Keeps conntrack from holding UDP clients to what is no longer right. conntrack remembers a flow's translation for as
 * long as packets come, so that a client that keeps its port would talk to a dead endpoint forever.
 *
 *   sync loop ──Change that took effect──▶ synced(): note what moved ──▶ pass: dump once, judge each flow, delete
 *
 * A pass runs beside the sync loop, in slices that leave the event loop to others; one at a time for each family, and
 * what moves meanwhile is for the next. What is judged stale and why: conntrack-frontends.ts.
 *
 * - A change that moves no UDP frontend starts none.
 * - A full change looks at all frontends: the first because nobody watched before it, later ones because they follow a
 *   failure or foreign hands in our rules, when flows begin untranslated; or every hour, against what slipped through.
 * - Flows are judged by what they are, never by when they began, so that those that are right survive a restart. A
 *   frontend that went away while no kube-proxy ran is unknown, and its flows are left alone.
 * - A failed pass is repeated after the next sync; it never fails a sync.
 */
import type { AddressPort, Change, Clock, IPFamily, Logger } from '../backend.ts';
import { type Conntrack, openConntrack } from '../netlink/conntrack.ts';
import { NetlinkError } from '../netlink/errors.ts';
import { systemClock } from './clock.ts';
import { createUDPFrontends, type Search, type UDPFrontends } from './conntrack-frontends.ts';

export interface ConntrackReconciler {
  /** A change took effect in the data plane. Returns at once, and never throws. `answersAt`: see conntrack-frontends.ts. */
  synced(change: Change, answersAt?: readonly AddressPort[]): void;
  /** Resolves when no pass is under way. */
  settled(): Promise<void>;
  /** Ends passes under way as soon as they pause; nothing starts any more. */
  stop(): Promise<void>;
}

/** A pass that went through. */
export interface ConntrackPass {
  readonly family: IPFamily;
  readonly durationSeconds: number;
  /** Flows. */
  readonly deleted: number;
}

export interface ConntrackReconcilerOptions {
  readonly log: Logger;
  readonly onPass?: (pass: ConntrackPass) => void;
  readonly clock?: Clock;
  /** Opened for each pass and closed after it. `pause` rejects to end it early. */
  readonly open?: (pause: () => Promise<void>) => Conntrack;
}

interface FamilyState {
  readonly family: IPFamily;
  readonly frontends: UDPFrontends;
  /** When the next pass may begin, in the clock's milliseconds. */
  notBefore: number;
  /** The passes under way; undefined when there is none. */
  running: Promise<void> | undefined;
  failing: boolean;
}

/** After a pass at least this many times its duration goes by: a table of a million flows takes a second to read. */
const REST = 4;
/** Times that an interrupted dump is repeated at once. What it did show has been dealt with by then. */
const MOST_REPEATS = 3;

export function createConntrackReconciler(options: ConntrackReconcilerOptions): ConntrackReconciler {
  const { log, clock = systemClock, open = openConntrack } = options;
  const states = new Map<IPFamily, FamilyState>();
  let stopped = false;
  /** Ends every wait under way. */
  let hurry = (): void => {};
  const stopping = new Promise<void>((resolve) => {
    hurry = resolve;
  });

  /** Lets others run; and the way in which stop() reaches a pass. */
  async function pause(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    if (stopped) throw new Stopped();
  }

  async function wait(milliseconds: number): Promise<void> {
    if (milliseconds <= 0) return;
    let cancel = (): void => {};
    const over = new Promise<void>((resolve) => {
      cancel = clock.after(milliseconds, resolve);
    });
    await Promise.race([over, stopping]);
    cancel();
  }

  function stateOf(family: IPFamily): FamilyState {
    const state = states.get(family) ?? newState(family);
    states.set(family, state);
    return state;
  }

  async function passes(state: FamilyState): Promise<void> {
    try {
      while (state.frontends.moved()) {
        await wait(state.notBefore - clock.now());
        await pause();
        const search = state.frontends.take();
        if (search === undefined || !(await pass(state, search))) return;
      }
    } catch (error) {
      if (!(error instanceof Stopped)) tellFailure(state, error);
    } finally {
      // In the very step in which nothing was found to have moved: what moves later starts passes again.
      state.running = undefined;
    }
  }

  /** False when it failed and the next sync must start it again. */
  async function pass(state: FamilyState, search: Search): Promise<boolean> {
    const { family } = state;
    let conntrack: Conntrack | undefined;
    try {
      conntrack = open(pause);
      const began = clock.now();
      const deleted = await reconcile(conntrack, family, search);
      const durationMs = clock.now() - began;
      state.notBefore = clock.now() + durationMs * REST;
      const values = { family, deleted, durationMs: Math.round(durationMs * 10) / 10 };
      if (deleted > 0) log.info('Stale UDP flows were deleted from conntrack', values);
      else log.verbose(3, 'No UDP flow in conntrack is stale', values);
      if (state.failing) log.info('UDP flows in conntrack are kept right again', { family });
      state.failing = false;
      options.onPass?.({ family, durationSeconds: durationMs / 1000, deleted });
      return true;
    } catch (error) {
      if (error instanceof Stopped) throw error;
      state.frontends.giveBack();
      tellFailure(state, error);
      return false;
    } finally {
      conntrack?.close();
    }
  }

  function tellFailure(state: FamilyState, error: unknown): void {
    const known = error instanceof NetlinkError && error.remedy !== '';
    const values = { family: state.family, error: error instanceof Error ? error.message : String(error) };
    const message = 'UDP flows in conntrack cannot be kept right; clients may stay with endpoints that are gone';
    if (state.failing) log.verbose(2, message, values);
    else {
      const remedy = 'tried again after the next sync; meanwhile: conntrack -D -p udp --orig-dst ADDRESS';
      log.warn(message, known ? values : { ...values, remedy });
    }
    state.failing = true;
  }

  return {
    synced(change, answersAt) {
      if (stopped) return;
      const state = stateOf(change.family);
      state.frontends.apply(change, answersAt);
      if (state.running === undefined && state.frontends.moved()) state.running = passes(state);
    },
    async settled() {
      await Promise.all([...states.values()].map(({ running }) => running));
    },
    async stop() {
      stopped = true;
      hurry();
      await Promise.all([...states.values()].map(({ running }) => running));
    },
  };
}

function newState(family: IPFamily): FamilyState {
  return { family, frontends: createUDPFrontends(), notBefore: 0, running: undefined, failing: false };
}

/** Not an error of anyone's: the process ends. */
class Stopped extends Error {}

async function reconcile(conntrack: Conntrack, family: IPFamily, search: Search): Promise<number> {
  let deleted = 0;
  for (let repeats = 0; ; repeats++) {
    const selection = await conntrack.select({
      family,
      translatedOnly: !search.untranslated,
      onlyPort: search.onlyPort,
      port: search.hasPort,
      pick: search.isStale,
    });
    deleted += await conntrack.delete(selection.picked);
    if (selection.complete || repeats === MOST_REPEATS) return deleted;
  }
}
