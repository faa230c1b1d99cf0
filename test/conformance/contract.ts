/**
 * The behaviours of the contract, in the order in which they are tried, and their trial one after the other. What one
 * finds out the later ones build on: where it failed, they are not tried, so that each fault is reported once.
 */
import { type Behaviour, type Result, type Verdict, verdictOf } from './behaviour.ts';
import { ABILITY_BEHAVIOURS, RENDER_BEHAVIOURS } from './contract-abilities.ts';
import { CLEANUP_BEHAVIOURS } from './contract-cleanup.ts';
import { CLOSE_BEHAVIOURS, PROCESS_BEHAVIOURS } from './contract-close.ts';
import { CREATE_BEHAVIOURS } from './contract-create.ts';
import { FAULT_BEHAVIOURS } from './contract-faults.ts';
import { SYNC_BEHAVIOURS } from './contract-sync.ts';
import { OF_PROGRAMS } from './program-words.ts';
import { createTrial, type Facts, type Subject } from './trial.ts';

/** Need neither a host nor any privilege. */
const HARMLESS: readonly Behaviour[] = [
  ...CREATE_BEHAVIOURS.filter(({ id }) => id === 'metadata'),
  ...RENDER_BEHAVIOURS,
];

export const CONTRACT: readonly Behaviour[] = [
  ...HARMLESS,
  ...CREATE_BEHAVIOURS.filter(({ id }) => id !== 'metadata'),
  ...SYNC_BEHAVIOURS,
  ...CLEANUP_BEHAVIOURS,
  ...FAULT_BEHAVIOURS,
  ...CLOSE_BEHAVIOURS,
  ...ABILITY_BEHAVIOURS,
  ...PROCESS_BEHAVIOURS,
];

export interface ContractOptions {
  readonly subject: Subject;
  /** Why only what touches no host may be tried; absent: everything. */
  readonly harmlessOnly?: string;
  /** Called before each behaviour. */
  readonly trying?: (id: string) => void;
  /** Called after each. */
  readonly tried?: (result: Result) => void;
}

/** Resolves to what was found out on the way. */
export async function tryContract(options: ContractOptions): Promise<Facts> {
  const { subject, harmlessOnly, trying = () => {}, tried = () => {} } = options;
  const facts: Facts = {};
  const verdicts = new Map<string, Verdict>();
  for (const behaviour of CONTRACT) {
    const { id, sentence } = behaviour;
    const words = subject.program === undefined ? {} : (OF_PROGRAMS[id] ?? {});
    const missing =
      (behaviour.needs ?? []).find((need) => verdicts.get(need)?.kind !== 'holds') ??
      (behaviour.unless ?? []).find((other) => verdicts.get(other)?.kind === 'fails');
    let verdict: Verdict;
    if (harmlessOnly !== undefined && !HARMLESS.includes(behaviour)) {
      verdict = { kind: 'not tried', why: harmlessOnly };
    } else if (missing !== undefined) {
      verdict = { kind: 'not tried', why: whyMissing(missing, verdicts.get(missing)) };
    } else if (words.untried !== undefined) {
      verdict = { kind: 'not tried', why: words.untried };
    } else {
      trying(id);
      subject.process.trying(id);
      verdict = await tryOne(behaviour, subject, facts);
    }
    verdicts.set(id, verdict);
    const remedy = ('remedy' in verdict ? verdict.remedy : undefined) ?? words.remedy ?? behaviour.remedy;
    const contract = words.contract ?? behaviour.contract;
    const result: Result = { id, sentence, contract, remedy, part: 'contract', verdict: withoutRemedy(verdict) };
    tried(result);
  }
  return facts;
}

async function tryOne(behaviour: Behaviour, subject: Subject, facts: Facts): Promise<Verdict> {
  const trial = createTrial(subject, facts);
  let verdict: Verdict;
  try {
    verdict = { kind: 'holds', ...(await behaviour.try(trial)) };
  } catch (error) {
    verdict = verdictOf(error);
  }
  // What is harmless was given no host, and needs none to be tidied up either.
  if (!HARMLESS.includes(behaviour)) await trial.tidy();
  await subject.process.settle();
  return verdict;
}

/** It has become the result's. */
function withoutRemedy(verdict: Verdict): Verdict {
  if (!('remedy' in verdict)) return verdict;
  const { remedy: _, ...rest } = verdict;
  return rest;
}

function whyMissing(need: string, verdict: Verdict | undefined): string {
  const sentence = CONTRACT.find(({ id }) => id === need)?.sentence ?? need;
  if (verdict?.kind === 'not tried') return verdict.why;
  return `it needs this, which does not hold: ${sentence}`;
}
