/**
 * One run of the program, from its start to its end.
 *
 *   start ──hello──▶ ready ──requests, answers──▶ ended
 *      └── says no, is silent, writes anything else, ends ──▶ ended: `ready` rejects
 *
 * What breaks it off (an answer that does not come in time, an input that it closed) ends the program, and a session
 * never comes back: the program may be in any state then. Requests that are open at the end fail with its reason.
 */
import type { Child, Host, IPFamily } from '../../core/backend.ts';
import { createFlood } from './limits.ts';
import type { ExecOptions } from './options.ts';
import { type Done, type Failed, helloLine, type Level, type Log, type Ready, readAnswer } from './protocol.ts';

/** How long a program may take until it is ready. */
export const HELLO_LIMIT_MS = 15_000;
/** A program that closed its input is mostly one that is about to end, and then its own reason is the better one. */
const CLOSED_INPUT_MS = 1000;
/** Of lines that answer nothing, blank ones and those on the standard error included. More is the end of it. */
const FLOOD = { lines: 10_000, bytes: 16 << 20, withinMs: 10_000 };
/** Of a line, in logs and errors. */
const SHOWN = 500;

export interface SessionEvents {
  /** Once, when the program has ended. */
  readonly onEnd: (reason: string) => void;
  /** A line that is no answer. */
  readonly onRefused: (line: string, why: string) => void;
  readonly onLog: (level: Level, message: string) => void;
  readonly onErrorLine: (line: string) => void;
  readonly onResync: (reason: string) => void;
  /** Undefined: healthy. */
  readonly onHealth: (reason: string | undefined) => void;
}

export interface Session {
  /** Rejects only when the program has ended, or could not be started. */
  readonly ready: Promise<Served>;
  /** Of the program; 0 until it was started. */
  pid(): number;
  /** Send one line, given in pieces, and wait for its answer. */
  request(line: (id: number) => Iterable<string>): Promise<Answered>;
  /** Resolves when the program has ended. */
  end(graceMs: number): Promise<void>;
}

/** What it agreed to. */
export interface Served extends Ready {
  readonly families: readonly IPFamily[];
}

export interface Answered {
  readonly done: Done;
  /** That were written for it. */
  readonly bytes: number;
}

interface Open {
  readonly answer: (done: Done) => void;
  readonly fail: (error: Error) => void;
}

