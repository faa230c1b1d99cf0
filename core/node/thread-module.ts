/**
 * Which code a thread is to run, and whether it may: what is run as root must not be anybody's to change. Looked at when
 * the thread is started; what the module imports is looked at in the thread.
 */
import { isAbsolute } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ThreadModule } from '../backend.ts';
import { trustedPath } from '../plugin/guard.ts';
import { isBuiltIn } from './thread-code.ts';
import { type ThreadStart, threadFault } from './thread-messages.ts';

const GIVE = 'give its absolute path, or its URL (new URL(…, import.meta.url))';

/** Throws KP_THREAD for what names no file, else as a plugin's file is refused. */
export function threadModule(module: ThreadModule): Pick<ThreadStart, 'module' | 'name'> {
  const url = module instanceof URL ? module : URL.parse(module);
  if (url !== null && isBuiltIn(url)) return { module: { builtIn: url.href }, name: url.pathname };
  const path = url === null ? String(module) : pathOf(url);
  if (!isAbsolute(path)) throw threadFault(path, `is no absolute path; ${GIVE}`);
  return { module: { path: trustedPath(path) }, name: path };
}

function pathOf(url: URL): string {
  try {
    return fileURLToPath(url);
  } catch (error) {
    throw threadFault(url.href, `is no file; ${GIVE}`, error);
  }
}
