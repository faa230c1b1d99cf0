/**
 * `kube-proxy cleanup`: every built-in backend removes what it ever made. One that fails does not keep the others
 * from their part, and the exit status tells.
 */
import { createHost } from '../node/host.ts';
import { errorText, type Log } from '../observe/log.ts';
import { BUILT_IN, loadBackend } from './backends.ts';
import type { Run } from './main.ts';
import { faultLines } from './report-fault.ts';

export async function cleanup(run: Run): Promise<number> {
  // The clock of a backend that waits for the kernel keeps no process alive, and here nothing else does.
  const alive = setInterval(() => {}, 60_000);
  try {
    return await cleanUpAll(run);
  } finally {
    clearInterval(alive);
  }
}

async function cleanUpAll({ settings, terminal, log }: Run): Promise<number> {
  let failures = 0;
  for (const entry of BUILT_IN) {
    const { name } = entry;
    const outcome = await cleanUp(entry, log);
    if (outcome.kind === 'clean') terminal.stdout(`${name}: cleaned up\n`);
    else if (outcome.kind === 'unsupported') {
      terminal.stdout(`${name}: cannot have left anything on this host: ${outcome.reason}\n`);
    } else {
      failures++;
      terminal.stderr(faultLines(outcome.error, `cleanup of ${name}`, settings.verbosity));
    }
  }
  return failures === 0 ? 0 : 1;
}

/**
 * Removes what the other backends left when one of them ran here before; only once the chosen one has programmed
 * everything, so that no connection falls between. Two sets of rules would both see each packet. Faults are logged.
 */
export async function cleanUpOthers(chosen: string, log: Log): Promise<void> {
  // One that changes nothing takes over from nobody, and one of a third party may be meant to work beside ours.
  const isOurs = BUILT_IN.some(({ name, leavesHostAlone }) => name === chosen && !leavesHostAlone);
  if (!isOurs) return;
  for (const entry of BUILT_IN) {
    if (entry.name === chosen || entry.leavesHostAlone) continue;
    const outcome = await cleanUp(entry, log);
    if (outcome.kind !== 'failed') continue;
    log.warn('What another backend left here could not be removed; run `kube-proxy cleanup`, then start again', {
      backend: entry.name,
      error: errorText(outcome.error),
    });
  }
}

type Outcome =
  | { readonly kind: 'clean' }
  | { readonly kind: 'unsupported'; readonly reason: string }
  | { readonly kind: 'failed'; readonly error: unknown };

async function cleanUp(entry: (typeof BUILT_IN)[number], log: Log): Promise<Outcome> {
  const host = createHost({
    log: log.child(entry.name),
    signal: new AbortController().signal,
    requestFullSync: () => {},
  });
  try {
    const plugin = await loadBackend(entry);
    const backend = await plugin.create(host, entry.cleanupOptions ?? {});
    try {
      await backend.cleanup();
    } finally {
      await backend.close();
    }
    return { kind: 'clean' };
  } catch (error) {
    return isUnsupported(error) ? { kind: 'unsupported', reason: errorText(error) } : { kind: 'failed', error };
  } finally {
    host.close();
  }
}

function isUnsupported(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'KP_BACKEND_UNSUPPORTED';
}
