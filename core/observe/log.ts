/**
 * The log, in the two shapes that Kubernetes components have, so that what reads theirs reads ours:
 *
 *   text  I1123 07:10:53.123456    1234 sync] Synced family="IPv4" operations=12
 *         │└─date, local time        └pid └component
 *         └ I info, W warning, E error
 *   json  {"ts":1763881853123.456,"level":"info","component":"sync","msg":"Synced","v":0,"family":"IPv4"}
 *
 * Much of what is logged was written by others (object names, annotations, output of tools). One call makes one line
 * whatever it contains: control characters are escaped, so nobody can forge lines or send sequences to a terminal.
 */
import type { Logger, LogValues } from '../backend.ts';

export interface LogShape {
  /** -v. */
  readonly verbosity: number;
  readonly format: 'text' | 'json';
}

export interface Log extends Logger {
  /** The same log under another name. */
  child(component: string): Log;
  /** From now on, for the log that was created and every child of it. */
  reshape(shape: LogShape): void;
  shape(): LogShape;
}

export interface LogOptions extends LogShape {
  readonly component: string;
  readonly pid: number;
  /** Receives one line, with its line end. */
  readonly write: (line: string) => void;
  /** Milliseconds since the epoch; fractions are kept. */
  readonly now: () => number;
}

type Level = 'info' | 'warn' | 'error';

/** From this verbosity on, errors show their stack traces. */
export const STACK_VERBOSITY = 4;

export function createLog(options: LogOptions): Log {
  return logOf(options, { current: options });
}

function logOf(options: LogOptions, shape: { current: LogShape }): Log {
  const { component, pid, write, now } = options;
  const emit = (level: Level, v: number, message: string, values?: LogValues): void => {
    const { verbosity, format } = shape.current;
    const told = { message: messageText(message), values: valuesOf(values) };
    const line: Line = { component, pid, verbosity, level, v, ...told, time: now() };
    write(`${format === 'json' ? jsonLine(line) : textLine(line)}\n`);
  };
  return {
    error: (message, values) => emit('error', 0, message, values),
    warn: (message, values) => emit('warn', 0, message, values),
    info: (message, values) => emit('info', 0, message, values),
    verbose(level, message, values) {
      if (level <= shape.current.verbosity) emit('info', level, message, values);
    },
    enabled: (level) => level <= shape.current.verbosity,
    child: (name) => logOf({ ...options, component: name }, shape),
    reshape(next) {
      shape.current = next;
    },
    shape: () => shape.current,
  };
}

/** Plugins in plain JavaScript may hand over anything; a slip in a log call must not fail what it reports on. */
export function messageText(message: unknown): string {
  return typeof message === 'string' ? message : safeText(() => errorText(message));
}

/** Read once: a member that throws when it is read is told as such. */
export function valuesOf(values: unknown): LogValues {
  if (values === undefined) return {};
  if (typeof values !== 'object' || values === null || values instanceof Error) return { value: values };
  try {
    return Object.fromEntries(Object.entries(values));
  } catch (error) {
    return { value: safeText(() => `(cannot be shown: ${errorText(error)})`) };
  }
}

interface Line {
  readonly component: string;
  readonly pid: number;
  readonly verbosity: number;
  readonly level: Level;
  readonly v: number;
  readonly message: string;
  readonly values: LogValues;
  readonly time: number;
}

function textLine({ component, pid, verbosity, level, message, values, time }: Line): string {
  const letter = level[0]!.toUpperCase();
  const head = `${letter}${clockText(time)} ${String(pid).padStart(7)} ${plain(component)}] `;
  let line = head + escapeControls(message);
  for (const [key, value] of Object.entries(values)) {
    if (value !== undefined) line += ` ${plain(key)}=${valueText(value, verbosity)}`;
  }
  return line;
}

function jsonLine({ component, verbosity, level, v, message, values, time }: Line): string {
  const head = { ts: Math.round(time * 1000) / 1000, level, component, msg: message, v };
  const record: Record<string, unknown> = { ...head };
  for (const [key, value] of Object.entries(values)) {
    record[key in head ? `${key}_` : key] =
      value instanceof Error ? safeText(() => errorText(value, verbosity)) : value;
  }
  return escapeControls(encode(record));
}

/** "1123 07:10:53.123456": month and day, local time to the microsecond. */
function clockText(time: number): string {
  const date = new Date(time);
  const two = (number: number): string => String(number).padStart(2, '0');
  const micros = Math.floor((time - Math.floor(time / 1000) * 1000) * 1000);
  const day = two(date.getMonth() + 1) + two(date.getDate());
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return `${day} ${clock}.${String(micros).padStart(6, '0')}`;
}

function valueText(value: unknown, verbosity: number): string {
  if (value instanceof Error) return escapeControls(JSON.stringify(safeText(() => errorText(value, verbosity))));
  return escapeControls(encode(value));
}

/** What an error says, with its causes, nothing twice; its stack trace too when the log is that verbose. */
export function errorText(error: unknown, verbosity = 0): string {
  let text = '';
  for (const part of errorTexts(error, verbosity)) {
    if (text === '') text = part;
    else if (!text.includes(part)) text += `: ${part}`;
  }
  return text;
}

function errorTexts(error: unknown, verbosity: number): readonly string[] {
  if (!(error instanceof Error)) return [typeof error === 'string' ? error : encode(error)];
  const own = verbosity >= STACK_VERBOSITY && error.stack ? error.stack : error.message || error.name;
  const parts = error instanceof AggregateError ? error.errors : [];
  const causes = error.cause === undefined ? parts : [...parts, error.cause];
  return [own, ...causes.flatMap((cause) => errorTexts(cause, verbosity))];
}

/** Errors may be traps, too: `message` may be anything, and throw when it is read. */
function safeText(tell: () => string): string {
  try {
    return String(tell());
  } catch {
    return '(cannot be shown)';
  }
}

/** JSON of anything at all: a log line must not fail because of what it should report. */
function encode(value: unknown): string {
  const above: unknown[] = [];
  try {
    return (
      JSON.stringify(value, function (this: unknown, _key, inner: unknown) {
        if (typeof inner === 'bigint') return String(inner);
        if (typeof inner === 'function' || typeof inner === 'symbol') return String(inner);
        if (inner instanceof Error) return errorText(inner);
        if (inner instanceof Set) return [...inner];
        if (inner instanceof Map) return Object.fromEntries(inner);
        if (typeof inner !== 'object' || inner === null) return inner;
        while (above.length > 0 && above.at(-1) !== this) above.pop();
        if (above.includes(inner)) return '(circular)';
        above.push(inner);
        return inner;
      }) ?? String(value)
    );
  } catch (error) {
    return JSON.stringify(`(cannot be shown: ${error instanceof Error ? error.message : 'unknown fault'})`);
  }
}

/** C0, DEL, C1 and the Unicode line ends, as \n, \t or \uXXXX; both shapes may be inside JSON quotes already. */
export function escapeControls(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: finding control characters is what this is for
  return text.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]/g, (character) => {
    if (character === '\n') return '\\n';
    if (character === '\t') return '\\t';
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}

/** A key or component: what would end it early becomes "_". */
function plain(name: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: as above
  return name.replace(/[\x00-\x20\x7f-\x9f\u2028\u2029="\]]/g, '_');
}
