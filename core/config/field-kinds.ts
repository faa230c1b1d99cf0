/**
 * The kinds of value that a field of the configuration file can have: how one is read and how it is written. Types are
 * as strict as in Kubernetes (a quoted "14" is no number), but each fault says how the value is to be written.
 *
 *   Written ──kind.read──▶ value, or faults          value ──kind.write──▶ what YAML and JSON hold
 */
import type { VModuleItem } from './configuration.ts';
import { formatGoDuration, parseDuration } from './duration.ts';
import { isInt32 } from './kinds.ts';
import type { Written, WrittenScalar } from './written.ts';

export interface FieldKind<T> {
  /** Undefined when it has a fault. */
  read(written: Written, path: string, complain: Complain): T | undefined;
  write(value: T): unknown;
}

/** Something is wrong at a path and a line. */
export type Complain = (path: string, line: number, what: string) => void;

/** One word, number or text. `parse` gives undefined for what is none of the kind; `remedy` says what it should be. */
function scalar<T>(
  parse: (written: WrittenScalar) => T | undefined,
  remedy: (written: WrittenScalar) => string,
  write: (value: T) => unknown = (value) => value,
): FieldKind<T> {
  return {
    write,
    read(written, path, complain) {
      const given: WrittenScalar =
        written.kind === 'scalar' ? written : { ...written, kind: 'scalar', value: undefined, text: '', plain: true };
      const value = parse(given);
      if (value !== undefined) return value;
      const shown = written.kind === 'scalar' ? (given.plain ? given.text : JSON.stringify(given.text)) : written.kind;
      complain(path, written.line, `${written.kind === 'scalar' ? '' : 'a '}${shown} ${remedy(given)}`);
      return undefined;
    },
  };
}

export const string = scalar<string>(
  ({ value }) => (typeof value === 'string' ? value : undefined),
  ({ text }) =>
    `is not a text; write ${text === '' ? 'one, after the colon' : `it in quotes: ${JSON.stringify(text)}`}`,
);

/** Kubernetes reads YAML 1.1, where these words are booleans, too. */
const YES = ['y', 'yes', 'on'];
const NO = ['n', 'no', 'off'];

export const boolean = scalar<boolean>(
  ({ value, text, plain }) => {
    if (typeof value === 'boolean') return value;
    if (!plain || typeof value !== 'string') return undefined;
    const word = text.toLowerCase();
    return YES.includes(word) ? true : NO.includes(word) ? false : undefined;
  },
  () => 'is not true or false; write one of these words, without quotes',
);

/** Whole, of 32 bits. */
export const integer = scalar<number>(
  // A leading zero means octal in YAML 1.1 and nothing in 1.2: too likely to be meant otherwise than it is read.
  (written) => (isInt32(written.value) && !/^[-+]?0\d/.test(written.text) ? written.value : undefined),
  () => 'is not a whole number of at most 32 bits; write for example 14, without quotes',
);

export const number = scalar<number>(
  ({ value }) => (typeof value === 'number' && Number.isFinite(value) ? value : undefined),
  () => 'is not a number; write for example 5 or 0.5, without quotes',
);

/** Milliseconds. */
export const duration = scalar<number>(
  ({ value }) => (typeof value === 'string' ? parseDuration(value) : undefined),
  ({ value, text }) =>
    `is not a duration; write a number and its unit, for example ${typeof value === 'number' ? `${text}s` : '30s or 1m30s'}`,
  formatGoDuration,
);

/** Milliseconds; as a number it is nanoseconds, which is what kubeadm writes for `logging.flushFrequency`. */
export const durationOrNanoseconds: FieldKind<number> = {
  ...duration,
  read(written, path, complain) {
    const isNumber = written.kind === 'scalar' && typeof written.value === 'number';
    if (isNumber && Number.isSafeInteger(written.value)) return Number(written.value) / 1e6;
    return duration.read(written, path, complain);
  },
};

/** A Kubernetes quantity, "16Mi"; a bare number counts as one. */
export const quantity = scalar<string>(
  ({ value, text }) => (/^\d+(?:\.\d+)?(?:[kMGTPE]i?|m|e\d+)?$/.test(text) && value !== true ? text : undefined),
  () => 'is not a quantity; write for example "16Mi"',
);

/** Whatever JSON can say. What it means is for the backend to judge that gets it, and numbers must reach it unchanged. */
const anyValue: FieldKind<unknown> = {
  write: (value) => value,
  read(written, path, complain) {
    if (written.kind === 'list') {
      return complete(written.items.map((item, index) => anyValue.read(item, `${path}[${index}]`, complain)));
    }
    if (written.kind === 'map') return valueMap.read(written, path, complain);
    const { value, text, line } = written;
    if (typeof value !== 'number' || isExact(value, text)) return value;
    complain(path, line, `${text} cannot be held exactly as a number; write it in quotes`);
    return undefined;
  },
};

/** Whole numbers beyond 2^53 lose digits, and those that JSON cannot say are no numbers to most who read them. */
function isExact(value: number, text: string): boolean {
  return Number.isFinite(value) && (Number.isSafeInteger(value) || !/^[-+]?\d+$/.test(text));
}

export const stringList: FieldKind<readonly string[]> = {
  write: (value) => value,
  read(written, path, complain) {
    if (written.kind === 'list') {
      return complete(written.items.map((item, index) => string.read(item, `${path}[${index}]`, complain)));
    }
    complain(path, written.line, 'is not a list; write one text for each line, after "- "');
    return undefined;
  },
};

export const booleanMap = mapOf(boolean, 'AllowServiceExternalIPs: false');
export const valueMap = mapOf(anyValue, 'format: json');

function mapOf<T>(kind: FieldKind<T>, example: string): FieldKind<Readonly<Record<string, T>>> {
  return {
    write: (value) => value,
    read(written, path, complain) {
      if (written.kind !== 'map') {
        complain(path, written.line, `is not a map of names to values; write below it for example ${example}`);
        return undefined;
      }
      const values = complete(
        written.entries.map((entry) => kind.read(entry.value, `${path}.${entry.name}`, complain)),
      );
      return values && Object.fromEntries(written.entries.map(({ name }, index) => [name, values[index]!]));
    },
  };
}

export const vmodule: FieldKind<readonly VModuleItem[]> = {
  write: (value) => value,
  read(written, path, complain) {
    if (written.kind !== 'list') {
      complain(path, written.line, 'is not a list; write items of filePattern and verbosity');
      return undefined;
    }
    return complete(
      written.items.map((item, index) => {
        const at = `${path}[${index}]`;
        const part = (name: string): Written | undefined =>
          item.kind === 'map' ? item.entries.findLast((entry) => entry.name === name)?.value : undefined;
        const [pattern, level] = [part('filePattern'), part('verbosity')];
        const filePattern = pattern && string.read(pattern, `${at}.filePattern`, complain);
        const verbosity = level && integer.read(level, `${at}.verbosity`, complain);
        if (!pattern || !level) complain(at, item.line, 'needs filePattern and verbosity');
        return filePattern === undefined || verbosity === undefined ? undefined : { filePattern, verbosity };
      }),
    );
  },
};

/** The values, if none is missing. */
function complete<T>(values: readonly (T | undefined)[]): readonly T[] | undefined {
  const there = values.filter((value) => value !== undefined);
  return there.length === values.length ? there : undefined;
}
