/**
 * Where koffi comes from: its package, when running from sources. The packed executable has no packages, so its build
 * replaces this one file by another that gets the native library out of the executable.
 */
import { createRequire } from 'node:module';
import { NetlinkError } from './errors.ts';

/** As much of koffi as we use; its native library alone has all of this. */
export interface Koffi {
  load(path: string | null): { func<F extends (...args: never[]) => number>(prototype: string): F };
  errno(): number;
}

export function loadKoffi(): Koffi {
  try {
    return createRequire(import.meta.url)('koffi') as Koffi;
  } catch (error) {
    throw new NetlinkError({
      code: 'KP_NETLINK_LIBRARY',
      operation: 'netlink open',
      text: `koffi cannot be loaded on ${process.platform}-${process.arch}: ${firstLine(error)}`,
      remedy: 'install the optional package @koromix/koffi-linux-x64 or -arm64 that belongs to it',
    });
  }
}

function firstLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.split('\n', 1)[0] ?? '';
}
