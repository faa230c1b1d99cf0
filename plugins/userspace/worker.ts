/** What each thread of the userspace backend runs: an engine, which does what the main thread says. */
import type { Clock, ThreadHost } from '../../core/backend.ts';
import { createAffinityMemory } from './forward/affinity-table.ts';
import { createEngine } from './forward/engine.ts';
import type { FromThread, ThreadData, ToThread } from './thread-messages.ts';

/** Clients that a thread remembers which shares its memory with no other. */
const OWN_CLIENTS = 65_536;

export default function runWorker(host: ThreadHost, data: unknown): void {
  const { limits, affinity, occupancy, thread } = data as ThreadData;
  const post = (message: FromThread): void => host.post(message);
  const engine = createEngine(limits, {
    clock: threadClock,
    tenths: () => tenthsOf(process.hrtime()),
    random: Math.random,
    sockets: host.sockets,
    affinity: affinity ?? createAffinityMemory(OWN_CLIENTS, [randomWord(), randomWord()]),
    occupancy,
    thread,
    emit: (event) => post({ type: 'event', event }),
  });
  host.onMessage((message) => {
    const order = message as ToThread;
    if (order.type === 'update') {
      engine.update(order.update);
      post({ type: 'applied', id: order.id });
    } else if (order.type === 'close') {
      void engine.close(0).then(() => post({ type: 'applied', id: order.id }));
    } else {
      post({ type: 'statistics', id: order.id, statistics: engine.statistics() });
    }
  });
}

/** performance.now() counts from the start of each thread; this clock from one moment for all of them. */
function tenthsOf([seconds, nanoseconds]: readonly [number, number]): number {
  return seconds * 10 + Math.floor(nanoseconds / 100_000_000);
}

function randomWord(): number {
  return Math.floor(Math.random() * 2 ** 32) | 0;
}

const threadClock: Clock = {
  now: () => performance.now(),
  after(milliseconds, callback) {
    const timer = setTimeout(callback, milliseconds);
    timer.unref();
    return () => clearTimeout(timer);
  },
};
