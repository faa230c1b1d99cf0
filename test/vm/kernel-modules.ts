/** Which modules go into the image: those of some folders, and whatever they need, as depmod(8) wrote it down. Pure. */

/** "kernel/net/a.ko: kernel/lib/b.ko …" a line; the value lists all that must be there, not only the next. */
export function parseModulesDep(text: string): ReadonlyMap<string, readonly string[]> {
  const lines = text.split('\n').filter((line) => line !== '');
  return new Map(
    lines.map((line) => {
      const [path = '', needed = ''] = line.split(':');
      return [path, needed.split(' ').filter((each) => each !== '')] as const;
    }),
  );
}

/** `wanted`: a folder, which ends in "/", or a module without its ending; throws if nothing is called so. Sorted. */
export function selectModules(text: string, wanted: readonly string[]): readonly string[] {
  const needs = parseModulesDep(text);
  const selected = new Set<string>();
  const add = (path: string) => {
    if (selected.has(path)) return;
    selected.add(path);
    for (const each of needs.get(path) ?? []) add(each);
  };
  for (const each of wanted) {
    const fits = [...needs.keys()].filter((path) => path.startsWith(each.endsWith('/') ? each : `${each}.ko`));
    if (fits.length === 0) throw new Error(`the kernel has no module ${each}: see its /boot/config-*`);
    for (const path of fits) add(path);
  }
  return [...selected].sort();
}
