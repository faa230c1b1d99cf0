/**
 * Programs that stay and talk in lines. No shell, so no argument is ever interpreted.
 *
 *   write() ──▶ its input        its output ──▶ onLine        its errors ──▶ onErrorLine        its end ──▶ onExit
 *
 * Each gets a session and process group of its own (setsid): a Ctrl-C meant for us does not reach it, and whatever it
 * started in turn can be ended with it. How it ends, whoever wants it to:
 *
 *   end of file on its input ──graceMs──▶ SIGTERM to the group ──1 s──▶ SIGKILL to the group
 *
 * When the program itself has ended, what is left of its group gets SIGKILL at once. If this process is killed, nobody
 * is there to send anything: the end of file on its input is then all that a program gets, and it must end by it.
 */
import { type ChildProcess, spawn as start } from 'node:child_process';
import type { Child, SpawnOptions } from '../backend.ts';
import { programEnvironment, startFault } from './exec.ts';

/** After the polite signal, how long a program may take to end. */
const KILL_AFTER_MS = 1000;
/** For a program that nobody ends by its owner's choice: the process shuts down, or the plugin is gone. */
const SHUTDOWN_GRACE_MS = 2000;
/** A descendant that left the group may hold the output open for ever; what the program itself wrote is read by then. */
const DRAIN_MS = 500;
const LONGEST_LINE = 1 << 20;
/** A program that writes more than this in one stretch is read on in the next one; until then it waits. */
const STRETCH = { milliseconds: 100, bytes: 2 << 20, lines: 20_000 };
const NEWLINE = 10;

export interface Spawner {
  /** As `Host.spawn`. */
  readonly spawn: (command: string, args: readonly string[], options: SpawnOptions) => Promise<Child>;
  /** Begins to end what still runs. */
  close(): void;
}

/**
 * Programs that end when the signal is aborted. `distrust` says why a file must not be run as this user, if it must not;
 * a name that is looked up in PATH is not asked about.
 */
export function createSpawner(signal: AbortSignal, distrust: (file: string) => string | undefined): Spawner {
  const running = new Set<Child>();
  let closed = false;
  const close = (): void => {
    for (const child of running) void child.end(SHUTDOWN_GRACE_MS);
  };
  signal.addEventListener('abort', close, { once: true });
  return {
    close() {
      closed = true;
      signal.removeEventListener('abort', close);
      close();
    },
    async spawn(command, args, options) {
      if (signal.aborted) throw startFault(command, new Error('kube-proxy is shutting down'));
      if (closed) throw closedFault(`cannot start ${command}`);
      const danger = command.includes('/') ? distrust(command) : undefined;
      if (danger !== undefined) throw startFault(command, new Error(danger));
      const child = await startChild(command, args, {
        ...options,
        onExit(reason) {
          running.delete(child);
          options.onExit(reason);
        },
      });
      running.add(child);
      if (signal.aborted || closed) void child.end(SHUTDOWN_GRACE_MS);
      return child;
    },
  };
}

/** For who asks a Host for something once its backend is closed. */
export function closedFault(what: string): Error {
  return Object.assign(new Error(`${what}: the backend is closed, and its Host with it`), { code: 'KP_CLOSED' });
}

