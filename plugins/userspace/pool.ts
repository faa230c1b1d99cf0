/**
 * The threads that forward, all told the same. One that ends is started again and told everything that the others know;
 * its connections are gone, those of the others go on.
 *
 *   tell(update)   ──▶ every thread ──applied──▶ resolves
 *   listen(update) ──▶ every thread, on the same addresses and ports ──listening or not, applied──▶ resolves
 */
import type { Host, Thread } from '../../core/backend.ts';
import type { EngineEvent, EngineUpdate, ListenSpec, ListenUpdate, ServiceStatistics } from './forward/messages.ts';
import { connectionsIn, createOccupancyMemory, vacate } from './forward/occupancy.ts';
import type { Statistics } from './statistics.ts';
import type { FromThread, ThreadData, ToThread } from './thread-messages.ts';
import { createTurns } from './turns.ts';

export interface Pool {
  /** Resolves when every thread has applied it. */
  tell(update: Omit<EngineUpdate, 'listen'>): Promise<void>;
  /** On certain ports. Resolves to what of `open` could not be had by every thread, by id: it is not tried again. */
  listen(update: ListenUpdate): Promise<ReadonlyMap<string, ListenFault>>;
  /** Of all threads together, those that have ended included, by key of the service port. */
  statistics(): Promise<ReadonlyMap<string, ServiceStatistics>>;
  /** Why not all threads run; undefined: they do. */
  fault(): string | undefined;
  /** Resolves when no connection is open, or after so many milliseconds. Nothing must be brought here any more. */
  drained(limitMs: number): Promise<void>;
  /** Connections are reset: who ends without that seems to have sent everything. */
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
  readonly data: Omit<ThreadData, 'occupancy' | 'thread'>;
  /** Of all pools of this process, one after the other. */
  readonly statistics: Statistics;
  /** Everything that a thread must know which has just begun, but for listeners. */
  readonly snapshot: () => Omit<EngineUpdate, 'listen'>;
  /** A thread that was started again cannot listen where it is to; it goes on trying. */
  readonly onLost: (reason: string) => void;
}

/** A thread that ends as soon as it begins is not started more often than this. */
const PAUSE_MS = 1_000;
const DRAIN_LOOK_MS = 100;
/** A thread that hangs is not waited for any longer. */
const RESET_MS = 1_000;

interface Member {
  thread: Thread;
  /** What waits for an answer, by id. */
  readonly waiting: Map<number, () => void>;
  /** What it could not have when it was last told to, by id. */
  readonly faults: Map<string, ListenFault>;
  alive: boolean;
}

