/**
 * The threads that forward, all told the same. One that ends is started again and told everything that the others know;
 * its connections are gone, those of the others go on.
 *
 *   tell(update) ──▶ every thread ──applied──▶ resolves
 *   listen(…)    ──▶ every thread, on the same addresses and ports ──listening──▶ resolves
 */
import type { Host, Thread } from '../../core/backend.ts';
import type { EngineEvent, EngineStatistics, EngineUpdate, ListenSpec } from './forward/messages.ts';
import type { FromThread, ThreadData, ToThread } from './thread-messages.ts';

export interface Pool {
  /** Resolves when every thread has applied it. */
  tell(update: Omit<EngineUpdate, 'listen'>): Promise<void>;
  /** All that is to be listened on from now on, on certain ports. Resolves to what could not be had, by id. */
  listen(specs: readonly ListenSpec[]): Promise<ReadonlyMap<string, ListenFault>>;
  /** Of each thread that answers. */
  statistics(): Promise<readonly EngineStatistics[]>;
  /** Why not all threads run; undefined: they do. */
  fault(): string | undefined;
  close(): Promise<void>;
}

export interface ListenFault {
  /** As of Node.js: "EADDRINUSE", "EACCES", … */
  readonly code: string;
  readonly message: string;
}

export interface PoolOptions {
  readonly host: Pick<Host, 'thread' | 'log' | 'clock'>;
  readonly module: URL;
  readonly count: number;
  readonly data: ThreadData;
  /** Everything that a thread must know which has just begun, but for listeners. */
  readonly snapshot: () => Omit<EngineUpdate, 'listen'>;
  /** A thread that was started again cannot listen where it is to; it goes on trying. */
  readonly onLost: (reason: string) => void;
}

/** A thread that ends as soon as it begins is not started more often than this. */
const PAUSE_MS = 1_000;

interface Member {
  thread: Thread;
  /** What waits for an answer, by id. */
  readonly waiting: Map<number, (answer: FromThread | undefined) => void>;
  specs: readonly ListenSpec[];
  /** By the id of a listener; undefined: it listens. */
  readonly outcomes: Map<string, ListenFault | undefined>;
  onListening: () => void;
  alive: boolean;
}

