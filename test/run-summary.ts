/** What one test file's run amounts to, read from what it printed. Pure. */
export interface FileRun {
  readonly output: string;
  /** Exit status; undefined if it was ended by a signal. */
  readonly status: number | undefined;
  readonly signal: string;
  readonly timedOut: boolean;
}

export interface Verdict {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** Why the file failed beyond its failed tests; "" if it did not. */
  readonly fault: string;
  /** The lines that say which tests were skipped and why. */
  readonly reasons: readonly string[];
}

/** uvu prints "Total: N", "Passed: N", "Skipped: N" once per batch of suites; test/skip.ts a line per skipped test. */
export function judge({ output, status, signal, timedOut }: FileRun): Verdict {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours begin with ESC
  const text = output.replace(/\u001b\[[0-9;]*m/g, '');
  const sum = (label: string) =>
    [...text.matchAll(new RegExp(`^  ${label}: +(\\d+)$`, 'gm'))].reduce((total, match) => total + Number(match[1]), 0);
  const passed = sum('Passed');
  const failedTests = sum('Total') - passed;
  const silent = sum('Skipped');
  const reasons = text.split('\n').filter((line) => line.startsWith('# skipped: '));
  const summarised = /^ {2}Total: +\d+$/m.test(text);
  const faultOf = () => {
    if (timedOut) return 'took too long and was killed';
    if (status === undefined) return `was ended by ${signal}`;
    if (status !== 0 && !summarised) return `crashed with status ${status} before its summary`;
    if (status !== 0 && failedTests === 0) return `ended with status ${status} though no test failed`;
    if (silent > 0) return `${silent} tests left out by .skip or .only: say why with skip() of test/skip.ts`;
    if (passed + failedTests + reasons.length === 0) return 'ran no test';
    return '';
  };
  const fault = faultOf();
  return { passed, failed: failedTests + (fault === '' ? 0 : 1), skipped: reasons.length + silent, fault, reasons };
}
