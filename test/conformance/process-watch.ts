/**
 * What a plugin does to the process besides its work: errors that nobody catches, ending it, writing to standard output,
 * and what it leaves behind that keeps a process alive.
 */
import { setImmediate as turn } from 'node:timers/promises';

export interface Misdeeds {
  /** Rejections and exceptions that nobody handled, each with what was being tried. */
  readonly leaks: readonly string[];
  /** Attempts to end the process. */
  readonly exits: readonly string[];
  /** Texts written to standard output. */
  readonly outputs: readonly string[];
}

export interface ProcessWatch extends Misdeeds {
  /** What is being tried from now on. */
  trying(what: string): void;
  /** Write to standard output oneself. */
  print(text: string): void;
  /** Whatever was thrown a moment ago has been noticed. */
  settle(): Promise<void>;
  stop(): void;
}

export function watchProcess(): ProcessWatch {
  const leaks: string[] = [];
  const exits: string[] = [];
  const outputs: string[] = [];
  let now = 'loading';

  const onRejection = (reason: unknown): void => void leaks.push(`${now}: rejection not handled: ${oneLine(reason)}`);
  const onException = (error: unknown): void => void leaks.push(`${now}: exception not caught: ${oneLine(error)}`);
  process.on('unhandledRejection', onRejection);
  process.on('uncaughtException', onException);

  const exit = process.exit;
  process.exit = ((code?: number) => {
    exits.push(`${now}: process.exit(${code ?? ''})`);
    throw new Error('a plugin must not end the process');
  }) as typeof process.exit;

  const { stdout } = process;
  const write = stdout.write;
  let printing = false;
  const watched = (...args: Parameters<typeof stdout.write>): boolean => {
    if (printing) return Reflect.apply(write, stdout, args) as boolean;
    outputs.push(`${now}: ${oneLine(args[0])}`);
    const done = args.find((arg) => typeof arg === 'function') as (() => void) | undefined;
    if (done) queueMicrotask(done);
    return true;
  };
  stdout.write = watched as typeof stdout.write;

  return {
    leaks,
    exits,
    outputs,
    trying(what) {
      now = what;
    },
    print(text) {
      printing = true;
      try {
        stdout.write(text);
      } finally {
        printing = false;
      }
    },
    async settle() {
      for (let k = 0; k < 3; k++) await turn();
    },
    stop() {
      process.off('unhandledRejection', onRejection);
      process.off('uncaughtException', onException);
      process.exit = exit;
      stdout.write = write;
    },
  };
}

function oneLine(thrown: unknown): string {
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return text.trim().split('\n', 1)[0]!.slice(0, 200);
}

/** What keeps this process alive now, by kind ("Timeout", "TCPServerWrap"), and listeners on the process itself. */
export function liveResources(): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  const add = (kind: string, count = 1): void => void counts.set(kind, (counts.get(kind) ?? 0) + count);
  // Of what this very moment brings with it.
  for (const kind of process.getActiveResourcesInfo()) if (!PASSING.includes(kind)) add(kind);
  for (const event of process.eventNames()) add(`listener on process "${String(event)}"`, process.listenerCount(event));
  return counts;
}

const PASSING: readonly string[] = ['Immediate', 'CloseReq', 'TickObject'];

/** What there is more of than before: "1 Timeout". */
export function resourcesBeyond(before: ReadonlyMap<string, number>): readonly string[] {
  return [...liveResources()].flatMap(([kind, count]) => {
    const more = count - (before.get(kind) ?? 0);
    return more > 0 ? [`${more} ${kind}`] : [];
  });
}
