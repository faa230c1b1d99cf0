/**
 * What the kit is made of: behaviours, each one sentence that holds or does not, and the verdicts on them. Pure.
 *
 *   holds      it was tried and is so
 *   fails      it was tried and is not so: what was expected, what was seen
 *   advice     it is not so, and the contract does not demand it
 *   not tried  why
 */
export type Verdict =
  | { readonly kind: 'holds'; readonly note?: string }
  | {
      readonly kind: 'fails' | 'advice';
      readonly expected: string;
      readonly seen: string;
      /** A better one than the behaviour's own, where what was seen tells more. */
      readonly remedy?: string;
    }
  | { readonly kind: 'not tried'; readonly why: string };

/** `packets`: judged by what connections meet; the others by calling the plugin. */
export type Part = 'contract' | 'packets';

/** What is said of a behaviour, whatever becomes of it. */
export interface Sentence {
  /** Names it for programs; stays the same from release to release. */
  readonly id: string;
  readonly sentence: string;
  /** Of core/backend.ts: which member, and what it says. */
  readonly contract: string;
  /** How to make it so. */
  readonly remedy: string;
}

export interface Result extends Sentence {
  readonly part: Part;
  readonly verdict: Verdict;
}

export interface Behaviour extends Sentence {
  /** Behaviours, by id, without which this one cannot be judged. */
  readonly needs?: readonly string[];
  /** Behaviours, by id, whose failure would only be told again. */
  readonly unless?: readonly string[];
  /**
   * Resolves if it holds; rejects with `broken(…)` or whatever the plugin threw if not, with `doubtful(…)` if the contract
   * does not demand it, with `untried(…)` if nobody can tell.
   */
  try(trial: Trial): Promise<{ readonly note: string } | undefined>;
}

/** What a behaviour is tried with: see trial.ts. */
export type { Trial } from './trial.ts';

import type { Trial } from './trial.ts';

const BROKEN = Symbol('broken');
const UNTRIED = Symbol('untried');
const DOUBTFUL = Symbol('doubtful');

/** For a behaviour that does not hold. `remedy`: instead of the behaviour's own. */
export function broken(expected: string, seen: string, remedy?: string): Error {
  const said = { expected, seen, ...(remedy !== undefined && { remedy }) };
  return Object.assign(new Error(`expected ${expected}, seen ${seen}`), { [BROKEN]: said });
}

/** For what looks wrong and may be right all the same, and for what the contract asks for and does not demand. */
export function doubtful(expected: string, seen: string, remedy?: string): Error {
  return Object.assign(broken(expected, seen, remedy), { [DOUBTFUL]: true });
}

/** Made here, and not thrown by a plugin. */
export function isVerdict(thrown: unknown): boolean {
  return thrown instanceof Error && (BROKEN in thrown || UNTRIED in thrown);
}

/** For a behaviour that cannot be tried. */
export function untried(why: string): Error {
  return Object.assign(new Error(why), { [UNTRIED]: why });
}

/** What a rejection of `Behaviour.try` means. */
export function verdictOf(thrown: unknown): Verdict {
  if (thrown instanceof Error && BROKEN in thrown) {
    const kind = DOUBTFUL in thrown ? 'advice' : 'fails';
    return {
      kind,
      ...(thrown[BROKEN] as { readonly expected: string; readonly seen: string; readonly remedy?: string }),
    };
  }
  if (thrown instanceof Error && UNTRIED in thrown) return { kind: 'not tried', why: String(thrown[UNTRIED]) };
  return { kind: 'fails', expected: 'no error', seen: sayThrown(thrown) };
}

/** One line of whatever a plugin threw. An error with a code was meant; any other one is looked for by its place. */
export function sayThrown(thrown: unknown): string {
  if (!(thrown instanceof Error)) return `something thrown that is no Error: ${brief(thrown)}`;
  const detail = 'code' in thrown ? ` (code ${String(thrown.code)})` : placeOf(thrown);
  return `${thrown.name === 'Error' ? '' : `${thrown.name}: `}${String(thrown.message).split('\n', 1)[0]}${detail}`;
}

/** " (mine.js:14)": the first place in its stack that is no part of Node.js; "" if there is none. */
function placeOf({ stack }: Error): string {
  for (const line of typeof stack === 'string' ? stack.split('\n').slice(1) : []) {
    const [, file, at] = /^\s+at (?:.*\()?(?:file:\/\/)?([^()]+?):(\d+):\d+\)?$/.exec(line) ?? [];
    if (file?.startsWith('/')) return ` (${file.slice(file.lastIndexOf('/') + 1)}:${at})`;
  }
  return '';
}

/** A value in few characters. */
export function brief(value: unknown, most = 120): string {
  let text: string | undefined;
  try {
    text = typeof value === 'function' ? 'a function' : JSON.stringify(value);
  } catch {
    // It refers to itself, or holds a bigint.
  }
  text ??= String(value);
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}
