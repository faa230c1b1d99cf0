/**
 * Bytes of JSON as they arrive → single objects, so that no list is ever in memory as a whole.
 *
 *   watch:  {"type":"ADDED",…}\n{"type":"MODIFIED",…}\n            one call per document
 *   list:   {"kind":"ServiceList","items":[{…},{…}],"metadata":{…}} one call per item; the rest is the list's "frame"
 *
 * The scanner looks at bytes only to find where a value ends: quotes, backslashes and brackets. All of these are
 * ASCII, which no byte of a multi-byte UTF-8 character is, so chunks may be cut anywhere. Whether a value is JSON is
 * for JSON.parse to say, which sees each one alone.
 */

export interface JSONStream {
  /** Calls back for each value that is complete now. Throws MalformedJSON; nothing may be pushed after that. */
  push(chunk: Uint8Array): void;
  /** The bytes are at their end. Throws MalformedJSON if that is in the middle of something. */
  end(): void;
}

/** What is read is not the JSON that was expected, or not all of it. */
export class MalformedJSON extends Error {}

/** Far above what the API server stores as one object (etcd takes 1.5 MiB), and little enough to hold twice. */
export const MAX_OBJECT_BYTES = 16 * 1024 * 1024;

const LINE_FEED = 0x0a;
const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** Objects one after the other, with or without white space between them. */
export function jsonDocuments(onDocument: (document: unknown) => void, maxBytes = MAX_OBJECT_BYTES): JSONStream {
  const value = createValueReader(maxBytes);
  let lineBegins = false;

  /**
   * An object that lost its end would swallow those after it, for as long as the stream lasts. Each begins a line, and
   * no line inside of one begins with a brace: indented JSON begins with spaces, and strings hold no line feeds.
   */
  function isSwallowed(bytes: Buffer, from: number): boolean {
    if (lineBegins && bytes[from] === OPEN_BRACE) return true;
    for (let at = bytes.indexOf(LINE_FEED, from); at !== -1; at = bytes.indexOf(LINE_FEED, at + 1)) {
      if (bytes[at + 1] === OPEN_BRACE) return true;
    }
    return false;
  }

  return {
    push(chunk) {
      const bytes = asBuffer(chunk);
      let at = 0;
      while (at < bytes.length) {
        if (!value.isOpen()) {
          const byte = bytes[at] as number;
          if (isSpace(byte)) {
            at++;
            continue;
          }
          if (byte !== OPEN_BRACE) throw unexpected(bytes, at, 'an object');
          lineBegins = false;
        }
        const from = at;
        at = value.read(bytes, from, onDocument);
        if (!value.isOpen()) continue;
        if (isSwallowed(bytes, from)) throw new MalformedJSON('an object begins inside of another');
        lineBegins = bytes[at - 1] === LINE_FEED;
      }
    },
    end() {
      if (value.isOpen()) throw new MalformedJSON('the stream ended in the middle of an object');
    },
  };
}

/** What a list says besides its items: kind, apiVersion, metadata; `items` is empty, or null as the server sent it. */
export type ListFrame = Readonly<Record<string, unknown>>;

export interface ListStream extends JSONStream {
  /** After end(). */
  frame(): ListFrame;
}

/** One object whose "items" are handed on one by one; they may stand anywhere in it. */
export function jsonList(onItem: (item: unknown) => void, maxBytes = MAX_OBJECT_BYTES): ListStream {
  const value = createValueReader(maxBytes);
  const frame = createFrame();
  let place: 'frame' | 'first item or end' | 'item' | 'comma or end' = 'frame';
  let parsed: ListFrame | undefined;

  /** Read on from `at` outside of items; returns where the items begin, or the chunk's end. */
  function readFrame(bytes: Buffer, at: number): number {
    for (let i = at; i < bytes.length; i++) {
      if (frame.take(bytes[i] as number) === 'items begin') {
        place = 'first item or end';
        return i + 1;
      }
    }
    return bytes.length;
  }

  return {
    push(chunk) {
      const bytes = asBuffer(chunk);
      let at = 0;
      while (at < bytes.length) {
        if (place === 'frame') {
          at = readFrame(bytes, at);
          continue;
        }
        if (!value.isOpen()) {
          const byte = bytes[at] as number;
          if (isSpace(byte)) {
            at++;
            continue;
          }
          if (byte === CLOSE_BRACKET && place !== 'item') {
            frame.take(byte);
            place = 'frame';
            at++;
            continue;
          }
          if (place === 'comma or end') {
            if (byte !== COMMA) throw unexpected(bytes, at, 'a comma');
            place = 'item';
            at++;
            continue;
          }
          if (byte !== OPEN_BRACE) throw unexpected(bytes, at, 'an object');
        }
        at = value.read(bytes, at, onItem);
        place = value.isOpen() ? 'item' : 'comma or end';
      }
    },
    end() {
      if (place !== 'frame' || !frame.isComplete()) throw new MalformedJSON('the list ended before its end');
      const whole = parse(frame.text());
      if (typeof whole !== 'object' || whole === null || !('items' in whole)) {
        throw new MalformedJSON('the answer is not a list: it has no items');
      }
      if (whole.items !== null && !(Array.isArray(whole.items) && whole.items.length === 0)) {
        throw new MalformedJSON('the answer is not a list: its items are not a list');
      }
      parsed = whole as ListFrame;
    },
    frame() {
      if (parsed === undefined) throw new MalformedJSON('the list has not been read to its end');
      return parsed;
    },
  };
}

