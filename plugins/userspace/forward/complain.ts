/** What goes wrong with each of ten thousand connections is said once a minute, with how often it happened. */
import type { Clock } from '../../../core/backend.ts';
import type { EngineEvent } from './messages.ts';

const EVERY_MS = 60_000;

export interface Complaints {
  warn(message: string, values?: Readonly<Record<string, string | number>>): void;
}

export function openComplaints(clock: Clock, emit: (event: EngineEvent) => void): Complaints {
  // Messages are constant sentences, and so few.
  const said = new Map<string, { at: number; untold: number }>();
  return {
    warn(message, values = {}) {
      const now = clock.now();
      const last = said.get(message);
      if (last !== undefined && now - last.at < EVERY_MS) {
        last.untold++;
        return;
      }
      said.set(message, { at: now, untold: 0 });
      const times = 1 + (last?.untold ?? 0);
      emit({ event: 'log', level: 'warn', message, values: times > 1 ? { ...values, times } : values });
    },
  };
}
