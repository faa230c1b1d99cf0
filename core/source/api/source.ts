/**
 * A Kubernetes API server as the source of objects: four reflectors, and the moment when enough is known.
 *
 *   services        ─┐ both needed
 *   endpointslices  ─┴──▶ node: its addresses, for half a minute ──▶ its pod CIDRs, if asked for, 5 minutes ──▶ synced
 *   servicecidrs    ── never waited for
 *
 * Nothing is programmed before `synced`, so the waits are short where traffic depends on it; what comes later is
 * delivered like any other change. From then on the last known state stays in force, however long the server is away.
 */
import type { Clock, Logger } from '../../backend.ts';
import type { EndpointSlice, Node, Service, ServiceCIDR } from '../../model/objects.ts';
import type { ObjectSink, Source } from '../source.ts';
import type { ApiConnection } from './api-connection.ts';
import { createMirror, type Delivery, type ObjectProblem } from './mirror.ts';
import { createOutageLog } from './outage-log.ts';
import { createReflector, type Reflector, type ResourceStatus, type Streaming } from './reflector.ts';
import { endpointSlices, node, type Resource, type ResourceName, serviceCIDRs, services } from './resource.ts';

export type { ObjectProblem } from './mirror.ts';
export type { ResourceStatus } from './reflector.ts';

export interface ApiSourceOptions {
  /** From openConnection(); stays open when the source stops, because events are sent over it, too. */
  readonly connection: ApiConnection;
  readonly nodeName: string;
  /** NodeCIDR mode: local traffic cannot be told without the node's pod CIDRs. */
  readonly waitForPodCIDRs: boolean;
  /** How long to wait for the node's addresses once Services and EndpointSlices are there; default 30,000. */
  readonly waitForNodeMs?: number;
  readonly clock: Clock;
  readonly log: Logger;
  /** From 0 to below 1; for tests. */
  readonly random?: () => number;
  /** Told of each object with faults, besides the log. */
  readonly onProblem?: (problem: ObjectProblem) => void;
}

export interface ApiStatus {
  readonly server: string;
  /** synced() has been called. */
  readonly synced: boolean;
  readonly resources: Readonly<Record<ResourceName, ResourceStatus>>;
}

export interface ApiSource extends Source {
  status(): ApiStatus;
}

const WAIT_FOR_NODE_MS = 30_000;
const WAIT_FOR_POD_CIDRS_MS = 5 * 60_000;
/** An upgraded server may have learned it. */
const ASK_FOR_STREAMS_AGAIN_MS = 3_600_000;

export function apiSource(options: ApiSourceOptions): ApiSource {
  const { connection, nodeName, clock, log, random = Math.random, onProblem = () => {} } = options;
  const outages = createOutageLog({ log, clock, server: () => connection.server });
  const streaming = rememberRefusal(clock, log);
  let sink: ObjectSink | undefined;
  let stopped = false;
  let synced = false;
  let ourNode: Node | undefined;
  /** Set while something is waited for. */
  let cancelWait: (() => void) | undefined;
  let waitingFor: 'objects' | 'node' | 'pod CIDRs' | 'nothing' = 'objects';

  function reflect<T>(resource: Resource<T>, delivery: Delivery<T>): Reflector {
    const mirror = createMirror({ resource, delivery, onProblem, log });
    return createReflector({
      resource,
      mirror,
      connection,
      onPublished: advance,
      streaming,
      outages,
      clock,
      log,
      random,
    });
  }

  const reflectors: Readonly<Record<ResourceName, Reflector>> = {
    services: reflect<Service>(services(), {
      upsert: (service) => sink?.upsertService(service),
      remove: (namespace, name) => sink?.deleteService(namespace, name),
    }),
    endpointslices: reflect<EndpointSlice>(endpointSlices(), {
      upsert: (slice) => sink?.upsertEndpointSlice(slice),
      remove: (namespace, name) => sink?.deleteEndpointSlice(namespace, name),
    }),
    nodes: reflect<Node>(node(nodeName), {
      upsert(found) {
        ourNode = found;
        sink?.upsertNode(found);
        advance();
      },
      remove(_namespace, name) {
        ourNode = undefined;
        sink?.deleteNode(name);
      },
    }),
    servicecidrs: reflect<ServiceCIDR>(serviceCIDRs(), {
      upsert: (range) => sink?.upsertServiceCIDR(range),
      remove: (_namespace, name) => sink?.deleteServiceCIDR(name),
    }),
  };
  const all = Object.values(reflectors);

  /** Whatever has just come: is it enough for the next stage? */
  function advance(): void {
    if (stopped) return;
    if (waitingFor === 'objects') {
      if (!reflectors.services.status().synced || !reflectors.endpointslices.status().synced) return;
      waitFor('node', options.waitForNodeMs ?? WAIT_FOR_NODE_MS);
    }
    if (waitingFor === 'node' && (ourNode?.ips.length ?? 0) > 0) afterNode();
    if (waitingFor === 'pod CIDRs' && (ourNode?.podCIDRs.length ?? 0) > 0) finish();
  }

  function afterNode(): void {
    if (options.waitForPodCIDRs && (ourNode?.podCIDRs.length ?? 0) === 0) waitFor('pod CIDRs', WAIT_FOR_POD_CIDRS_MS);
    else finish();
  }

  function waitFor(what: 'node' | 'pod CIDRs', milliseconds: number): void {
    cancelWait?.();
    waitingFor = what;
    cancelWait = clock.after(milliseconds, () => {
      const values = { node: nodeName, seconds: milliseconds / 1000 };
      if (what === 'node') {
        log.warn(
          'The Node object of this node has not come, or has no addresses; going on without them until it does. If the ' +
            'node is registered under another name, give it as --hostname-override',
          values,
        );
        afterNode();
      } else {
        log.error(
          'This node has no pod CIDRs; going on without telling its pods from others, until it gets some. Let the ' +
            'controller manager allocate them (--allocate-node-cidrs), or use another detectLocalMode',
          values,
        );
        finish();
      }
    });
  }

  function finish(): void {
    cancelWait?.();
    waitingFor = 'nothing';
    synced = true;
    try {
      sink?.synced();
    } catch (error) {
      log.error('The first complete state could not be announced; this is a bug', { error });
    }
  }

  return {
    async start(target) {
      sink = target;
      log.verbose(2, 'Reading from the API server', { server: connection.server, node: nodeName });
      for (const reflector of all) reflector.start();
    },
    async stop() {
      stopped = true;
      cancelWait?.();
      await Promise.all(all.map((reflector) => reflector.stop()));
    },
    status: () => ({
      server: connection.server,
      synced,
      resources: {
        services: reflectors.services.status(),
        endpointslices: reflectors.endpointslices.status(),
        nodes: reflectors.nodes.status(),
        servicecidrs: reflectors.servicecidrs.status(),
      },
    }),
  };
}

function rememberRefusal(clock: Clock, log: Logger): Streaming {
  let refusedAt = Number.NEGATIVE_INFINITY;
  const isRefused = (): boolean => clock.now() - refusedAt < ASK_FOR_STREAMS_AGAIN_MS;
  return {
    isRefused,
    refused(why) {
      if (!isRefused()) log.verbose(1, 'The API server does not stream lists; they are read in pages', { why });
      refusedAt = clock.now();
    },
  };
}