interface ValueReader {
  /** In the middle of an object. */
  isOpen(): boolean;
  /** Read an object that is open or begins at `at`; returns the place behind its end, or the chunk's end. */
  read(bytes: Buffer, at: number, onValue: (value: unknown) => void): number;
}

/** Collects the bytes of one object over chunks and parses it. Copies only what a chunk's end cuts in two. */
function createValueReader(maxBytes: number): ValueReader {
  let parts: Buffer[] = [];
  let held = 0;
  let depth = 0;
  let inString = false;
  let escaped = false;

  /** The place behind the value's last byte, or -1 if it goes on in the next chunk. The hot loop of every decode. */
  function findEnd(bytes: Buffer, from: number): number {
    const { length } = bytes;
    let at = from;
    let level = depth;
    if (escaped && at < length) {
      at++;
      escaped = false;
    }
    let quoted = inString;
    while (at < length) {
      if (quoted) {
        const byte = bytes[at++];
        if (byte === QUOTE) quoted = false;
        else if (byte === BACKSLASH) {
          if (at === length) escaped = true;
          at++;
        }
        continue;
      }
      const byte = bytes[at++];
      if (byte === QUOTE) quoted = true;
      else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) level++;
      else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
        if (--level === 0) {
          depth = 0;
          inString = false;
          return at;
        }
      }
    }
    depth = level;
    inString = quoted;
    return -1;
  }

  return {
    isOpen: () => depth > 0,
    read(bytes, at, onValue) {
      const found = findEnd(bytes, at);
      const end = found === -1 ? bytes.length : found;
      held += end - at;
      if (held > maxBytes) throw new MalformedJSON(`one object is larger than ${maxBytes} bytes`);
      const part = at === 0 && end === bytes.length ? bytes : bytes.subarray(at, end);
      if (found === -1) {
        parts.push(part);
        return end;
      }
      const text = parts.length === 0 ? part.toString() : Buffer.concat([...parts, part], held).toString();
      parts = [];
      held = 0;
      onValue(parse(text));
      return end;
    },
  };
}

interface Frame {
  take(byte: number): 'items begin' | undefined;
  isComplete(): boolean;
  text(): string;
}

/** More than any list says besides its items; what has more is no list. */
const MAX_FRAME_BYTES = 1024 * 1024;

/** Keeps what of a list is not items, byte by byte, and finds the bracket behind the key "items" of the outermost object. */
function createFrame(): Frame {
  const bytes: number[] = [];
  let depth = 0;
  let inString = false;
  let escaped = false;
  let stringBegin = 0;
  /** The string that ended last at the outermost level: before an opening bracket there, it is the key. */
  let lastString = '';
  let complete = false;

  return {
    take(byte) {
      if (complete) {
        if (isSpace(byte)) return undefined;
        throw new MalformedJSON('something follows the end of the list');
      }
      if (bytes.length === 0) {
        if (isSpace(byte)) return undefined;
        if (byte !== OPEN_BRACE) throw new MalformedJSON(`the answer begins with ${show(byte)}, not with an object`);
      }
      if (bytes.length === MAX_FRAME_BYTES) throw new MalformedJSON('the answer has no items in its first megabyte');
      bytes.push(byte);
      if (inString) {
        if (escaped) escaped = false;
        else if (byte === BACKSLASH) escaped = true;
        else if (byte === QUOTE) {
          inString = false;
          if (depth === 1) lastString = Buffer.from(bytes.slice(stringBegin, -1)).toString();
        }
        return undefined;
      }
      switch (byte) {
        case QUOTE:
          inString = true;
          stringBegin = bytes.length;
          break;
        case OPEN_BRACE:
        case OPEN_BRACKET: {
          const begins = byte === OPEN_BRACKET && depth === 1 && lastString === 'items';
          depth++;
          return begins ? 'items begin' : undefined;
        }
        case CLOSE_BRACE:
        case CLOSE_BRACKET:
          depth--;
          complete = depth === 0;
          break;
      }
      return undefined;
    },
    isComplete: () => complete,
    text: () => Buffer.from(bytes).toString(),
  };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    // V8's message quotes a piece of the text, which may be anything: only its kind is of use here.
    throw new MalformedJSON(`an object is not JSON (${text.length} characters)`, { cause: error });
  }
}

function asBuffer(chunk: Uint8Array): Buffer {
  return Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function unexpected(bytes: Buffer, at: number, wanted: string): MalformedJSON {
  return new MalformedJSON(`${show(bytes[at] as number)} stands where ${wanted} should begin`);
}

function show(byte: number): string {
  return byte > 0x20 && byte < 0x7f ? JSON.stringify(String.fromCharCode(byte)) : `byte ${byte}`;
}
