/** Text for the demo's reader: columns that line up, lines of at most 100 characters, colours only for a terminal. */

export const WIDTH = 100;

export type Tone = 'plain' | 'bold' | 'dim' | 'good' | 'bad';
/** A cell, or a cell with its colour. */
export type Cell = string | { readonly text: string; readonly tone: Tone };

const CODES: Readonly<Record<Exclude<Tone, 'plain'>, string>> = { bold: '1', dim: '2', good: '32', bad: '31;1' };

/** Colours a text, or leaves it as it is. */
export type Paint = (text: string, tone: Tone) => string;

export function painter(colours: boolean): Paint {
  return (text, tone) => (colours && tone !== 'plain' ? `\x1b[${CODES[tone]}m${text}\x1b[0m` : text);
}

/** Widths that a set of rows needs, to line up several tables alike. */
export function columnWidths(rows: readonly (readonly Cell[])[]): readonly number[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, textOf(cell).length);
  }
  return widths;
}

export function tableRow(row: readonly Cell[], widths: readonly number[], paint: Paint): string {
  let line = '';
  let pending = 0;
  for (const [column, cell] of row.entries()) {
    const text = textOf(cell);
    // Blanks are written only when something follows them.
    if (text !== '') line += ' '.repeat(pending) + paint(text, typeof cell === 'string' ? 'plain' : cell.tone);
    pending = (text === '' ? pending : 0) + Math.max(0, (widths[column] ?? 0) - text.length) + 2;
  }
  return line;
}

/**
 * Breaks at blanks, or inside a word that is too long by itself, so that no line is longer than `width`; what follows
 * the first line gets `indent` blanks before it. `mark` ends every line but the last (" \" in a shell).
 */
export function wrap(text: string, { indent = 0, width = WIDTH, mark = '' } = {}): readonly string[] {
  const lines: string[] = [];
  const room = width - indent - mark.length;
  const words = text.trim().split(/ +/);
  let line = /^ */.exec(text)![0] + words[0]!.slice(0, room);
  const pieces = [words[0]!.slice(room), ...words.slice(1)].flatMap((word) => inPieces(word, room));
  for (const piece of pieces) {
    if (`${line} ${piece}${mark}`.length <= width) line += ` ${piece}`;
    else {
      lines.push(line + mark);
      line = ' '.repeat(indent) + piece;
    }
  }
  return [...lines, line];
}

function inPieces(word: string, length: number): readonly string[] {
  const pieces: string[] = [];
  for (let at = 0; at < word.length; at += length) pieces.push(word.slice(at, at + length));
  return pieces;
}

function textOf(cell: Cell): string {
  return typeof cell === 'string' ? cell : cell.text;
}
