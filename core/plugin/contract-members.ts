/** The members that the contract knows, as values: those who look at what a plugin has look for these. */
import type { Abilities, Backend, BackendPlugin } from '../backend.ts';

/** One that is called, or anything else. */
export type Kind = 'function' | 'value';

export const PLUGIN_MEMBERS = {
  name: 'value',
  apiVersion: 'value',
  summary: 'value',
  version: 'value',
  leavesHostAlone: 'value',
  hidesSources: 'value',
  endsWithProcess: 'value',
  protocols: 'value',
  create: 'function',
  render: 'function',
} as const satisfies Readonly<Record<keyof BackendPlugin, Kind>>;

export const BACKEND_MEMBERS = {
  families: 'value',
  usesConntrack: 'value',
  sync: 'function',
  cleanup: 'function',
  close: 'function',
  check: 'function',
  health: 'function',
  initialize: 'function',
  dump: 'function',
  explain: 'function',
  answersAt: 'function',
} as const satisfies Readonly<Record<keyof (Backend & Abilities), Kind>>;
