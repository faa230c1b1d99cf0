/**
 * In place of core/netlink/load-koffi.ts where there are no packages: koffi's native library lies in the executable,
 * and is loaded from a file that never has a name.
 */
import { closeSync, constants, existsSync, openSync, writeSync } from 'node:fs';
import { dlopen } from 'node:process';
import { getRawAsset } from 'node:sea';
import { NetlinkError } from '../../core/netlink/errors.ts';
import type { Koffi } from '../../core/netlink/load-koffi.ts';

export type { Koffi } from '../../core/netlink/load-koffi.ts';

/** Of these some may be read-only, some mounted noexec; one is enough. */
const FOLDERS: readonly string[] = ['/run', '/tmp', '/var/tmp', '/dev/shm', '/var/lib'];
/** __O_TMPFILE | O_DIRECTORY (asm-generic/fcntl.h; the same on x86 and arm64 but for O_DIRECTORY, which Node knows). */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

export function loadKoffi(): Koffi {
  const library = new Uint8Array(getRawAsset('koffi.node'));
  const faults = new Map<string, string[]>();
  for (const folder of new Set([...FOLDERS, ...workingFolder()])) {
    try {
      return loadFrom(folder, library);
    } catch (error) {
      const message = error instanceof Error ? (error.message.split('\n', 1)[0] ?? '') : String(error);
      const reason = message.replace(/^\/proc\/self\/fd\/\d+: |, open .*$/g, '');
      faults.set(reason, [...(faults.get(reason) ?? []), folder]);
    }
  }
  const reasons = [...faults].map(([reason, folders]) => `${folders.join(', ')}: ${reason}`);
  throw new NetlinkError({
    code: 'KP_NETLINK_LIBRARY',
    operation: 'netlink open',
    text: `the library that speaks to the kernel can be loaded from no folder (${reasons.join('; ')})`,
    remedy: existsSync('/proc/self/fd')
      ? 'give one that is writable and not mounted noexec, for example a tmpfs on /run'
      : 'mount /proc, through which it is loaded',
  });
}

/** None if it was removed. */
function workingFolder(): readonly string[] {
  try {
    return [process.cwd()];
  } catch {
    return [];
  }
}

function loadFrom(folder: string, library: Uint8Array): Koffi {
  const descriptor = openSync(folder, O_TMPFILE | constants.O_RDWR, 0o700);
  try {
    for (let at = 0; at < library.length; ) at += writeSync(descriptor, library, at);
    const loaded = { exports: {} as Koffi };
    dlopen(loaded, `/proc/self/fd/${descriptor}`);
    return loaded.exports;
  } finally {
    closeSync(descriptor);
  }
}
