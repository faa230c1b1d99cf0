/**
 * A command that is done, in a process where a plugin may have left timers or sockets behind: they must not keep it
 * alive. Who reads its output slowly may.
 */
const GRACE_MS = 500;

/** With the exit status that is set by then. */
export function endWhenPrinted(): void {
  const timer = setTimeout(() => {
    if (process.stdout.writableLength > 0 || process.stderr.writableLength > 0) endWhenPrinted();
    else process.exit();
  }, GRACE_MS);
  timer.unref();
}
