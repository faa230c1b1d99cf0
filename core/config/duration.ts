/**
 * Durations as Go writes them ("30s", "1h0m0s", "100ms", "1.5h"), because that is how every Kubernetes component
 * takes them. Inside this project a duration is a number of milliseconds.
 */

const MILLISECONDS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3, // U+00B5, the micro sign
  μs: 1e-3, // U+03BC, the Greek letter
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

const WHOLE = /^[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/;
const PART = /(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g;
/** Go holds nanoseconds in 63 bits, some 292 years; more overflows there. */
const LONGEST_MS = 9.2e12;

/** Milliseconds, or undefined when the text is no duration. As in Go a bare number is none, except "0". */
export function parseDuration(text: string): number | undefined {
  if (/^[+-]?0$/.test(text)) return 0;
  if (!WHOLE.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(PART)) total += Number(amount) * MILLISECONDS[unit!]!;
  if (total > LONGEST_MS) return undefined;
  return text.startsWith('-') ? 0 - total : total;
}

/** The shortest text that reads well: 90000 is "1m30s", 1000 is "1s", 0 is "0s". */
export function formatDuration(milliseconds: number): string {
  if (milliseconds < 0) return `-${formatDuration(-milliseconds)}`;
  const small = subSecond(milliseconds);
  if (small) return small;
  const { hours, minutes, seconds } = parts(milliseconds);
  const text = `${hours ? `${hours}h` : ''}${minutes ? `${minutes}m` : ''}${seconds ? `${seconds}s` : ''}`;
  return text || '0s';
}

/** As Go's Duration.String(), which files of the API have: "1h0m0s", "15m0s", "1.5s", "0s". */
export function formatGoDuration(milliseconds: number): string {
  if (milliseconds < 0) return `-${formatGoDuration(-milliseconds)}`;
  const small = subSecond(milliseconds);
  if (small) return small;
  const { hours, minutes, seconds } = parts(milliseconds);
  return `${hours ? `${hours}h` : ''}${hours || minutes ? `${minutes}m` : ''}${seconds}s`;
}

/** Below a second, in the unit that needs no leading zero; "" otherwise. */
function subSecond(milliseconds: number): string {
  if (milliseconds <= 0 || milliseconds >= 1000) return '';
  if (milliseconds >= 1) return `${trim(milliseconds, 6)}ms`;
  const nanoseconds = Math.max(1, Math.round(milliseconds * 1e6));
  return nanoseconds >= 1000 ? `${trim(nanoseconds / 1000, 3)}µs` : `${nanoseconds}ns`;
}

function parts(milliseconds: number): { readonly hours: number; readonly minutes: number; readonly seconds: number } {
  // On nanoseconds, the resolution of Go: sums of decimal fractions are off in the last digits.
  const rounded = Number(trim(milliseconds, 6));
  return {
    hours: Math.floor(rounded / 3_600_000),
    minutes: Math.floor((rounded % 3_600_000) / 60_000),
    seconds: Number(trim((rounded % 60_000) / 1000, 9)),
  };
}

function trim(value: number, digits: number): string {
  return String(Number(value.toFixed(digits)));
}
