/**
 * How the program and its agents are started when the sources run. In the packed program no such files exist, and it
 * names itself instead: nothing of this is called there.
 */
import { join } from 'node:path';

/** `kube-proxy`, its flags to follow. */
export function programFromSources(): readonly string[] {
  return [process.execPath, join(import.meta.dirname, '..', '..', 'core', 'main.ts')];
}

/** An agent of a world. */
export function agentFromSources(): readonly string[] {
  return [process.execPath, join(import.meta.dirname, 'agent-main.ts')];
}
