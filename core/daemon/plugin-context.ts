/**
 * Whose code runs. Every call into a plugin is made in its context, and Node.js carries the context on into whatever
 * the call starts: timers, promises, sockets, child processes, event emitters made there. So an exception or a
 * rejection that nobody caught still says which plugin it comes from.
 *
 *   inPlugin(a, call) ──▶ plugin code ──▶ setTimeout, promises, … ──▶ escapes ──▶ culprit() === a
 *                              └──▶ Host ──outsidePlugins──▶ our timers, which are not the plugin's
 *
 * On Node.js 24 both 'unhandledRejection' and the handler of uncaught exceptions see the context; it costs about 0.2 µs
 * for each call. Seen without a context: listeners on emitters of others, above all on `process`.
 */
import { AsyncLocalStorage } from 'node:async_hooks';

/**
 * What may escape from a plugin outside its answers. `exception`, `rejection`: nobody caught it. `refused`: it wanted
 * what would harm the whole process, as process.exit().
 */
export type EscapeKind = 'exception' | 'rejection' | 'refused';
/** What is counted: `stall`: it kept everyone else from running. */
export type FaultKind = EscapeKind | 'stall';

export interface PluginContext {
  /** The plugin's name, or before it is loaded what the operator called it. */
  readonly name: string;
  /** Told of what escaped. Called outside all contexts; must not throw. */
  readonly escaped: (kind: EscapeKind, thrown: unknown) => void;
}

const storage = new AsyncLocalStorage<PluginContext>();

export function inPlugin<T>(context: PluginContext, call: () => T): T {
  return storage.run(context, call);
}

/** For what the core starts because a plugin called it: its timers would be taken for the plugin's. */
export function outsidePlugins<T>(call: () => T): T {
  return storage.exit(call);
}

/** The plugin whose code runs, or whose promise was rejected; undefined for our own. */
export function culprit(): PluginContext | undefined {
  return storage.getStore();
}

/** Tells the plugin's context what escaped from it. False if it was no plugin's. */
export function tellCulprit(kind: EscapeKind, thrown: unknown): boolean {
  const context = culprit();
  if (context) outsidePlugins(() => context.escaped(kind, thrown));
  return context !== undefined;
}
