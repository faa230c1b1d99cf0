/** The shared libraries that programs of an unpacked folder need, found without running any of them. */
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { readElf } from '../release/elf.ts';

/** Not lib64: its links are absolute and would lead to the host's. */
const FOLDERS = ['lib/x86_64-linux-gnu', 'usr/lib/x86_64-linux-gnu'];

/** Name of the library → its file below `root`. Throws when one is nowhere. */
export function neededLibraries(root: string, programs: readonly string[]): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  const visit = (file: string) => {
    const elf = readElf(file);
    if (elf === undefined) return;
    for (const name of [...elf.needed, ...(elf.interpreter === '' ? [] : [basename(elf.interpreter)])]) {
      if (found.has(name)) continue;
      const library = FOLDERS.map((folder) => join(root, folder, name)).find((path) => existsSync(path));
      if (library === undefined) throw new Error(`${file} needs ${name}, which none of the image's packages has`);
      found.set(name, library);
      visit(library);
    }
  };
  for (const program of programs) visit(program);
  return found;
}
