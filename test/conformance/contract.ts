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

export async function tryContract(options: ContractOptions): Promise<readonly Result[]> {
  const { subject, harmlessOnly, trying = () => {}, tried = () => {} } = options;
  const facts: Facts = {};
  const verdicts = new Map<string, Verdict>();
  const results: Result[] = [];
  for (const behaviour of CONTRACT) {
    const { id, sentence, contract, remedy } = behaviour;
    const missing = (behaviour.needs ?? []).find((need) => verdicts.get(need)?.kind !== 'holds');
    let verdict: Verdict;
    if (harmlessOnly !== undefined && !HARMLESS.includes(behaviour)) {
      verdict = { kind: 'not tried', why: harmlessOnly };
    } else if (missing !== undefined) {
      verdict = { kind: 'not tried', why: whyMissing(missing, verdicts.get(missing)) };
    } else {
      trying(id);
      subject.process.trying(id);
      verdict = await tryOne(behaviour, subject, facts);
    }
    verdicts.set(id, verdict);
    const result: Result = { id, sentence, contract, remedy, part: 'contract', verdict };
    results.push(result);
    tried(result);
  }
  return results;
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
  return verdict.kind === 'fails' && behaviour.advice ? { ...verdict, kind: 'advice' } : verdict;
}

function whyMissing(need: string, verdict: Verdict | undefined): string {
  const sentence = CONTRACT.find(({ id }) => id === need)?.sentence ?? need;
  if (verdict?.kind === 'not tried') return verdict.why;
  return `it needs this, which does not hold: ${sentence}`;
}
