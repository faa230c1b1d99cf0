/**
 * What the kit says of a program that the exec backend runs: its author knows lines of JSON and no `Host`. Behaviours
 * that are not listed are about the exec backend itself. Pure.
 */

export interface ProgramWords {
  /** Where the protocol asks for it. */
  readonly contract?: string;
  readonly remedy?: string;
  /** Why it is not tried with a program. */
  readonly untried?: string;
}

const SYNC = 'protocol of exec, sync: make change.upsert true for change.family, and nothing else';
const CHANGES =
  'protocol of exec, ready: with "changes" true, upsert holds what is new or changed, and remove the keys that are gone';
const CLEANUP =
  'protocol of exec, cleanup: remove everything that this program ever made on this host, and nothing else';
const END = 'protocol of exec, end of the input: end, and leave everything as it is';
const LINES = 'write the answer as one line of JSON, flushed, and nothing else to the standard output';
const FOLLOW = 'put each element of upsert, whole, in the place of what its key had, and take away the keys in remove';

const NO_CHECK =
  'the protocol has no question for that; a program that finds its work gone writes {"type":"resync","reason":"…"}';
const CANNOT_FAIL =
  'the kit cannot make fail what a program does; it must answer {"type":"error","id":…,"message":"…"} whenever a part was not done, and make all right with the next sync';

const changed: ProgramWords = { contract: CHANGES, remedy: FOLLOW };
const cleaned = (remedy: string): ProgramWords => ({ contract: CLEANUP, remedy });

/** By the id of the behaviour. */
export const OF_PROGRAMS: Readonly<Record<string, ProgramWords>> = {
  create: {
    contract: 'protocol of exec, hello: answered within 15 s by ready, or by error without an id',
    remedy: `answer {"type":"ready"} to the first line; ${LINES}`,
  },
  'create-changes-nothing': {
    contract: 'protocol of exec, hello: it only asks whether the program can be used',
    remedy: 'make nothing before the first sync',
  },
  sync: { contract: SYNC, remedy: `answer {"type":"done","id":…} with the id of the sync; ${LINES}` },
  'sync-nothing': { contract: SYNC, remedy: 'an upsert without elements is a state like any other' },
  'sync-report': {
    contract: 'protocol of exec, done: operations, bytes, totals',
    remedy: 'numbers, or leave them out',
  },
  'every-kind': {
    contract: SYNC,
    remedy: 'what cannot be served must not keep the rest from being served: write a line of type log and go on',
  },
  'same-again': { contract: SYNC, remedy: 'what is there already is no error' },
  quiet: {
    contract: 'protocol of exec, done: "operations" says how much was written',
    remedy: 'compare with what is there, write the difference only, and answer "operations":0 if there is none',
  },
  'new-service': changed,
  'changed-endpoints': changed,
  'removed-service': changed,
  'changed-node': { contract: CHANGES, remedy: 'look at change.node, also when upsert and remove are empty' },
  'full-after-partial': { contract: SYNC, remedy: 'when change.full is true, remove what is not in upsert' },
  crash: { contract: SYNC, remedy: 'look at what an earlier run left, or replace it whole' },
  'restart-quiet': {
    contract: 'protocol of exec, done: "operations" says how much was written',
    remedy: 'compare with what is there, not with what this run of the program remembers',
  },
  'families-overlap': {
    contract: 'protocol of exec: the two families are told separately, and both may be open at a time',
    remedy: 'keep the two families apart, and answer each by its id',
  },
  large: { contract: SYNC, remedy: 'answer within timeoutSeconds; with "changes" true there is less to do' },
  cleanup: cleaned('remove all that sync makes, and answer done'),
  'cleanup-complete': cleaned('remove what every kind of Service needs'),
  'cleanup-twice': cleaned('what is not there need not be removed'),
  'cleanup-fresh': cleaned('find what is yours by its name, not by what this run of the program remembers'),
  'cleanup-without-options': {
    untried: 'only its options name the program; cleanup needs the same ones',
  },
  foreign: cleaned('give what you make names of your own, and touch nothing by any other name'),
  'sync-rejects': { untried: CANNOT_FAIL },
  recovers: { untried: CANNOT_FAIL },
  close: { contract: END, remedy: 'end at the end of the input' },
  'close-leaves-nothing': { contract: END, remedy: 'end at the end of the input' },
  'close-keeps-rules': {
    contract: END,
    remedy:
      'remove what you made for cleanup only; what must go on listening is to be started as a daemon of its own, in a session of its own (setsid)',
  },
  'check-intact': { untried: NO_CHECK },
  'check-notices': { untried: NO_CHECK },
  health: { remedy: 'answer every sync with done or error, and write nothing that is no answer' },
  initialize: { untried: 'the protocol has no question for that; set kernel parameters with the first sync' },
};

/** Of a state that nothing can be compared with. */
export const PROGRAM_NOTE =
  'only that it answers done: with "operations":0 for a state that is right, it could be compared';