export function createPool({ host, module, count, data, statistics, snapshot, onLost }: PoolOptions): Pool {
  let closed = false;
  let lastId = 0;
  let fault: string | undefined;
  /** All that is to be listened on, for threads that begin, by id. */
  const wanted = new Map<string, ListenSpec>();
  /** Ids of what could not be had when it was last asked for. */
  const refused = new Set<string>();
  const cancels = new Set<() => void>();
  const members: Member[] = [];
  /** So that what a thread could not have is told to who asked for it. */
  const listenInTurn = createTurns();
  const occupancy = createOccupancyMemory(count);

  function start(index: number): Member {
    const member: Member = {
      thread: undefined as unknown as Thread,
      waiting: new Map(),
      faults: new Map(),
      alive: true,
    };
    member.thread = host.thread(module, {
      data: { ...data, occupancy, thread: index } satisfies ThreadData,
      onMessage: (message) => receive(member, message as FromThread),
      onExit: (reason) => ended(index, member, reason),
    });
    members[index] = member;
    return member;
  }

  function receive(member: Member, message: FromThread): void {
    if (message.type === 'event') noted(member, message.event);
    else {
      // As it comes: what has ended is told once.
      if (message.type === 'statistics') statistics.answered(member, message.statistics);
      member.waiting.get(message.id)?.();
      member.waiting.delete(message.id);
    }
  }

  function noted(member: Member, event: EngineEvent): void {
    if (event.event === 'log') host.log[event.level](event.message, event.values);
    else if (event.event === 'listening') member.faults.delete(event.id);
    else member.faults.set(event.id, event);
  }

  function ended(index: number, member: Member, reason: string): void {
    member.alive = false;
    for (const settle of member.waiting.values()) settle();
    member.waiting.clear();
    statistics.ended(member);
    vacate(occupancy, index);
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
    await listenInTurn(() => listenAt(member, { open: [...wanted.values()] }));
    judge(member);
    if (lostBy(member).length > 0) onLost('a thread that was started again cannot listen');
  }

  /** Where the others listen, and as before: what nobody could have is no fault of this one. */
  function lostBy({ alive, faults }: Member): readonly (readonly [id: string, fault: ListenFault])[] {
    return alive ? [...faults].filter(([id]) => !refused.has(id)) : [];
  }

  function judge(member: Member): void {
    const [lost] = lostBy(member);
    if (lost !== undefined) {
      fault = `a thread that forwards connections cannot listen: ${lost[1].message}`;
      later(() => void tryAgain(member));
    } else if (members.every((one) => one.alive && lostBy(one).length === 0)) fault = undefined;
  }

  async function tryAgain(member: Member): Promise<void> {
    await listenInTurn(() => listenAt(member, { open: lostBy(member).flatMap(([id]) => wanted.get(id) ?? []) }));
    judge(member);
  }

  /** Resolves when it has answered, or ended. */
  function ask(member: Member, question: (id: number) => ToThread): Promise<void> {
    if (!member.alive) return Promise.resolve();
    lastId++;
    const id = lastId;
    return new Promise((resolve) => {
      member.waiting.set(id, resolve);
      member.thread.post(question(id));
    });
  }

  /** The thread says what it came to before it says that it has applied it. */
  async function listenAt(member: Member, listen: ListenUpdate): Promise<void> {
    for (const id of listen.close ?? []) member.faults.delete(id);
    for (const { id } of listen.open ?? []) member.faults.delete(id);
    await ask(member, (id) => ({ type: 'update', id, update: { listen } }));
  }

  async function listenEverywhere(update: ListenUpdate): Promise<ReadonlyMap<string, ListenFault>> {
    const { open = [], close = [] } = update;
    for (const id of close) {
      wanted.delete(id);
      refused.delete(id);
    }
    for (const spec of open) wanted.set(spec.id, spec);
    await Promise.all(members.map((member) => listenAt(member, update)));
    const found = new Map<string, ListenFault>();
    for (const { id } of open) {
      const [fault] = members.flatMap(({ faults }) => faults.get(id) ?? []);
      if (fault === undefined) refused.delete(id);
      else {
        refused.add(id);
        found.set(id, fault);
      }
    }
    return found;
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
      statistics.learn(update.upsert?.map(({ key }) => key) ?? [], update.remove ?? []);
      await Promise.all(members.map((member) => ask(member, (id) => ({ type: 'update', id, update }))));
    },
    listen: (update) => listenInTurn(() => listenEverywhere(update)),
    async statistics() {
      await Promise.all(members.map((member) => ask(member, (id) => ({ type: 'statistics', id }))));
      return statistics.services();
    },
    fault: () => fault,
    async drained(limitMs) {
      const until = host.clock.now() + limitMs;
      // What has just come is counted a moment later.
      do await new Promise<void>((resolve) => host.clock.after(DRAIN_LOOK_MS, resolve));
      while (connectionsIn(occupancy) > 0 && host.clock.now() < until);
    },
    async close() {
      closed = true;
      for (const cancel of cancels) cancel();
      let cancelWait = (): void => {};
      const late = new Promise<void>((resolve) => {
        cancelWait = host.clock.after(RESET_MS, resolve);
      });
      const everyone = (type: 'close' | 'statistics') =>
        Promise.all(members.map((member) => ask(member, (id) => ({ type, id }))));
      await Promise.race([everyone('close').then(() => everyone('statistics')), late]);
      cancelWait();
      await Promise.all(members.map(({ thread }) => thread.end()));
      statistics.rest();
    },
  };
}
