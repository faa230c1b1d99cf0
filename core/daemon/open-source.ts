/** Where the settings say that objects come from, opened: the API server or manifests; with it, where events go. */
import type { Clock } from '../backend.ts';
import type { Settings } from '../config/settings.ts';
import { badObject } from '../observe/event-reasons.ts';
import { createEvents, type Events } from '../observe/events.ts';
import type { Log } from '../observe/log.ts';
import type { SourceFacts } from '../observe/metrics.ts';
import type { RequestInfo } from '../source/api/api-connection.ts';
import { manifestSource } from '../source/manifests/source.ts';
import type { Source } from '../source/source.ts';

export interface OpenSource {
  readonly source: Source;
  /** To the API server; with manifests, to the log only. */
  readonly events: Events;
  /** For the log: { manifests } or { server }. */
  readonly description: Readonly<Record<string, string>>;
  /** There is a Node object for every node. */
  readonly hasNodes: boolean;
  facts(): readonly SourceFacts[];
  /** Stops the source if it still runs. */
  close(): Promise<void>;
}

export interface OpenSourceOptions {
  readonly settings: Settings;
  /** The hostname override, or the hostname. */
  readonly nodeName: string;
  /** Of this program, for the User-Agent. */
  readonly version: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly onRequest: (info: RequestInfo) => void;
}

/** Rejects if what the settings name cannot be used at all: no such path, a kubeconfig that makes no sense. */
export async function openSource(options: OpenSourceOptions): Promise<OpenSource> {
  const { settings, nodeName, version, clock, log, onRequest } = options;
  const eventLog = log.child('events');
  const from = settings.source;
  if (from.kind === 'manifests') {
    const source = manifestSource({ path: from.path, log: log.child('manifests'), clock });
    return {
      source,
      events: createEvents({ api: undefined, nodeName, clock, now: Date.now, log: eventLog }),
      description: { manifests: from.path },
      hasNodes: false,
      facts: () => [],
      close: () => source.stop(),
    };
  }

  const { kubeconfig, master, qps, burst } = from;
  // The client library is large; who uses manifests does without.
  const { openConnection } = await import('../source/api/connection.ts');
  const { apiSource } = await import('../source/api/source.ts');
  const connection = await openConnection({
    kubeconfig,
    master,
    qps,
    burst,
    clock,
    log: log.child('api'),
    userAgent: `kube-proxy/${version} (linux/${process.arch})`,
    observer: { onRequest },
  });
  const events = createEvents({ api: connection, nodeName, clock, now: Date.now, log: eventLog });
  const source = apiSource({
    connection,
    nodeName,
    waitForPodCIDRs: settings.node.detectLocalMode === 'NodeCIDR',
    clock,
    log: log.child('api'),
    onProblem: ({ problems, ignored, ...object }) => events.record(badObject(object, problems, ignored)),
  });
  return {
    source,
    events,
    description: { server: connection.server },
    hasNodes: true,
    facts() {
      const now = clock.now();
      return Object.entries(source.status().resources).map(([resource, one]) => ({
        resource,
        synced: one.synced,
        secondsSinceContact: one.lastContactMs === undefined ? undefined : (now - one.lastContactMs) / 1000,
        objects: one.objects,
        lists: one.relists + Number(one.synced),
        watches: one.watches,
        failures: one.failures,
      }));
    },
    async close() {
      await source.stop();
      await events.stop();
      connection.close();
    },
  };
}