function startChild(command: string, args: readonly string[], options: SpawnOptions): Promise<Child> {
  const { onLine, onErrorLine, onExit, env, longestLine = LONGEST_LINE } = options;
  return new Promise((resolve, reject) => {
    const child = start(command, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
      env: { ...programEnvironment(process.env), ...env },
    });
    let started = false;
    let ended = false;
    let overrun = '';
    const over = Promise.withResolvers<void>();
    const [stdin, stdout, stderr] = [child.stdin!, child.stdout!, child.stderr!];
    const signalGroup = (name: NodeJS.Signals): void => killGroup(child, name);

    const read = (stream: NodeJS.ReadableStream, called: string, onText: (line: string) => void): (() => void) => {
      const lines = splitLines(longestLine, onText, () => {
        overrun ||= `wrote a line of more than ${longestLine} bytes to its standard ${called}, and was ended`;
        signalGroup('SIGKILL');
      });
      takeInStretches(stream, lines.take, () => ended);
      stream.on('error', () => {});
      return lines.end;
    };
    const lastLines = [read(stdout, 'output', onLine), read(stderr, 'error', onErrorLine)];

    // It may end, or close its input, before it has read everything (EPIPE); each write() tells its own caller.
    stdin.on('error', () => {});

    child.once('error', (error) => {
      if (!started) reject(startFault(command, error));
    });

    const timers: NodeJS.Timeout[] = [];
    const terminate = (): void => {
      signalGroup('SIGTERM');
      timers.push(setTimeout(() => signalGroup('SIGKILL'), KILL_AFTER_MS));
    };
    const write = (text: string): Promise<void> =>
      new Promise((done, fail) => {
        stdin.write(text, (error) => {
          if (error) fail(writeFault(command, ended ? 'it has ended' : 'its input is closed', error));
          else done();
        });
      });
    const end = (graceMs: number): Promise<void> => {
      stdin.end();
      // Who asks again may want it sooner.
      if (!ended) timers.push(setTimeout(terminate, graceMs));
      return over.promise;
    };

    child.once('spawn', () => {
      started = true;
      leashed.add(child);
      resolve({ pid: child.pid!, write, end });
    });
    child.once('exit', () => {
      ended = true;
      leashed.delete(child);
      for (const timer of timers) clearTimeout(timer);
      // Right here, where no other program can have been given the number yet.
      signalGroup('SIGKILL');
      // What is left is at most what fits into the pipes.
      for (const stream of [stdout, stderr]) stream.resume();
      const drained = setTimeout(() => {
        for (const stream of [stdout, stderr]) stream.destroy();
      }, DRAIN_MS);
      timers.push(drained);
    });
    child.once('close', (status, signal) => {
      if (!started) return;
      for (const timer of timers) clearTimeout(timer);
      for (const last of lastLines) last();
      over.resolve();
      onExit(overrun || (signal ? `was ended by ${signal}` : `ended with status ${status}`));
    });
  });
}

/** Running now: when this process ends by itself, nothing of theirs may stay. */
const leashed = new Set<ChildProcess>();
process.on('exit', endLeashed);

/** For who ends the process in a way that tells no listener. */
export function endLeashed(): void {
  for (const child of leashed) killGroup(child, 'SIGKILL');
}

/** A plugin may put another in its place. */
const kill = process.kill.bind(process);

function killGroup(child: ChildProcess, name: NodeJS.Signals): void {
  try {
    kill(-child.pid!, name);
  } catch {
    // ESRCH: nobody of the group is left.
  }
}

function writeFault(command: string, reason: string, cause: Error): Error {
  return Object.assign(new Error(`cannot write to ${command}: ${reason}`, { cause }), { code: 'KP_EXEC' });
}

/**
 * A program that writes without end would have all of our time, and memory for what waits; and what is dealt with per
 * line costs most where lines are short. It gets to write so much in a stretch; then its pipe fills, and it waits.
 */
function takeInStretches(stream: NodeJS.ReadableStream, take: (chunk: Buffer) => number, isOver: () => boolean): void {
  let [bytes, lines] = [0, 0];
  let end: NodeJS.Timeout | undefined;
  stream.on('data', (chunk: Buffer) => {
    lines += take(chunk);
    bytes += chunk.length;
    end ??= setTimeout(() => {
      end = undefined;
      [bytes, lines] = [0, 0];
      stream.resume();
    }, STRETCH.milliseconds).unref();
    if (!isOver() && (bytes >= STRETCH.bytes || lines >= STRETCH.lines)) stream.pause();
  });
  stream.once('close', () => clearTimeout(end));
}

interface Lines {
  /** Returns how many lines ended in it. */
  readonly take: (chunk: Buffer) => number;
  /** The last line, if it has no end. */
  readonly end: () => void;
}

/** Bytes in, lines out. Cut at the byte that ends a line, which is part of no other character in UTF-8. */
function splitLines(longest: number, onLine: (line: string) => void, onTooLong: () => void): Lines {
  let pending: Buffer[] = [];
  let length = 0;
  let dead = false;

  const emit = (last: Buffer): void => {
    const line = length === 0 ? last : Buffer.concat([...pending, last]);
    pending = [];
    length = 0;
    if (line.length > longest) tooLong();
    else onLine(line.toString('utf8'));
  };
  const tooLong = (): void => {
    dead = true;
    pending = [];
    length = 0;
    onTooLong();
  };
  return {
    take(chunk) {
      let from = 0;
      let count = 0;
      for (let at = chunk.indexOf(NEWLINE); at !== -1 && !dead; at = chunk.indexOf(NEWLINE, from)) {
        const line = chunk.subarray(from, at);
        from = at + 1;
        count++;
        emit(line);
      }
      if (dead || from === chunk.length) return count;
      pending.push(chunk.subarray(from));
      length += chunk.length - from;
      if (length > longest) tooLong();
      return count;
    },
    end() {
      if (!dead && length > 0) emit(Buffer.alloc(0));
    },
  };
}
