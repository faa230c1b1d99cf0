/** What is set on the host once at start, and again when its configuration changes: conntrack's limits, our OOM score. */
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import type { Sysctl } from '../backend.ts';
import { DEFAULTS } from '../config/configuration.ts';
import type { Settings } from '../config/settings.ts';
import { applyConntrackSettings } from '../node/conntrack-sysctls.ts';
import { loadConntrack } from '../node/load-conntrack.ts';
import { applyOomScore } from '../node/oom-score.ts';
import { errorText, type Log } from '../observe/log.ts';

const files = {
  readFile: (path: string): string => readFileSync(path, 'utf8'),
  writeFile: (path: string, text: string): void => writeFileSync(path, text),
};

/**
 * Throws (KP_SYSCTL) if a limit or timeout that the configuration names cannot be set. What nobody asked for must not
 * keep a node from having Services: where the values are the defaults, a refusal is only told. Returns why the hash table
 * is smaller than it should be; "" if it is not.
 */
export function tuneConntrack(settings: Settings, sysctl: Sysctl, log: Log): string {
  try {
    const host = { sysctl, cpus: cpus().length, ...files, log, loadConntrack };
    const { changes, shortfall } = applyConntrackSettings(settings.conntrack, host);
    if (changes.length > 0) log.info('Set up conntrack', { changes });
    return shortfall;
  } catch (error) {
    if (!isDeepStrictEqual(settings.configuration.conntrack, DEFAULTS.conntrack)) throw error;
    log.warn("Conntrack keeps this host's limits and timeouts; the defaults cannot be set", {
      error: errorText(error),
    });
    return '';
  }
}

export function tuneOomScore(settings: Settings, log: Log): void {
  applyOomScore(settings.oomScoreAdj, { ...files, log });
}
