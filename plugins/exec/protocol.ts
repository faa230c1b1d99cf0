/**
 * The lines that go to a program and come from it. Pure; release/sdk/exec/README.md has them in a table.
 *
 *   → hello            ← ready | error
 *   → sync 1           ← done 1 | error 1        several may be open: answers name the id
 *   → cleanup 2        ← done 2 | error 2
 *                      ← log, resync, health     whenever the program likes
 *
 * The fields come in the order that is written here, so that a program without a JSON parser can go by the beginning
 * of a line.
 */
import type { Change, IPFamily } from '../../core/backend.ts';
import { FAMILIES } from './options.ts';

export const PROTOCOL_VERSION = 1;
/** A state is written in pieces of about so many characters: as one text, a very large one would stop everything else. */
const PIECE = 1 << 16;

export function helloLine(families: readonly IPFamily[], options: Readonly<Record<string, unknown>>): string {
  return `${JSON.stringify({ type: 'hello', apiVersion: PROTOCOL_VERSION, families, options })}\n`;
}

export function cleanupLine(id: number): string {
  return `${JSON.stringify({ type: 'cleanup', id })}\n`;
}

/** One line, in pieces. */
export function* syncLine(id: number, { family, full, node, upsert, remove }: Change): Generator<string> {
  const head = JSON.stringify({ family, full, node }).slice(0, -1);
  let piece = `{"type":"sync","id":${id},"change":${head},"upsert":[`;
  for (const [index, port] of upsert.entries()) {
    piece += `${index === 0 ? '' : ','}${JSON.stringify(port)}`;
    if (piece.length < PIECE) continue;
    yield piece;
    piece = '';
  }
  yield `${piece}],"remove":${JSON.stringify(remove)}}}\n`;
}

export interface Ready {
  readonly type: 'ready';
  /** Undefined: those that it was asked for. */
  readonly families: readonly IPFamily[] | undefined;
  /** It holds the state itself, and wants to be told changes only. */
  readonly changes: boolean;
}

export interface Done {
  readonly type: 'done';
  readonly id: number;
  readonly operations: number | undefined;
  readonly bytes: number | undefined;
  readonly totals: Readonly<Record<string, number>> | undefined;
}

/** Without an id it answers the hello. */
export interface Failed {
  readonly type: 'error';
  readonly id: number | undefined;
  readonly message: string;
}

export type Level = 'error' | 'warn' | 'info';

/** For the log of kube-proxy. */
export interface Log {
  readonly type: 'log';
  readonly level: Level;
  readonly message: string;
}

export type Answer =
  | Ready
  | Done
  | Failed
  | Log
  | { readonly type: 'resync'; readonly reason: string }
  | { readonly type: 'health'; readonly healthy: boolean; readonly reason: string };

export interface Refused {
  readonly type: 'refused';
  /** A sentence's end: "is no JSON object". */
  readonly why: string;
}

type Fields = Readonly<Record<string, unknown>>;

/** Fields that are not known are passed over, so that later versions may add some. */
const READERS: Readonly<Record<Answer['type'], (fields: Fields) => Answer>> = {
  ready({ apiVersion = PROTOCOL_VERSION, families, changes = false }) {
    if (apiVersion !== PROTOCOL_VERSION) refuse(`has apiVersion ${show(apiVersion)}; it must be ${PROTOCOL_VERSION}`);
    if (typeof changes !== 'boolean') refuse(`has changes ${show(changes)}; it must be true or false`);
    return { type: 'ready', families: familiesOf(families), changes };
  },
  done: (fields) => ({
    type: 'done',
    id: idOf(fields),
    operations: countOf(fields, 'operations'),
    bytes: countOf(fields, 'bytes'),
    totals: totalsOf(fields),
  }),
  error: (fields) => ({
    type: 'error',
    id: fields.id === undefined ? undefined : idOf(fields),
    message: textOf(fields, 'message'),
  }),
  log(fields) {
    const { level = 'info' } = fields;
    if (level !== 'error' && level !== 'warn' && level !== 'info') {
      refuse(`has level ${show(level)}; it must be error, warn or info`);
    }
    return { type: 'log', level, message: textOf(fields, 'message') };
  },
  resync: (fields) => ({ type: 'resync', reason: textOf(fields, 'reason') }),
  health(fields) {
    const { healthy } = fields;
    if (typeof healthy !== 'boolean') refuse(`has healthy ${show(healthy)}; it must be true or false`);
    return { type: 'health', healthy, reason: healthy ? '' : textOf(fields, 'reason') };
  },
};

export function readAnswer(line: string): Answer | Refused {
  let parsed: unknown;
  try {
    parsed = JSON.parse(line);
  } catch {
    return { type: 'refused', why: 'is no JSON' };
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    return { type: 'refused', why: 'is no JSON object' };
  }
  // A null is a field that is left out: many languages write it so.
  const fields: Fields = Object.fromEntries(Object.entries(parsed).filter(([, value]) => value !== null));
  const { type } = fields;
  try {
    if (!isType(type)) refuse(`has type ${show(type)}; it must be one of ${Object.keys(READERS).join(', ')}`);
    return READERS[type](fields);
  } catch (error) {
    return { type: 'refused', why: error instanceof Error ? error.message : String(error) };
  }
}

function isType(type: unknown): type is Answer['type'] {
  return typeof type === 'string' && Object.hasOwn(READERS, type);
}

function refuse(why: string): never {
  throw new TypeError(why);
}

function idOf({ id }: Fields): number {
  if (typeof id !== 'number' || !Number.isSafeInteger(id)) refuse(`has id ${show(id)}; it must be that of a request`);
  return id;
}

function familiesOf(families: unknown): readonly IPFamily[] | undefined {
  if (families === undefined) return undefined;
  if (!Array.isArray(families) || families.length === 0 || !families.every((one) => FAMILIES.includes(one))) {
    refuse(`has families ${show(families)}; it must be a list of IPv4 and IPv6`);
  }
  return FAMILIES.filter((family) => families.includes(family));
}

function textOf(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value !== 'string' || value === '') refuse(`has ${name} ${show(value)}; it must be a text`);
  return value;
}

function countOf(fields: Fields, name: string): number | undefined {
  const value = fields[name];
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || value < 0) refuse(`has ${name} ${show(value)}; it must be a number from 0 on`);
  return value;
}

function totalsOf({ totals }: Fields): Done['totals'] {
  if (totals === undefined) return undefined;
  if (typeof totals !== 'object' || totals === null || Array.isArray(totals)) {
    refuse(`has totals ${show(totals)}; it must be an object of numbers`);
  }
  const numbers = { ...totals } as Record<string, unknown>;
  for (const [name, value] of Object.entries(numbers)) {
    if (typeof value !== 'number') refuse(`has ${show(value)} as a total of ${show(name)}; it must be a number`);
  }
  return numbers as Record<string, number>;
}

function show(value: unknown): string {
  return (JSON.stringify(value) ?? 'missing').slice(0, 80);
}
