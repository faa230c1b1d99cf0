/** What the two ends of a thread tell each other; what is posted to the thread goes as it is. */

/** With what a thread begins. */
export interface ThreadStart {
  /** A file that has been looked at, without links, or a module of the program's own (see thread-code.ts). */
  readonly module: { readonly path: string } | { readonly builtIn: string };
  /** What errors call it. */
  readonly name: string;
  readonly data: unknown;
}

/**
 * From the thread. Descriptors that Node.js does not know of are closed by who sees the thread's end, since it may be
 * ended wherever it is. `closed` comes before it is closed: its number may be another file's right afterwards.
 */
export type FromThread =
  | { readonly kind: 'message'; readonly message: unknown }
  | { readonly kind: 'opened' | 'closed'; readonly descriptor: number }
  | { readonly kind: 'warning'; readonly name: string; readonly text: string };

export function threadFault(name: string, what: string, cause?: unknown): Error {
  return Object.assign(new Error(`thread ${name}: ${what}`, { cause }), { code: 'KP_THREAD' });
}

/** Throws KP_THREAD for what structuredClone refuses. */
export function postTo(port: { postMessage(message: unknown): void }, name: string, message: unknown): void {
  try {
    port.postMessage(message);
  } catch (error) {
    throw uncopied(name, 'a message', error);
  }
}

export function uncopied(name: string, what: string, error: unknown): Error {
  const why = error instanceof Error ? error.message : String(error);
  return threadFault(name, `${what} cannot be copied (${why}); give plain data`, error);
}
