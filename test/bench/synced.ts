/** The daemon's sync loop around a backend, fed by the benchmark instead of a source. IPv4, no pauses, no self-checks. */
import type { Backend, Logger, SyncReport } from '../../core/backend.ts';
import type { NodeSettings } from '../../core/model/node-settings.ts';
import { systemClock } from '../../core/node/clock.ts';
import type { ObjectSink } from '../../core/source/source.ts';
import { type Sync, startSync } from '../../core/sync/start.ts';
import { settings as sampleSettings } from '../unit/model/samples.ts';

export const settings: NodeSettings = sampleSettings({
  nodeName: 'bench',
  clusterCIDRs: ['10.244.0.0/16'],
  serviceCIDRs: [],
});

export const quiet: Logger = {
  error: (message, fields) => console.error(message, fields),
  warn: (message, fields) => console.error(message, fields),
  info() {},
  verbose() {},
  enabled: () => false,
};

export interface Synced {
  readonly objects: ObjectSink;
  readonly sync: Sync;
  /** Of the last sync. */
  report(): SyncReport;
}

export async function startSynced(backend: Backend, backendName: string, nodeSettings = settings): Promise<Synced> {
  let report: SyncReport = { operations: 0, bytes: 0 };
  let sink: ObjectSink | undefined;
  const source = {
    async start(to: ObjectSink) {
      sink = to;
    },
    async stop() {},
  };
  const sync = await startSync({
    source,
    backend,
    backendName,
    settings: nodeSettings,
    addresses: () => [{ interfaceName: 'lo', ip: '127.0.0.1' }],
    clock: systemClock,
    log: quiet,
    families: ['IPv4'],
    minSyncIntervalMs: 0,
    checkIntervalMs: 3_600_000,
    onSync: (event) => {
      report = event.report;
    },
  });
  return { objects: sink!, sync, report: () => report };
}
