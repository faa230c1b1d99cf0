/**
 * What belongs to the whole process is not for a plugin, nor for a library it uses: ending it, changing its folder, its
 * privileges, or who is told of uncaught exceptions and of signals. While the guard is up, these throw for everyone but the core, which
 * takes the guard down first; so they are refused as well where it cannot be told who asks.
 *
 * Not guarded, because nothing inside a process can: crashes in native code, a loop without end, running out of memory,
 * another program, or a worker thread, told to kill this one; and a listener of 'uncaughtExceptionMonitor' that throws.
 * Who cannot rule them out runs the data plane as a program of its own, with the exec backend.
 */
import { syncBuiltinESMExports } from 'node:module';
import { culprit, tellCulprit } from './plugin-context.ts';

export interface ProcessGuardOptions {
  /** Told of what was refused when it was no plugin that asked, as far as can be seen. */
  readonly onStranger: (error: Error) => void;
}

export interface ProcessGuard {
  /** From now on all of it works again. */
  release(): void;
}

const ENDS = 'would end the whole kube-proxy';
const SPOILS = 'would change the whole kube-proxy';
const OPENS = 'would open the whole kube-proxy to a debugger';

/** Functions of `process` and what is to be said of them. */
const REFUSED: Readonly<Record<string, string>> = {
  exit: ENDS,
  reallyExit: ENDS,
  abort: ENDS,
  execve: ENDS,
  _debugProcess: OPENS,
  chdir: SPOILS,
  setuid: SPOILS,
  setgid: SPOILS,
  seteuid: SPOILS,
  setegid: SPOILS,
  setgroups: SPOILS,
  initgroups: SPOILS,
  setUncaughtExceptionCaptureCallback: SPOILS,
};

/** Events of the process that have listeners of ours, which stay, and stay the first. */
const KEPT: readonly unknown[] = ['SIGTERM', 'SIGINT', 'unhandledRejection', 'newListener', 'removeListener'];

const ours = new WeakSet<object>();

/** Nobody takes this listener of the process away while the guard is up, unless by a way that is not guarded. */
export function keepListener(listener: object): void {
  ours.add(listener);
}

/** Errors that have been told of when they were thrown; they may escape afterwards. */
const told = new WeakSet<object>();

export function wasTold(thrown: unknown): boolean {
  return typeof thrown === 'object' && thrown !== null && told.has(thrown);
}

export function guardProcess({ onStranger }: ProcessGuardOptions): ProcessGuard {
  const undo: (() => void)[] = [];

  function refuse(call: string, why: string): never {
    const remedy = 'it is refused; throw an error or reject instead';
    const error = Object.assign(new Error(`process.${call} ${why}: ${remedy}`), { code: 'KP_REFUSED' });
    told.add(error);
    if (!tellCulprit('refused', error)) onStranger(error);
    throw error;
  }

  type Original = (given: readonly unknown[]) => unknown;
  function replace(name: string, instead: (args: readonly unknown[], original: Original) => unknown): void {
    const before = Object.getOwnPropertyDescriptor(process, name);
    const original: unknown = Reflect.get(process, name);
    if (typeof original !== 'function') return;
    const value = (...args: unknown[]): unknown => instead(args, (given) => Reflect.apply(original, process, given));
    Object.defineProperty(process, name, { value, configurable: true, writable: true, enumerable: true });
    undo.push(() => {
      if (before) Object.defineProperty(process, name, before);
      else Reflect.deleteProperty(process, name);
    });
  }

  for (const [name, why] of Object.entries(REFUSED)) {
    replace(name, (args) => refuse(`${name}(${args.map(shown).join(', ')})`, why));
  }
  // Without an argument it only tells.
  replace('umask', (args, umask) => (args.length === 0 ? umask([]) : refuse(`umask(${shown(args[0])})`, SPOILS)));
  // The second is what the first calls.
  for (const name of ['kill', '_kill']) {
    replace(name, (args, kill) => {
      const [given, signal] = args;
      // Once: an object may be another number the next time.
      const pid = Number(given);
      const call = `${name}(${args.map(shown).join(', ')})`;
      return signal !== 0 && reachesUs(pid) ? refuse(call, ENDS) : kill([pid, ...args.slice(1)]);
    });
  }
  // Without them a signal ends the process at once, or does nothing.
  replace('removeAllListeners', (args, remove) => {
    const [event] = args;
    const isKept = args.length === 0 || event === undefined || KEPT.includes(event);
    return isKept ? refuse(`removeAllListeners(${args.map(shown).join(', ')})`, SPOILS) : remove(args);
  });
  for (const name of ['off', 'removeListener']) {
    replace(name, (args, remove) => {
      const [event, listener] = args;
      const isOurs = typeof listener === 'function' && ours.has(listener);
      return isOurs ? refuse(`${name}(${shown(event)})`, SPOILS) : remove(args);
    });
  }
  // One that throws keeps those after it from being called.
  for (const [name, last] of [
    ['prependListener', 'on'],
    ['prependOnceListener', 'once'],
  ] as const) {
    replace(name, (args, prepend) =>
      KEPT.includes(args[0]) ? Reflect.apply(Reflect.get(process, last), process, args) : prepend(args),
    );
  }
  // For those who import { abort } from 'node:process'.
  syncBuiltinESMExports();

  return {
    release() {
      for (const step of undo.splice(0).reverse()) step();
      syncBuiltinESMExports();
    },
  };
}

/** As kill(2): 0 is the caller's process group, -1 everyone, other negative numbers a group. */
export function reachesUs(pid: number, own = process.pid): boolean {
  return pid === own || pid === 0 || pid === -1 || pid === -own;
}

function shown(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value).slice(0, 40) : typeof value;
}

/** A signal that nobody sent: `process.emit('SIGTERM')` in a plugin. */
export function isForged(signal: string): boolean {
  if (!culprit()) return false;
  tellCulprit('refused', new Error(`process.emit(${signal}) ${ENDS}: it is refused`));
  return true;
}
