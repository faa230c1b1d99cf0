/** Figures of several sizes: as a table for readers, on standard error, and as lines of JSON, on standard output. */
import type { Figures } from './cost.ts';

export interface Row {
  readonly label: string;
  readonly unit: string;
  /** Its name among the figures. */
  readonly figure: string;
}

/** One line, a cell for each column; the head of the table has no label. */
export function printLine(label: string, cells: readonly string[], after = ''): void {
  console.error(`  ${label.padEnd(44)}${cells.map((cell) => cell.padStart(14)).join('')}${after}`);
}

/** `notReached`: what stands for NaN. */
export function figureText(value: number | undefined, notReached = '–'): string {
  if (value === undefined) return '–';
  if (Number.isNaN(value)) return notReached;
  if (Number.isInteger(value)) return value.toLocaleString('en');
  return value.toLocaleString('en', value < 10 ? { maximumSignificantDigits: 3 } : { maximumFractionDigits: 1 });
}

/** For machines: figures that were not reached are null. */
export function printJSON(about: Readonly<Record<string, string | number>>, figures: Figures): void {
  const rounded = Object.entries(figures).map(([name, value]) => [name, Number(value.toPrecision(4))]);
  console.log(JSON.stringify({ ...about, ...Object.fromEntries(rounded) }));
}
