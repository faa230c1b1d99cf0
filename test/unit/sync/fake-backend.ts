/** A backend that keeps the changes it got and does as it is told; and a source in the test's hand. */
import type {
  Backend,
  Change,
  Clock,
  HealthReporting,
  IPFamily,
  SelfChecking,
  SyncReport,
} from '../../../core/backend.ts';
import type { InterfaceAddress } from '../../../core/model/node-settings.ts';
import type { ObjectSink, Source } from '../../../core/source/source.ts';
import type { SyncEvent } from '../../../core/sync/family-sync.ts';
import { type Sync, type SyncOptions, startSync } from '../../../core/sync/start.ts';
import { settings } from '../model/samples.ts';
import { type FakeClock, fakeClock } from './fake-clock.ts';
import { type FakeLog, fakeLog } from './fake-log.ts';

export const SETTINGS = settings({ nodeName: 'n1', clusterCIDRs: [], serviceCIDRs: [] });

export interface World {
  readonly clock: FakeClock;
  readonly log: FakeLog;
  readonly sink: ObjectSink;
  readonly sync: Sync;
  /** What the backend was told, oldest first; empties the list. */
  readonly told: () => Change[];
  readonly addresses: InterfaceAddress[];
  readonly events: SyncEvent[];
  readonly calls: string[];
  /** Replaces what the backend does; undefined: it succeeds. */
  act: { sync?: (change: Change) => unknown; check?: (family: IPFamily) => unknown; health?: () => unknown };
}

export interface WorldOptions extends Partial<SyncOptions> {
  readonly checks?: boolean;
  readonly serves?: readonly IPFamily[];
}

export async function world(options: WorldOptions = {}): Promise<World> {
  const clock = fakeClock();
  const log = fakeLog();
  const changes: Change[] = [];
  const calls: string[] = [];
  const events: SyncEvent[] = [];
  const addresses: InterfaceAddress[] = [{ interfaceName: 'eth0', ip: '192.168.50.10' }];
  const { promise, resolve } = Promise.withResolvers<ObjectSink>();
  const act: World['act'] = {};
  const source: Source = {
    async start(sink) {
      resolve(sink);
    },
    async stop() {
      calls.push('source.stop');
    },
  };
  // What a faulty plugin returns has no type; the contract's types are only what it claims.
  const returned = <T>(value: unknown): T => value as T;
  const backend: Backend & Partial<SelfChecking & HealthReporting> = {
    families: options.serves ?? ['IPv4'],
    sync(change) {
      changes.push(change);
      const fine: SyncReport = { operations: change.upsert.length + change.remove.length, bytes: 10 };
      return returned(act.sync ? act.sync(change) : Promise.resolve(fine));
    },
    async cleanup() {},
    async close() {
      calls.push('backend.close');
    },
    health: () => returned(act.health ? act.health() : { healthy: true }),
  };
  if (options.checks) {
    backend.check = (family) => {
      calls.push(`check ${family}`);
      return returned(act.check ? act.check(family) : Promise.resolve({ intact: true }));
    };
  }
  const sync = await startSync({
    source,
    backend,
    backendName: 'fake',
    settings: SETTINGS,
    addresses: () => [...addresses],
    clock,
    log,
    onSync: (event) => events.push(event),
    ...options,
  });
  const told = (): Change[] => changes.splice(0);
  return { clock, log, sink: await promise, sync, told, addresses, events, calls, act };
}

/** A world whose first sync, of one Service, is done. */
export async function settledWorld(fill: (sink: ObjectSink) => void, options: WorldOptions = {}): Promise<World> {
  const made = await world(options);
  fill(made.sink);
  made.sink.synced();
  await made.clock.advance(0);
  made.told();
  made.log.lines.length = 0;
  return made;
}

/** A promise that settles after a time of the fake clock. */
export function later<T>(clock: Clock, milliseconds: number, value: T): Promise<T> {
  return new Promise((resolve) => clock.after(milliseconds, () => resolve(value)));
}
