/** The kernel interfaces as a plugin gets them: each is opened when first asked for, once, and kept. */
import type { Netlink } from '../backend.ts';
import { type OpenIPSets, openIPSets } from './ipset.ts';

export interface OpenNetlink extends Netlink {
  /** Close what was opened. Asking again opens it again. */
  close(): void;
}

export function createNetlink(openSets: () => OpenIPSets = openIPSets): OpenNetlink {
  let sets: OpenIPSets | undefined;
  return {
    ipset() {
      sets ??= openSets();
      return sets;
    },
    close() {
      sets?.close();
      sets = undefined;
    },
  };
}
