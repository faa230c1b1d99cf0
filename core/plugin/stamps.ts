/**
 * Whether a plugin's files are still those that were read. A module is never read again in the same process, so that
 * who edits a plugin and then its options would go on with the old one unawares.
 */
import { realpathSync, statSync } from 'node:fs';

/** By the plugin's real path: its files, and what each looked like. */
const read = new Map<string, Map<string, string>>();

/** To be called before a file is read, so that an edit meanwhile is noticed too. The first call for a file counts. */
export function rememberFiles(plugin: string, files: readonly string[]): void {
  const stamps = read.get(plugin) ?? new Map<string, string>();
  read.set(plugin, stamps);
  for (const file of files) if (!stamps.has(file)) stamps.set(file, stampOf(file));
}

/** Those of its files that look different now; none of a plugin that was not read yet. Links are followed. */
export function changedSinceRead(path: string): readonly string[] {
  let plugin: string;
  try {
    plugin = realpathSync(path);
  } catch {
    // Not there: whoever loads it says so.
    return [];
  }
  return [...(read.get(plugin) ?? [])].filter(([file, stamp]) => stampOf(file) !== stamp).map(([file]) => file);
}

function stampOf(file: string): string {
  const stats = statSync(file, { throwIfNoEntry: false });
  return stats ? `${stats.mtimeMs} ${stats.size}` : 'gone';
}
