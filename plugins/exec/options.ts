/** This backend's own options (--backend-option NAME=VALUE, or backendOptions in a configuration file), validated. */
import type { IPFamily } from '../../core/backend.ts';

export interface ExecOptions {
  /** Absolute path of the program; "" if none is named. */
  readonly command: string;
  readonly args: readonly string[];
  readonly families: readonly IPFamily[];
  /** For one acknowledgement. */
  readonly timeoutSeconds: number;
  /** The program's own; handed over as they are. */
  readonly options: Readonly<Record<string, unknown>>;
}

export const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];
/** Beyond it the core has given the sync up. */
const LONGEST_TIMEOUT_SECONDS = 300;

/** Reads one value; `complain` takes what it should have been. */
const READERS: {
  readonly [Name in keyof ExecOptions]: (value: unknown, complain: (wanted: string) => void) => ExecOptions[Name];
} = {
  command(value, complain) {
    if (typeof value === 'string' && value.startsWith('/') && !value.includes('\0')) return value;
    complain('the absolute path of a program');
    return '';
  },
  args(value, complain) {
    const list = typeof value === 'string' ? parsed(value) : value;
    if (Array.isArray(list) && list.every(isWord)) return list;
    complain(`a list of texts; on the command line in JSON: args='["-v","/run/services"]'`);
    return [];
  },
  families(value, complain) {
    const list = typeof value === 'string' ? value.split(',') : value;
    if (Array.isArray(list) && list.length > 0 && list.every((one) => FAMILIES.includes(one))) {
      return FAMILIES.filter((family) => list.includes(family));
    }
    complain('a list of IPv4 and IPv6; on the command line: families=IPv4,IPv6');
    return FAMILIES;
  },
  timeoutSeconds(value, complain) {
    const seconds = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value;
    if (typeof seconds === 'number' && seconds >= 1 && seconds <= LONGEST_TIMEOUT_SECONDS) return seconds;
    complain(`a number of seconds from 1 to ${LONGEST_TIMEOUT_SECONDS}`);
    return 0;
  },
  options(value, complain) {
    const object = typeof value === 'string' ? parsed(value) : value;
    if (typeof object === 'object' && object !== null && !Array.isArray(object)) return { ...object };
    complain(`an object; on the command line in JSON: options='{"port":8404}'`);
    return {};
  },
};

/** Throws one error that names every fault. That the command is missing is none: `render` needs none. */
export function parseOptions(raw: Readonly<Record<string, unknown>>): ExecOptions {
  const faults: string[] = [];
  const read = <Name extends keyof ExecOptions>(name: Name, absent: ExecOptions[Name]): ExecOptions[Name] => {
    const value = raw[name];
    if (value === undefined) return absent;
    return READERS[name](value, (wanted) => faults.push(`${name}: ${JSON.stringify(value)} is not ${wanted}`));
  };
  const options: ExecOptions = {
    command: read('command', ''),
    args: read('args', []),
    families: read('families', FAMILIES),
    timeoutSeconds: read('timeoutSeconds', 60),
    options: read('options', {}),
  };
  const known = Object.keys(READERS);
  for (const name of Object.keys(raw)) {
    if (!known.includes(name)) faults.push(`${name}: unknown option; known are ${known.join(', ')}`);
  }
  if (faults.length > 0) throw optionFault(faults.join('; '));
  return options;
}

export function optionFault(what: string, cause?: unknown): Error {
  const error = new Error(`exec backend options: ${what}`, cause === undefined ? {} : { cause });
  return Object.assign(error, { code: 'KP_BACKEND_OPTION' });
}

function isWord(value: unknown): value is string {
  return typeof value === 'string' && !value.includes('\0');
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
