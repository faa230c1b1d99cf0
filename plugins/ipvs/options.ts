/**
 * This backend's own options, validated: the configuration's ipvs stanza says most of them; --backend-option NAME=VALUE,
 * or backendOptions in a configuration file, any.
 */
import { BlockList } from 'node:net';
import { choiceOf, givenOptions, wholeNumberOf } from '../shared/options.ts';
import { OWNERSHIPS, type Ownership } from '../shared/table/probe.ts';
import { parseScheduler, type Scheduler } from './balance.ts';

export interface IPVSOptions {
  /** Of Services that ask for none. */
  readonly scheduler: Scheduler;
  /** Virtual servers at these addresses belong to somebody else: never changed, never deleted. */
  readonly excluded: (ip: string) => boolean;
  readonly strictARP: boolean;
  /** 0: as they are. */
  readonly tcpTimeoutSeconds: number;
  readonly tcpFinTimeoutSeconds: number;
  readonly udpTimeoutSeconds: number;
  /** How long an endpoint that went away keeps connections that are still open, at most. */
  readonly graceSeconds: number;
  readonly ownership: Ownership;
  readonly comments: boolean;
  /** Nothing is found out or loaded, and nothing can be synced. */
  readonly cleanupOnly: boolean;
}

type Fault = string;
/** What an option's value means, or what it should have been. */
type Parse<T> = (value: unknown) => { readonly value: T } | { readonly fault: Fault };

const LONGEST_SECONDS = 2_147_483;

const PARSERS = {
  scheduler: schedulerOption,
  excludeCIDRs: cidrsOption,
  strictARP: switchOption,
  tcpTimeoutSeconds: secondsOption,
  tcpFinTimeoutSeconds: secondsOption,
  udpTimeoutSeconds: secondsOption,
  graceSeconds: secondsOption,
  ownership: ownershipOption,
  comments: switchOption,
  cleanupOnly: switchOption,
} as const satisfies Record<string, Parse<unknown>>;

const DEFAULTS: Readonly<Record<keyof typeof PARSERS, unknown>> = {
  scheduler: 'rr',
  excludeCIDRs: [],
  strictARP: false,
  tcpTimeoutSeconds: 0,
  tcpFinTimeoutSeconds: 0,
  udpTimeoutSeconds: 0,
  graceSeconds: 900,
  ownership: 'auto',
  comments: true,
  cleanupOnly: false,
};

/** Throws one error that names every fault. */
export function parseOptions(raw: Readonly<Record<string, unknown>>): IPVSOptions {
  const given = givenOptions('ipvs', raw, Object.keys(DEFAULTS));
  const read = <T>(name: keyof typeof PARSERS, parse: Parse<T>): T => {
    const parsed = parse(given.value(name, DEFAULTS[name]));
    if ('value' in parsed) return parsed.value;
    given.refuse(name, parsed.fault);
    return undefined as T;
  };
  const options: IPVSOptions = {
    scheduler: read('scheduler', PARSERS.scheduler),
    excluded: read('excludeCIDRs', PARSERS.excludeCIDRs),
    strictARP: read('strictARP', PARSERS.strictARP),
    tcpTimeoutSeconds: read('tcpTimeoutSeconds', PARSERS.tcpTimeoutSeconds),
    tcpFinTimeoutSeconds: read('tcpFinTimeoutSeconds', PARSERS.tcpFinTimeoutSeconds),
    udpTimeoutSeconds: read('udpTimeoutSeconds', PARSERS.udpTimeoutSeconds),
    graceSeconds: read('graceSeconds', PARSERS.graceSeconds),
    ownership: read('ownership', PARSERS.ownership),
    comments: read('comments', PARSERS.comments),
    cleanupOnly: read('cleanupOnly', PARSERS.cleanupOnly),
  };
  given.finish();
  return options;
}

/** Upstream's "mh" always hashes the client's port, too. */
function schedulerOption(value: unknown): ReturnType<Parse<Scheduler>> {
  const scheduler = typeof value === 'string' ? parseScheduler(value === 'mh' ? 'mh-port' : value) : undefined;
  return scheduler === undefined ? { fault: 'the name of a scheduler, rr or mh for example' } : { value: scheduler };
}

function cidrsOption(value: unknown): ReturnType<Parse<(ip: string) => boolean>> {
  const texts = typeof value === 'string' ? value.split(',').filter((part) => part.trim() !== '') : value;
  const fault = 'a list of CIDRs, 10.0.0.0/8 for example';
  if (!Array.isArray(texts)) return { fault };
  const list = new BlockList();
  for (const text of texts) {
    const [, net, bits] = (typeof text === 'string' && /^([0-9a-fA-F.:]+)\/(\d{1,3})$/.exec(text.trim())) || [];
    try {
      list.addSubnet(net ?? '', Number(bits ?? Number.NaN), familyOf(net ?? ''));
    } catch {
      return { fault };
    }
  }
  return { value: (ip) => list.check(ip, familyOf(ip)) };
}

function familyOf(ip: string): 'ipv4' | 'ipv6' {
  return ip.includes(':') ? 'ipv6' : 'ipv4';
}

function switchOption(value: unknown): ReturnType<Parse<boolean>> {
  const found = new Map<unknown, boolean>([
    [true, true],
    [false, false],
    ['true', true],
    ['false', false],
    ['on', true],
    ['off', false],
  ]).get(value);
  return found === undefined ? { fault: 'one of on, off' } : { value: found };
}

function ownershipOption(value: unknown): ReturnType<Parse<Ownership>> {
  const choice = choiceOf(value, OWNERSHIPS);
  return choice === undefined ? { fault: `one of ${OWNERSHIPS.join(', ')}` } : { value: choice };
}

function secondsOption(value: unknown): ReturnType<Parse<number>> {
  const seconds = wholeNumberOf(value, 0, LONGEST_SECONDS);
  return seconds === undefined
    ? { fault: `a whole number of seconds, at most ${LONGEST_SECONDS}` }
    : { value: seconds };
}
