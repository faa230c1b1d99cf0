/** This backend's own options (--backend-option NAME=VALUE, or backendOptions in a configuration file), validated. */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { choiceOf, givenOptions, wholeNumberOf } from '../shared/options.ts';
import { OWNERSHIPS, type Ownership } from '../shared/table/probe.ts';
import type { EngineLimits } from './forward/messages.ts';

export type Way = 'auto' | 'redirect' | 'direct';

export interface UserspaceOptions {
  /** How connections come in; auto: by nf_tables where this process may, else by addresses that it may bind. */
  readonly way: Way;
  readonly threads: number;
  readonly limits: EngineLimits;
  /** Endpoints are told the client's address by a PROXY protocol header, unless the Service says otherwise. */
  readonly proxyProtocol: boolean;
  /** In direct: added to a port that this process may not bind. 0: such ports are not served. */
  readonly portOffset: number;
  /** In redirect: the first of the listeners' ports. 0: any that are free. */
  readonly firstPort: number;
  readonly ownership: Ownership;
  readonly comments: boolean;
}

const MOST_THREADS = 64;
const USUAL_THREADS = 4;

interface NumberRange {
  readonly fallback: number;
  readonly least: number;
  readonly most: number;
}

const DAY = 86_400;
const RESERVED_DESCRIPTORS = 512;
const NUMBERS = {
  threads: { fallback: Math.min(availableParallelism(), USUAL_THREADS), least: 1, most: MOST_THREADS },
  graceSeconds: { fallback: 30, least: 0, most: DAY },
  idleSeconds: { fallback: 0, least: 0, most: 7 * DAY },
  keepAliveSeconds: { fallback: 60, least: 0, most: DAY },
  udpUnrepliedSeconds: { fallback: 30, least: 1, most: DAY },
  udpRepliedSeconds: { fallback: 120, least: 1, most: DAY },
  maxConnections: { fallback: connectionsFor(100_000), least: 1, most: 10_000_000 },
  maxSessions: { fallback: 20_000, least: 1, most: 1_000_000 },
  portOffset: { fallback: 20_000, least: 0, most: 60_000 },
  firstPort: { fallback: 0, least: 0, most: 65_535 - 3 },
} as const satisfies Record<string, NumberRange>;
type NumberName = keyof typeof NUMBERS;

const CHOICES = {
  way: ['auto', 'redirect', 'direct'],
  ownership: OWNERSHIPS,
  comments: ['on', 'off'],
  proxyProtocol: ['off', 'v2'],
} as const;
type ChoiceName = keyof typeof CHOICES;

/** Throws one error that names every fault. What is on or off may also be true or false, as a configuration file has it. */
export function parseOptions(raw: Readonly<Record<string, unknown>>): UserspaceOptions {
  const given = givenOptions('userspace', raw, [...Object.keys(CHOICES), ...Object.keys(NUMBERS)]);
  const choice = <N extends ChoiceName>(name: N): (typeof CHOICES)[N][number] => {
    const choices: readonly (typeof CHOICES)[N][number][] = CHOICES[name];
    const found = choiceOf(given.value(name, DEFAULT_CHOICES[name]), choices);
    if (found === undefined) given.refuse(name, `one of ${choices.join(', ')}`);
    return found as (typeof CHOICES)[N][number];
  };
  const number = (name: NumberName): number => {
    const { fallback, least, most } = NUMBERS[name];
    const value = given.value(name, undefined);
    if (value === undefined) return fallback;
    const found = wholeNumberOf(value, least, most);
    if (found === undefined) given.refuse(name, `a whole number from ${least} to ${most}`);
    return found ?? fallback;
  };
  const options: UserspaceOptions = {
    way: choice('way'),
    threads: number('threads'),
    limits: {
      graceSeconds: number('graceSeconds'),
      idleSeconds: number('idleSeconds'),
      keepAliveSeconds: number('keepAliveSeconds'),
      unrepliedSeconds: number('udpUnrepliedSeconds'),
      repliedSeconds: number('udpRepliedSeconds'),
      maxConnections: number('maxConnections'),
      maxSessions: number('maxSessions'),
    },
    proxyProtocol: choice('proxyProtocol') === 'v2',
    portOffset: number('portOffset'),
    firstPort: number('firstPort'),
    ownership: choice('ownership'),
    comments: choice('comments') === 'on',
  };
  given.finish();
  return options;
}

/** Each connection is two descriptors, and the rest of the program needs some. */
function connectionsFor(most: number): number {
  try {
    const [, soft = ''] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
    const descriptors = Number(soft === '' ? Number.NaN : soft) - RESERVED_DESCRIPTORS;
    return Number.isNaN(descriptors) ? most : Math.max(16, Math.min(most, Math.floor(descriptors / 2)));
  } catch {
    return most;
  }
}

const DEFAULT_CHOICES: Readonly<Record<ChoiceName, string>> = {
  way: 'auto',
  ownership: 'auto',
  comments: 'on',
  proxyProtocol: 'off',
};
