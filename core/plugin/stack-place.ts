/** Where in certain files something was thrown, as its stack tells. Pure. */
import { fileURLToPath } from 'node:url';

export interface StackPlace {
  readonly path: string;
  readonly line: string;
}

/** The innermost frame in a file that counts; undefined if there is none. Frames of ES modules have URLs. */
export function placeInStack(stack: string, counts: (path: string) => boolean): StackPlace | undefined {
  for (const frame of stack.split('\n')) {
    const [, url, line] = /(file:\/\/\/[^\s()]+?|\/[^\s()]*?):(\d+)(?::\d+)?\)?$/.exec(frame) ?? [];
    if (url === undefined || line === undefined) continue;
    const path = url.startsWith('file:') ? fileURLToPath(url.replace(/[?#].*$/, '')) : url;
    if (counts(path)) return { path, line };
  }
  return undefined;
}
