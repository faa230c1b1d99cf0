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
  | { readonly kind: 'fails' | 'advice'; readonly expected: string; readonly seen: string }
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
  /** The contract asks for it, but does not demand it: when it does not hold, that is no failure. */
  readonly advice?: true;
  /** Resolves if it holds; rejects with `broken(…)` or whatever the plugin threw if not, with `untried(…)` if nobody can tell. */
  try(trial: Trial): Promise<{ readonly note: string } | undefined>;
}

/** What a behaviour is tried with: see trial.ts. */
export type { Trial } from './trial.ts';

import type { Trial } from './trial.ts';

const BROKEN = Symbol('broken');
const UNTRIED = Symbol('untried');
const DOUBTFUL = Symbol('doubtful');

/** For a behaviour that does not hold. */
export function broken(expected: string, seen: string): Error {
  return Object.assign(new Error(`expected ${expected}, seen ${seen}`), { [BROKEN]: { expected, seen } });
}

/** For what looks wrong, and may be right all the same. */
export function doubtful(expected: string, seen: string): Error {
  return Object.assign(broken(expected, seen), { [DOUBTFUL]: true });
}

/** For a behaviour that cannot be tried. */
export function untried(why: string): Error {
  return Object.assign(new Error(why), { [UNTRIED]: why });
}

/** What a rejection of `Behaviour.try` means. */
export function verdictOf(thrown: unknown): Verdict {
  if (thrown instanceof Error && BROKEN in thrown) {
    const kind = DOUBTFUL in thrown ? 'advice' : 'fails';
    return { kind, ...(thrown[BROKEN] as { readonly expected: string; readonly seen: string }) };
  }
  if (thrown instanceof Error && UNTRIED in thrown) return { kind: 'not tried', why: String(thrown[UNTRIED]) };
  return { kind: 'fails', expected: 'no error', seen: sayThrown(thrown) };
}

/** One line of whatever a plugin threw. */
export function sayThrown(thrown: unknown): string {
  if (!(thrown instanceof Error)) return `something thrown that is no Error: ${brief(thrown)}`;
  const code = 'code' in thrown ? ` (code ${String(thrown.code)})` : '';
  return `${thrown.name === 'Error' ? '' : `${thrown.name}: `}${thrown.message.split('\n', 1)[0]}${code}`;
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
