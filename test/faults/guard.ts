/** What no fault of a server may do to this process: end it, throw where nobody catches, or make the runtime warn. */

const problems: string[] = [];
const describe = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : String(error));

process.on('unhandledRejection', (error) => problems.push(`unhandled rejection: ${describe(error)}`));
process.on('uncaughtException', (error) => problems.push(`uncaught exception: ${describe(error)}`));
// MaxListenersExceededWarning among them.
process.on('warning', (warning) => problems.push(`warning: ${describe(warning)}`));

/** Run with `process.exit` out of order; calls of it count as problems. */
export async function guarded<T>(run: () => Promise<T>): Promise<T> {
  const { exit } = process;
  process.exit = ((code) => {
    problems.push(`process.exit(${code ?? ''}) was called: ${describe(new Error('here'))}`);
  }) as typeof process.exit;
  try {
    return await run();
  } finally {
    process.exit = exit;
  }
}

/** Those since the last call. */
export function takeProblems(): readonly string[] {
  return problems.splice(0);
}