export function createPool({ host, module, count, data, snapshot, onLost }: PoolOptions): Pool {
  let closed = false;
  let lastId = 0;
  let fault: string | undefined;
  let wanted: readonly ListenSpec[] = [];
  /** Ids of what could not be had when it was last asked for. */
  let refused: ReadonlySet<string> = new Set();
  const cancels = new Set<() => void>();
  const members: Member[] = [];

  /** Both families come with lists of their own time, and a member waits for one list at a time. */
  let queue: Promise<unknown> = Promise.resolve();
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = queue.then(work);
    queue = result.catch(() => {});
    return result;
  }

  function start(index: number): Member {
    const member: Member = {
      thread: undefined as unknown as Thread,
      waiting: new Map(),
      specs: [],
      outcomes: new Map(),
      onListening: () => {},
      alive: true,
    };
    member.thread = host.thread(module, {
      data,
      onMessage: (message) => receive(member, message as FromThread),
      onExit: (reason) => ended(index, member, reason),
    });
    members[index] = member;
    return member;
  }

  function receive(member: Member, message: FromThread): void {
    if (message.type === 'event') noted(member, message.event);
    else {
      member.waiting.get(message.id)?.(message);
      member.waiting.delete(message.id);
    }
  }

  function noted(member: Member, event: EngineEvent): void {
    if (event.event === 'log') host.log[event.level](event.message, event.values);
    else {
      const { id } = event;
      member.outcomes.set(id, event.event === 'listening' ? undefined : event);
      member.onListening();
    }
  }

  function ended(index: number, member: Member, reason: string): void {
    member.alive = false;
    for (const settle of member.waiting.values()) settle(undefined);
    member.waiting.clear();
    member.onListening();
    if (closed) return;
    fault = `a thread that forwards connections ${reason}`;
    host.log.error('A thread that forwards connections has ended; its connections are gone, another one is started', {
      reason,
    });
    startLater(index);
  }

  function startLater(index: number): void {
    later(() => {
      restart(index).catch((error: unknown) => {
        host.log.error('A thread could not be started again', { error });
        startLater(index);
      });
    });
  }

  function later(work: () => void): void {
    const cancel = host.clock.after(PAUSE_MS, () => {
      cancels.delete(cancel);
      if (!closed) work();
    });
    cancels.add(cancel);
  }

  async function restart(index: number): Promise<void> {
    const member = start(index);
    await ask(member, (id) => ({ type: 'update', id, update: snapshot() }));
    await listenAgain(member);
    if (lostBy(member) !== undefined) onLost('a thread that was started again cannot listen');
  }

  /** Where the others listen, and as before: what nobody could have is no fault of this one. */
  function lostBy({ alive, outcomes }: Member): ListenFault | undefined {
    if (!alive) return undefined;
    return [...outcomes].find(([id, outcome]) => outcome !== undefined && !refused.has(id))?.[1];
  }

  async function listenAgain(member: Member): Promise<void> {
    await inTurn(() => listenAt(member, wanted));
    const lost = lostBy(member);
    if (lost !== undefined) {
      fault = `a thread that forwards connections cannot listen: ${lost.message}`;
      later(() => void listenAgain(member));
    } else if (members.every(({ alive }) => alive)) fault = undefined;
  }

  /** Undefined: the thread has ended. */
  function ask(member: Member, question: (id: number) => ToThread): Promise<FromThread | undefined> {
    if (!member.alive) return Promise.resolve(undefined);
    lastId++;
    const id = lastId;
    return new Promise((resolve) => {
      member.waiting.set(id, resolve);
      member.thread.post(question(id));
    });
  }

  async function listenAt(member: Member, specs: readonly ListenSpec[]): Promise<void> {
    const kept = new Map(member.specs.map((spec) => [spec.id, JSON.stringify(spec)]));
    const same = new Set(specs.filter((spec) => kept.get(spec.id) === JSON.stringify(spec)).map(({ id }) => id));
    // What failed is tried again.
    for (const [id, fault] of [...member.outcomes])
      if (!same.has(id) || fault !== undefined) member.outcomes.delete(id);
    member.specs = specs;
    const done = new Promise<void>((resolve) => {
      const look = (): void => {
        if (!member.alive || specs.every(({ id }) => member.outcomes.has(id))) resolve();
      };
      member.onListening = look;
      look();
    });
    await ask(member, (id) => ({ type: 'update', id, update: { listen: specs } }));
    await done;
  }

  try {
    for (let index = 0; index < count; index++) start(index);
  } catch (error) {
    closed = true;
    for (const { thread } of members) void thread.end();
    throw error;
  }

  return {
    async tell(update) {
      await Promise.all(members.map((member) => ask(member, (id) => ({ type: 'update', id, update }))));
    },
    listen(specs) {
      wanted = specs;
      return inTurn(async () => {
        await Promise.all(members.map((member) => listenAt(member, specs)));
        const outcomes = members.flatMap((member) => [...member.outcomes]);
        const faults = new Map(outcomes.flatMap(([id, found]) => (found === undefined ? [] : [[id, found] as const])));
        refused = new Set(faults.keys());
        return faults;
      });
    },
    async statistics() {
      const answers = await Promise.all(members.map((member) => ask(member, (id) => ({ type: 'statistics', id }))));
      return answers.flatMap((answer) => (answer?.type === 'statistics' ? [answer.statistics] : []));
    },
    fault: () => fault,
    async close() {
      closed = true;
      for (const cancel of cancels) cancel();
      await Promise.all(members.map(({ thread }) => thread.end()));
    },
  };
}
