/**
 * When memory runs out, the kernel kills what scores highest. A node without its proxy loses its Services one by one,
 * so that the score is lowered at start. Lowering takes CAP_SYS_RESOURCE; without it, things stay as they are.
 */
import type { Logger } from '../backend.ts';

const FILE = '/proc/self/oom_score_adj';

export interface OomScoreHost {
  /** Whole files; they throw as node:fs does. */
  readonly readFile: (path: string) => string;
  readonly writeFile: (path: string, text: string) => void;
  readonly log: Logger;
}

/** `adjustment`: -1000 (never killed) to 1000. Failing is told and changes nothing. */
export function applyOomScore(adjustment: number, { readFile, writeFile, log }: OomScoreHost): void {
  try {
    // Whoever started us may have set it, and we may not be allowed to write what is right already.
    if (Number.parseInt(readFile(FILE), 10) === adjustment) return;
    writeFile(FILE, String(adjustment));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const remedy = 'grant CAP_SYS_RESOURCE, or choose a score with --oom-score-adj';
    log.info('The score for the out-of-memory killer stays as it is', { wanted: adjustment, reason, remedy });
  }
}
