/** Values of --backend-option NAME=VALUE, which come as text, and of backendOptions in a configuration file, which do not. */

/** What is on or off may also be true or false. */
export function choiceOf<T extends string>(value: unknown, choices: readonly T[]): T | undefined {
  const text = typeof value === 'boolean' ? (value ? 'on' : 'off') : value;
  return choices.find((one) => one === text);
}

/** Undefined if it is no whole number, or out of bounds. */
export function wholeNumberOf(value: unknown, least: number, most: number): number | undefined {
  const number = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value;
  const isGood = typeof number === 'number' && Number.isInteger(number) && number >= least && number <= most;
  return isGood ? number : undefined;
}

/** Options as somebody wrote them, with what is wrong with them. */
export interface GivenOptions {
  /** `fallback` if it was not given. */
  value(name: string, fallback: unknown): unknown;
  /** Notes that the value is not what it should have been. */
  refuse(name: string, wanted: string): void;
  /** Throws one error that names every fault, if there is one. */
  finish(): void;
}

export function givenOptions(
  backend: string,
  raw: Readonly<Record<string, unknown>>,
  known: readonly string[],
): GivenOptions {
  const value = (name: string): unknown => (Object.hasOwn(raw, name) ? raw[name] : undefined);
  const faults: string[] = [];
  for (const name of Object.keys(raw)) {
    if (!known.includes(name)) faults.push(`${name}: unknown option; known are ${known.join(', ')}`);
  }
  return {
    value: (name, fallback) => (value(name) === undefined ? fallback : value(name)),
    refuse: (name, wanted) => void faults.push(`${name}: ${JSON.stringify(value(name))} is not ${wanted}`),
    finish() {
      if (faults.length === 0) return;
      throw Object.assign(new Error(`${backend} backend options: ${faults.join('; ')}`), { code: 'KP_BACKEND_OPTION' });
    },
  };
}
