/**
 * Kernel parameters under /proc/sys. They are compared before they are written: in a container /proc/sys is usually
 * read-only, and one privileged run (or the node's administrator) may have set them before.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import type { Sysctl } from '../backend.ts';

export function createSysctl(root = '/proc/sys'): Sysctl {
  const read = (name: string): string | undefined => {
    const path = pathOf(root, name);
    try {
      return readFileSync(path, 'utf8').replace(/\n+$/, '');
    } catch (error) {
      if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return undefined;
      throw fault(name, `cannot be read (${codeOf(error)})`, error);
    }
  };
  return {
    read,
    ensure(name, value) {
      const current = read(name);
      if (current === undefined) {
        throw fault(name, `does not exist, so it cannot be set to ${value}; is the kernel module that has it loaded?`);
      }
      if (sameValue(current, value)) return;
      try {
        writeFileSync(pathOf(root, name), value);
      } catch (error) {
        const remedy = `set it on the host: sysctl -w ${name}="${value}"`;
        throw fault(name, `is "${current}" and cannot be set to "${value}" (${codeOf(error)}); ${remedy}`, error);
      }
    },
  };
}

/** Parameters of several numbers are read with tabs between them and written with blanks. */
function sameValue(a: string, b: string): boolean {
  return a.trim().replace(/\s+/g, ' ') === b.trim().replace(/\s+/g, ' ');
}

function pathOf(root: string, name: string): string {
  const parts = name.split('/');
  if (parts.some((part) => part === '' || part === '.' || part === '..')) {
    throw fault(name, 'is not the name of a parameter; give for example net/ipv4/ip_forward');
  }
  return `${root}/${name}`;
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
}

function fault(name: string, what: string, cause?: unknown): Error {
  return Object.assign(new Error(`sysctl ${name} ${what}`, { cause }), { code: 'KP_SYSCTL' });
}
