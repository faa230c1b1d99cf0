/**
 * `kube-proxy cleanup`: every built-in backend removes what it ever made. One that fails does not keep the others
 * from their part, and the exit status tells.
 */
import type { Host } from '../backend.ts';
import { createHost } from '../node/host.ts';
import { errorText } from '../observe/log.ts';
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
    const host = createHost({
      log: log.child(entry.name),
      signal: new AbortController().signal,
      requestFullSync: () => {},
    });
    try {
      await cleanUp(entry, host);
      terminal.stdout(`${entry.name}: cleaned up\n`);
    } catch (error) {
      if (isUnsupported(error)) {
        terminal.stdout(`${entry.name}: cannot have left anything on this host: ${errorText(error)}\n`);
        continue;
      }
      failures++;
      terminal.stderr(faultLines(error, `cleanup of ${entry.name}`, settings.verbosity));
    }
  }
  return failures === 0 ? 0 : 1;
}

async function cleanUp(entry: (typeof BUILT_IN)[number], host: Host): Promise<void> {
  const plugin = await loadBackend(entry);
  const backend = await plugin.create(host, {});
  try {
    await backend.cleanup();
  } finally {
    await backend.close();
  }
}

function isUnsupported(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'KP_BACKEND_UNSUPPORTED';
}
