/**
 * The kinds of value that a flag can have. A kind turns the text of one flag into a typed value and says in full
 * sentences what is wrong with it: every fault, not only the first, so that one run shows all there is to mend.
 *
 *   text ──kind.parse──▶ { value, faults }      faults empty: value is good
 */
import { parseCIDR, parseIP } from '../model/ip.ts';
import type { VModuleItem } from './configuration.ts';
import { parseDuration } from './duration.ts';

export interface Kind<T> {
  /** What stands for the value in --help, for example "CIDR,…". */
  readonly placeholder: string;
  /** `value` is undefined if there are faults. */
  parse(text: string): ParsedValue<T>;
  /** A flag of this kind may stand alone and then means this text ("--masquerade-all"). */
  readonly bare?: string;
  /** Given twice, the values add up; otherwise the last one counts. */
  join?(earlier: T, later: T): T;
}

export interface ParsedValue<T> {
  readonly value: T | undefined;
  readonly faults: readonly string[];
}

const good = <T>(value: T): ParsedValue<T> => ({ value, faults: [] });
const bad = (...faults: readonly string[]): ParsedValue<never> => ({ value: undefined, faults });
const quote = (text: string): string => JSON.stringify(text);

export function text(placeholder: string): Kind<string> {
  return { placeholder, parse: good };
}

/** The spellings of Go's strconv.ParseBool. */
export const bool: Kind<boolean> = {
  placeholder: '',
  bare: 'true',
  parse(given) {
    if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(given)) return good(true);
    if (['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(given)) return good(false);
    return bad(`${quote(given)} is neither true nor false`);
  },
};

export function int(placeholder: string, minimum: number, maximum = Number.MAX_SAFE_INTEGER): Kind<number> {
  const range = maximum === Number.MAX_SAFE_INTEGER ? `from ${minimum} up` : `from ${minimum} to ${maximum}`;
  return {
    placeholder,
    parse(given) {
      const value = /^[+-]?\d+$/.test(given) ? Number(given) : Number.NaN;
      if (value >= minimum && value <= maximum) return good(value);
      return bad(`${quote(given)} is not a whole number ${range}`);
    },
  };
}

/** Whole, of 32 bits: what Go's int32 holds. Narrower limits are the validation's to check. */
export function int32(placeholder: string): Kind<number> {
  return {
    placeholder,
    parse(given) {
      const value = /^[+-]?\d+$/.test(given) ? Number(given) : Number.NaN;
      if (isInt32(value)) return good(value);
      return bad(`${quote(given)} is not a whole number of at most 32 bits`);
    },
  };
}

export function isInt32(value: unknown): value is number {
  return typeof value === 'number' && (value | 0) === value;
}

export const float: Kind<number> = {
  placeholder: 'NUMBER',
  parse(given) {
    const value = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(given) ? Number(given) : Number.NaN;
    return Number.isFinite(value) ? good(value) : bad(`${quote(given)} is not a number; give for example 5 or 0.5`);
  },
};

/** Milliseconds. */
export const duration: Kind<number> = {
  placeholder: 'DURATION',
  parse(given) {
    const value = parseDuration(given);
    return value === undefined ? bad(`${quote(given)} is not a duration; give for example 30s or 1m30s`) : good(value);
  },
};

export const ip: Kind<string> = {
  placeholder: 'IP',
  parse(given) {
    const parsed = parseIP(given.trim());
    return parsed ? good(parsed.ip) : bad(`${quote(given)} is not an IP address; give for example 192.168.0.10`);
  },
};

/** One of a few words. An empty text is the first of them, as in the reference. */
export function oneOf<const T extends string>(placeholder: string, words: readonly [T, ...T[]]): Kind<T> {
  return {
    placeholder,
    parse(given) {
      const word = given === '' ? words[0] : words.find((each) => each === given);
      return word === undefined ? bad(`${quote(given)} is none of ${words.join(', ')}`) : good(word);
    },
  };
}

/** Comma-separated, blanks trimmed, empty items left out; repeatable. What an item may be is the caller's to check. */
export function list(placeholder: string): Kind<readonly string[]> {
  return {
    placeholder,
    parse: (given) => good(splitList(given)),
    join: (earlier, later) => [...earlier, ...later],
  };
}

/** As `list`, each a canonical CIDR. */
export const cidrList: Kind<readonly string[]> = { ...list('CIDR,…'), parse: (given) => parseCIDRs(splitList(given)) };

/** As `list`, each a canonical IP address. */
export const ipList: Kind<readonly string[]> = {
  ...list('IP,…'),
  parse(given) {
    const parsed = splitList(given).map((item) => ip.parse(item));
    const faults = parsed.flatMap((each) => each.faults);
    return faults.length > 0 ? bad(...faults) : good(parsed.flatMap((each) => each.value ?? []));
  },
};

/** KEY=VALUE, repeatable; a later value of a key replaces an earlier one. */
export const keyValue: Kind<Readonly<Record<string, string>>> = {
  placeholder: 'KEY=VALUE',
  parse(given) {
    if (given === '') return good({});
    const at = given.indexOf('=');
    if (at < 1) return bad(`${quote(given)} is not of the form key=value; give for example format=json`);
    return good({ [given.slice(0, at).trim()]: given.slice(at + 1) });
  },
  join: (earlier, later) => ({ ...earlier, ...later }),
};

/** NAME=BOOL,… repeatable; a later value of a name replaces an earlier one. */
export const boolMap: Kind<Readonly<Record<string, boolean>>> = {
  placeholder: 'NAME=BOOL,…',
  parse(given) {
    const faults: string[] = [];
    const entries = splitList(given).map((item): [string, boolean] => {
      const at = item.indexOf('=');
      const { value } = bool.parse(item.slice(at + 1).trim());
      const isGood = at >= 1 && value !== undefined;
      if (!isGood) faults.push(`${quote(item)} is not of the form name=bool; give for example AllAlpha=false`);
      return [item.slice(0, at).trim(), value === true];
    });
    return faults.length > 0 ? bad(...faults) : good(Object.fromEntries(entries));
  },
  join: (earlier, later) => ({ ...earlier, ...later }),
};

/** PATTERN=LEVEL,… repeatable. */
export const vmodule: Kind<readonly VModuleItem[]> = {
  placeholder: 'PATTERN=LEVEL,…',
  parse(given) {
    const faults: string[] = [];
    const items = splitList(given).map((item): VModuleItem => {
      const [, filePattern = '', level = ''] = /^([^=]+)=(\d+)$/.exec(item) ?? [];
      if (filePattern === '')
        faults.push(`${quote(item)} is not of the form pattern=level; give for example proxier=4`);
      return { filePattern, verbosity: Number(level) };
    });
    return faults.length > 0 ? bad(...faults) : good(items);
  },
  join: (earlier, later) => [...earlier, ...later],
};

/** The canonical forms, or one fault for each item that is no CIDR. */
export function parseCIDRs(items: readonly string[]): ParsedValue<readonly string[]> {
  const cidrs: string[] = [];
  const faults: string[] = [];
  for (const item of items) {
    const parsed = parseCIDR(item);
    if (parsed) cidrs.push(parsed.cidr);
    else faults.push(`${quote(item)} is not a CIDR; give for example 10.244.0.0/16`);
  }
  return faults.length > 0 ? bad(...faults) : good(cidrs);
}

function splitList(given: string): readonly string[] {
  return given
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}