export function startSession(host: Host, options: ExecOptions, events: SessionEvents): Session {
  const { command, args, families, timeoutSeconds } = options;
  const { clock } = host;
  const ready = Promise.withResolvers<Served>();
  ready.promise.catch(() => {});
  const open = new Map<number, Open>();
  let state: 'starting' | 'ready' | 'ending' | 'ended' = 'starting';
  /** Why we end it, if we do. */
  let fault: Error | undefined;
  let lastErrorLine = '';
  let nextId = 1;
  let pid = 0;
  let cancelClosedInput: (() => void) | undefined;
  /** Lines go one after the other, each in as many pieces as it has. */
  let writing: Promise<void> = Promise.resolve();

  const breakOff = (error: Error): void => {
    if (state === 'ending' || state === 'ended') return;
    fault = error;
    void end(0);
  };

  const flood = createFlood(clock, FLOOD.lines, FLOOD.bytes, FLOOD.withinMs);
  let isFlooding = false;
  /** Of lines after one too many nobody looks at any. */
  const countIdle = (line: string): void => {
    if (!flood.add(line.length)) return;
    isFlooding = true;
    const limit = `${FLOOD.lines} lines or ${FLOOD.bytes >> 20} MiB within ${FLOOD.withinMs / 1000} s`;
    breakOff(new Error(`${command} wrote more than ${limit} that answer nothing, and was ended`));
  };

  const onLine = (line: string): void => {
    if (isFlooding) return;
    if (line.trim() === '') {
      countIdle(line);
      return;
    }
    const answer = readAnswer(line);
    if (answer.type !== 'done' && answer.type !== 'error') countIdle(line);
    if (isFlooding) return;
    if (answer.type === 'log') events.onLog(answer.level, answer.message);
    else if (state === 'starting' || state === 'ready') take(line, answer);
  };

  function take(line: string, answer: Exclude<ReturnType<typeof readAnswer>, Log>): void {
    switch (answer.type) {
      case 'refused':
        unexpected(line, answer.why);
        break;
      case 'ready':
        becomeReady(line, answer);
        break;
      case 'done':
      case 'error':
        settle(line, answer);
        break;
      case 'resync':
        if (state === 'ready') events.onResync(answer.reason);
        else unexpected(line, 'comes too early');
        break;
      case 'health':
        events.onHealth(answer.healthy ? undefined : answer.reason);
    }
  }

  function becomeReady(line: string, answer: Ready): void {
    const agreed = answer.families ?? families;
    const more = agreed.filter((family) => !families.includes(family));
    if (state === 'ready') unexpected(line, 'comes when nobody asked');
    else if (more.length > 0) unexpected(line, `has families that it was not asked for (${more.join(', ')})`);
    else {
      cancelHello();
      state = 'ready';
      ready.resolve({ ...answer, families: agreed });
    }
  }

  function settle(line: string, answer: Done | Failed): void {
    const { type, id } = answer;
    const request = open.get(id ?? 0);
    open.delete(id ?? 0);
    if (request && type === 'done') request.answer(answer);
    else if (request && type === 'error') request.fail(new Error(`${command} says: ${shown(answer.message)}`));
    else if (state === 'starting' && type === 'error' && id === undefined) {
      breakOff(unsupported(`${command} says no: ${shown(answer.message)}`));
    } else {
      countIdle(line);
      unexpected(line, 'answers no open request');
    }
  }

  /** Before it is ready there is nobody whom a wrong line could have come between: it is no program for us. */
  function unexpected(line: string, why: string): void {
    if (state === 'ready') events.onRefused(shown(line), why);
    else breakOff(new Error(`${command} answered the hello with a line that ${why}: ${shown(line)}`));
  }

  const onExit = (reason: string): void => {
    cancelHello();
    cancelClosedInput?.();
    const early = state === 'starting' ? ' before it was ready' : '';
    state = 'ended';
    const last = lastErrorLine === '' ? '' : `; the last line on its standard error: ${shown(lastErrorLine)}`;
    const error = fault ?? new Error(`${command} ${reason}${early}${last}`);
    for (const request of [...open.values()]) request.fail(error);
    ready.reject(error);
    events.onEnd(error.message);
  };

  const cancelHello = clock.after(HELLO_LIMIT_MS, () => {
    breakOff(new Error(`${command} did not answer the hello within ${HELLO_LIMIT_MS / 1000} s, and was ended`));
  });

  const started: Promise<Child | undefined> = host
    .spawn(command, args, {
      onLine,
      onErrorLine(line) {
        if (isFlooding) return;
        countIdle(line);
        if (line.trim() !== '') lastErrorLine = line;
        events.onErrorLine(line);
      },
      onExit,
    })
    .then(
      (child) => {
        pid = child.pid;
        return child;
      },
      (error: Error) => {
        cancelHello();
        state = 'ended';
        ready.reject(error);
        return undefined;
      },
    );

  /** Resolves to the bytes written. A program that does not take them is told from one that has ended. */
  async function write(pieces: Iterable<string>): Promise<number> {
    const child = await started;
    let bytes = 0;
    for (const piece of pieces) {
      if (state === 'ended') break;
      try {
        await child?.write(piece);
      } catch {
        cancelClosedInput ??= clock.after(CLOSED_INPUT_MS, () => {
          breakOff(new Error(`${command} closed its input without ending, and was ended`));
        });
        break;
      }
      bytes += Buffer.byteLength(piece);
    }
    return bytes;
  }

  async function end(graceMs: number): Promise<void> {
    if (state !== 'ended') state = 'ending';
    await (await started)?.end(graceMs);
  }

  void write([helloLine(families, options.options)]);

  return {
    ready: ready.promise,
    pid: () => pid,
    end,
    async request(line) {
      const id = nextId++;
      const answered = Promise.withResolvers<Done>();
      answered.promise.catch(() => {});
      let cancel = (): void => {};
      open.set(id, { answer: answered.resolve, fail: answered.reject });
      try {
        const turn = writing.then(() => {
          if (state !== 'ready') throw new Error(`${command} is being ended`);
          // Its time includes that in which it takes the line, but not that of a line before.
          cancel = clock.after(timeoutSeconds * 1000, () => {
            const late = new Error(`${command} did not answer within ${timeoutSeconds} s, and was ended`);
            answered.reject(late);
            breakOff(late);
          });
          return write(line(id));
        });
        writing = turn.then(
          () => {},
          () => {},
        );
        turn.catch(answered.reject);
        const done = await answered.promise;
        return { done, bytes: await turn };
      } finally {
        cancel();
        open.delete(id);
      }
    },
  };
}

function unsupported(message: string): Error {
  return Object.assign(new Error(message), { code: 'KP_BACKEND_UNSUPPORTED' });
}

/** As much of a text as belongs into a line of the log. */
export function shown(text: string): string {
  return text.length <= SHOWN ? text : `${text.slice(0, SHOWN)}…`;
}
