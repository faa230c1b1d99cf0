/**
 * Ends the process here and now. `process.exit` first waits for threads that are in a system call, and one may never
 * come back: from a name server that is silent, from a pipe that nobody writes.
 */
import { loadLibc } from '../netlink/libc.ts';

export function endProcess(status: number): never {
  try {
    loadLibc().exit(status);
  } catch {
    // Without the library, Node.js's way has to do.
  }
  process.exit(status);
}
