/**
 * Ends the process here and now. `process.exit` first waits for threads that are in a system call, and one may never
 * come back: from a name server that is silent, from a pipe that nobody writes.
 */
import { loadLibc } from '../netlink/libc.ts';
import { endLeashed } from './spawn.ts';

/** What is below process.exit, which calls listeners that may set another status. Taken before any plugin is loaded. */
const leave: (status: number) => never = Reflect.get(process, 'reallyExit').bind(process);

/** Programs that `Host.spawn` started are ended first. Nothing that listens for the end is told. */
export function endProcess(status: number): never {
  endLeashed();
  try {
    loadLibc().exit(status);
  } catch {
    // Without the library, Node.js's way has to do.
  }
  leave(status);
}
