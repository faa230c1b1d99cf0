/** How a fault reaches the operator: lines that begin with the program's name; stack traces only when asked for. */
import { errorText, escapeControls, STACK_VERBOSITY } from '../observe/log.ts';

/** `about` says what failed; "" when the error does by itself. */
export function faultLines(error: unknown, about: string, verbosity: number): string {
  const text = errorText(error, verbosity);
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const begin = `kube-proxy: ${about === '' ? '' : `${about}: `}`;
  // One fault may have several lines (two bad files); the lines of a stack trace belong together.
  const shown = lines.map((line, at) => (verbosity >= STACK_VERBOSITY && at > 0 ? line : begin + line.trim()));
  return shown.map((line) => `${escapeControls(line)}\n`).join('');
}
