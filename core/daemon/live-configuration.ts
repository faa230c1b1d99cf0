/**
 * The configuration file, live: an edit is checked, tried and put in force, or refused whole with its reason.
 *
 *   file text ──evaluate──▶ faults: refused, the running one stays
 *                     └───▶ settings ──apply──▶ in force
 *                                         └──▶ rejected (a backend that this host cannot run, …): refused
 *
 * Edits are dealt with one after the other; of those that come meanwhile only the last counts. An application may
 * still fail after it resolved (`withdraw`): a backend that starts but cannot program anything. It gives way to the
 * last one that did (`proven`), however many edits came since.
 */
import type { Clock } from '../backend.ts';
import type { Fault } from '../config/command-line.ts';
import type { Settings } from '../config/settings.ts';
import { systemClock } from '../node/clock.ts';
import { errorText, type Log } from '../observe/log.ts';
import { differences } from './differences.ts';

/** What a text says; `settings` is absent where faults forbid it. */
export interface Evaluation {
  readonly settings?: Settings | undefined;
  readonly faults: readonly Fault[];
  readonly hash: string;
}

export interface LiveConfigurationOptions {
  readonly file: string;
  readonly initial: Settings;
  readonly initialHash: string;
  readonly evaluate: (text: string) => Evaluation;
  /** Puts settings in force; rejects, with everything as before, if that cannot be. */
  readonly apply: (before: Settings, after: Settings) => Promise<void>;
  /** What `apply` waits for, if it does; for the log. */
  readonly waitsFor?: () => string | undefined;
  readonly log: Log;
  /** Default: the system's. */
  readonly clock?: Clock;
  /** Told of each edit: refused with the reasons, or in force. */
  readonly onEdit?: (edit: { readonly refused: readonly string[] }) => void;
}

export interface LiveStatus {
  /** Hash of the text that is in force, and of the one in the file. */
  readonly running: string;
  readonly file: string;
  /** Why the file's text is not in force; empty when it is. */
  readonly refused: readonly string[];
}

export interface LiveConfiguration {
  running(): Settings;
  status(): LiveStatus;
  /** The file has this text now. Resolves when it was dealt with, or a later one is. */
  edited(text: string): Promise<void>;
  /** The file cannot be read, for this reason; undefined: it can be again. */
  unreadable(reason: string | undefined): void;
  /** The backend in force has programmed everything. */
  proven(): void;
  /** What is in force turns out not to work; the last settings that did are to be put in force again. */
  withdraw(reason: string): Promise<void>;
}

/** Of a file that is no configuration at all; they are logged, shown and sent as an event. */
const MOST_REASONS = 20;
const LONGEST_REASON = 500;
/** Until it is told of that an edit waits; then twice as long, and so on. */
const FIRST_TELL_MS = 10_000;
/** What keeps it from being applied may lie outside the file, and nobody looks there. */
const TRIED_AGAIN = 'once the cause is gone, change the text of the file, if only a comment: then it is tried again';

interface InForce {
  readonly settings: Settings;
  readonly hash: string;
}

export function createLiveConfiguration(options: LiveConfigurationOptions): LiveConfiguration {
  const { file, evaluate, apply, log, clock = systemClock, waitsFor = () => undefined, onEdit = () => {} } = options;
  let inForce: InForce = { settings: options.initial, hash: options.initialHash };
  /** The last whose backend is known to work; undefined while that is the one in force. */
  let before: InForce | undefined;
  let isProven = true;
  let fileHash = options.initialHash;
  let refused: readonly string[] = [];
  let trouble: string | undefined;
  /** The latest text that nobody has looked at yet. */
  let waiting: string | undefined;
  let work: Promise<void> = Promise.resolve();

  function refuse(all: readonly string[], remedy?: string): void {
    const reasons = all.slice(0, MOST_REASONS).map((reason) => reason.slice(0, LONGEST_REASON));
    if (all.length > MOST_REASONS) reasons.push(`and ${all.length - MOST_REASONS} more`);
    refused = reasons;
    for (const reason of reasons) {
      log.error('The edited configuration is refused and the one before stays in force', {
        file,
        reason,
        ...(remedy === undefined ? {} : { remedy }),
      });
    }
    onEdit({ refused: reasons });
  }

  async function takeUp(): Promise<void> {
    const text = waiting;
    waiting = undefined;
    if (text === undefined) return;
    const { settings, faults, hash } = evaluate(text);
    const known = hash === fileHash;
    fileHash = hash;
    if (hash === inForce.hash) {
      if (refused.length === 0) return;
      refused = [];
      log.info('The configuration file says again what is in force', { file, hash });
      onEdit({ refused: [] });
      return;
    }
    // A text that was refused is not tried again until it changes.
    if (known && refused.length > 0) return;
    if (!settings || faults.length > 0) {
      refuse(faults.map(({ where, what }) => (where === '' ? what : `${where}: ${what}`)));
      return;
    }
    try {
      await apply(inForce.settings, settings);
    } catch (error) {
      refuse([errorText(error)], TRIED_AGAIN);
      return;
    }
    if (differences(inForce.settings, settings).backend) {
      if (isProven) before = inForce;
      isProven = false;
    }
    inForce = { settings, hash };
    refused = [];
    for (const { where, what } of settings.warnings) log.warn('A remark on the configuration', { file, where, what });
    log.info('The edited configuration is in force', { file, hash });
    onEdit({ refused: [] });
  }

  function next(step: () => Promise<void>): Promise<void> {
    work = work.then(step).catch((error) => {
      log.error('The configuration could not be dealt with; this is a bug', { file, error });
    });
    return work;
  }

  /** Says so, again and again, while this is not done. */
  async function watched(done: Promise<void>): Promise<void> {
    let cancel = (): void => {};
    const arm = (waitMs: number, sinceMs: number): void => {
      cancel = clock.after(waitMs, () => {
        const seconds = (sinceMs + waitMs) / 1000;
        log.warn('An edit of the configuration is not in force yet', {
          file,
          seconds,
          waitsFor: waitsFor() ?? 'the one before it',
        });
        arm(sinceMs + waitMs, sinceMs + waitMs);
      });
    };
    arm(FIRST_TELL_MS, 0);
    try {
      await done;
    } finally {
      cancel();
    }
  }

  return {
    running: () => inForce.settings,
    status: () => ({
      running: inForce.hash,
      file: fileHash,
      refused: trouble === undefined ? refused : [trouble, ...refused],
    }),
    unreadable(reason) {
      trouble = reason;
      onEdit({ refused: reason === undefined ? refused : [reason] });
    },
    edited(text) {
      waiting = text;
      return watched(next(takeUp));
    },
    proven() {
      isProven = true;
      before = undefined;
    },
    withdraw(reason) {
      const suspect = inForce;
      return next(async () => {
        const earlier = before;
        // A later edit has replaced it already.
        if (!earlier || inForce !== suspect) return;
        try {
          await apply(inForce.settings, earlier.settings);
        } catch (error) {
          refuse([reason, `what was in force before cannot be put in force again: ${errorText(error)}`]);
          return;
        }
        inForce = earlier;
        before = undefined;
        isProven = true;
        refuse([reason]);
      });
    },
  };
}
