/** A log that keeps what it is told. */
import type { Logger, LogValues } from '../../../core/backend.ts';

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly values: LogValues;
}

export interface FakeLog extends Logger {
  readonly lines: LogLine[];
  /** Lines of one level: error, warn, info, v2, … */
  at(level: string): LogLine[];
}

export function fakeLog(): FakeLog {
  const lines: LogLine[] = [];
  const keep =
    (level: string) =>
    (message: string, values: LogValues = {}): void => {
      lines.push({ level, message, values });
    };
  return {
    lines,
    at: (level) => lines.filter((line) => line.level === level),
    error: keep('error'),
    warn: keep('warn'),
    info: keep('info'),
    verbose: (level, message, values) => keep(`v${level}`)(message, values),
    enabled: () => true,
  };
}
