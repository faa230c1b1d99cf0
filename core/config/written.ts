/**
 * The text of a configuration file → a tree of its values as they are written: with the line of each, with what was
 * written twice, and with quotes told from none, all of which plain objects have lost. Nothing is known here of what
 * the fields mean.
 *
 *   YAML or JSON ──yaml──▶ nodes ──▶ Written     (anchors resolved; merge keys are not read)
 */
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, parseAllDocuments, type Scalar } from 'yaml';

export type Written = WrittenScalar | WrittenList | WrittenMap;

export interface WrittenScalar {
  readonly kind: 'scalar';
  readonly line: number;
  /** By YAML 1.2: a string, a number, a boolean or null. */
  readonly value: unknown;
  /** As in the file, without quotes. */
  readonly text: string;
  /** Without quotes. */
  readonly plain: boolean;
}

export interface WrittenList {
  readonly kind: 'list';
  readonly line: number;
  readonly items: readonly Written[];
}

export interface WrittenMap {
  readonly kind: 'map';
  readonly line: number;
  /** In the order of the file; a name may be there twice. */
  readonly entries: readonly WrittenEntry[];
}

export interface WrittenEntry {
  readonly name: string;
  readonly line: number;
  readonly value: Written;
}

export interface TextFault {
  /** 0 when it concerns the whole text. */
  readonly line: number;
  readonly what: string;
}

/** A configuration has some 70 fields; aliases can unfold a few lines to gigabytes. */
const MOST_VALUES = 10_000;
const DEEPEST = 32;

/** The one document of the text, or all that is wrong with it. `line` of the root counts from 1, as all lines do. */
export function readWritten(text: string): Written | readonly TextFault[] {
  const lines = new LineCounter();
  // Names written twice are the caller's to report: the reference warns of them.
  const documents = parseAllDocuments(jsonWithoutTabs(text), {
    lineCounter: lines,
    prettyErrors: false,
    uniqueKeys: false,
  });
  const lineAt = (position: number): number => lines.linePos(position).line;
  const faults = [...documents].flatMap((document) =>
    document.errors.map((error): TextFault => {
      const { line, col } = lines.linePos(error.pos[0]);
      return { line, what: `is neither YAML nor JSON at column ${col}: ${error.message}` };
    }),
  );
  // One slip often breaks several rules of YAML at once.
  if (faults.length > 0)
    return faults.filter(({ line }, index) => faults.findIndex((other) => other.line === line) === index);
  const filled = [...documents].filter(({ contents }) => contents !== null && !isNothing(contents));
  const [first, second] = filled;
  if (!first) return [{ line: 0, what: 'is empty; it must hold a KubeProxyConfiguration' }];
  if (second) {
    const line = lineAt(second.contents?.range?.[0] ?? 0);
    return [{ line, what: `holds ${filled.length} documents; keep one, a KubeProxyConfiguration` }];
  }
  return convert(first, lineAt);
}

function isNothing(node: unknown): boolean {
  return isScalar(node) && node.value === null && (node.source ?? '') === '';
}

function convert(document: Document.Parsed, lineAt: (position: number) => number): Written | readonly TextFault[] {
  let count = 0;
  let tooMuch = false;
  const faults: TextFault[] = [];
  const nothing = (line: number): WrittenScalar => ({ kind: 'scalar', line, value: null, text: '', plain: true });

  function visit(node: unknown, line: number, depth: number): Written {
    tooMuch ||= ++count > MOST_VALUES || depth > DEEPEST;
    if (tooMuch) return nothing(line);
    if (isAlias(node)) {
      const target = node.resolve(document);
      if (!target) faults.push({ line, what: `*${node.source} is nowhere defined; write the value out` });
      return visit(target, line, depth + 1);
    }
    if (isMap(node)) {
      const entries = node.items.map(({ key, value }): WrittenEntry => {
        const at = positionOf(key) === undefined ? line : lineAt(positionOf(key)!);
        const name = isScalar(key) ? textOf(key) : String(key);
        if (name === '<<' && isScalar(key) && key.type === 'PLAIN') {
          faults.push({ line: at, what: 'merge keys (<<) are not read; write the fields out' });
        }
        return { name, line: at, value: value === null ? nothing(at) : visit(value, at, depth + 1) };
      });
      return { kind: 'map', line, entries };
    }
    if (isSeq(node)) {
      const items = node.items.map((item) => {
        const position = positionOf(item);
        return visit(item, position === undefined ? line : lineAt(position), depth + 1);
      });
      return { kind: 'list', line, items };
    }
    if (isScalar(node)) {
      return { kind: 'scalar', line, value: node.value, text: textOf(node), plain: node.type === 'PLAIN' };
    }
    return nothing(line);
  }

  const root = visit(document.contents, lineAt(document.contents?.range?.[0] ?? 0), 0);
  if (tooMuch) {
    return [{ line: 0, what: `holds more than ${MOST_VALUES} values, or refers to itself; write its fields out` }];
  }
  return faults.length > 0 ? faults : root;
}

function textOf(scalar: Scalar): string {
  return scalar.source ?? String(scalar.value);
}

function positionOf(node: unknown): number | undefined {
  return isScalar(node) || isMap(node) || isSeq(node) || isAlias(node) ? node.range?.[0] : undefined;
}

/** JSON may be indented with tabs and YAML may not. In JSON a tab is never inside a text, so that none changes. */
function jsonWithoutTabs(text: string): string {
  return /^\s*\{/.test(text) ? text.replaceAll('\t', ' ') : text;
}
