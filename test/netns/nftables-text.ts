/** What nft lists, with the differences between its versions taken out, so that listings can be compared. Pure. */

/** Lines, the elements of a set one by one and sorted. */
export function normalLines(text: string): string[] {
  const lines = text
    .replace(/\t# count \d+$/gm, '')
    .replace(/0x50 \[invalid type\]/g, '80')
    .replace(/hook output priority dstnat;/g, 'hook output priority -100;')
    .replace(/hook input priority srcnat;/g, 'hook input priority 100;')
    .split(/\n(?!\t\t\t +)/);
  return lines.flatMap((line) => {
    const [, list] = /elements = \{ (.*) \}$/s.exec(line) ?? [];
    return list === undefined ? line : list.split(/,\s+/).sort();
  });
}

/**
 * The sets and chains of one table, in any order: hooks come last when a table is made, and nft prints as the kernel
 * keeps them. Without owner and counters.
 */
export function normalTable(text: string): string[] {
  const bare = text
    .replace(/^\tflags (owner|persist|owner,persist)$\n/gm, '')
    .replace(/^(table .* \{).*$/gm, '$1')
    .replace(/counter packets \d+ bytes \d+/g, 'counter packets 0 bytes 0');
  return normalLines(bare)
    .join('\n')
    .split(/\n\n|\n(?=\t(?:map|set|chain) )/)
    .map((block) => block.trimEnd().replace(/\n\}$/, ''))
    .sort();
}
