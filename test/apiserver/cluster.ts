/** The state of a test cluster and the rules of writing to it, without any connection: what server.ts serves. */
import { randomUUID } from 'node:crypto';
import { objectOf } from './api/objects.ts';
import { createWriter, type Writer } from './api/writes.ts';
import type { KubeObject } from './kinds/kind.ts';
import { KINDS } from './kinds/kinds.ts';
import { claimsOf } from './kinds/service.ts';
import { createObjects, type Objects } from './objects.ts';
import { createAllocator } from './store/allocator.ts';
import { createStore, type Store } from './store/store.ts';

export interface TestClusterOptions {
  /** Ranges of ClusterIPs, in the ServiceCIDR "kubernetes", primary first; [] = none. Default 10.96.0.0/16 and fd00:10:96::/108. */
  readonly serviceCIDRs?: readonly string[];
  /** Changes per resource that watches can resume from. Default 100,000. */
  readonly historyWindow?: number;
  /** Default true. */
  readonly managedFields?: boolean;
}

export interface TestCluster {
  readonly store: Store;
  readonly writer: Writer;
  readonly objects: Objects;
  /** Back to a past version, with the addresses and ports that were held then. */
  restore(resourceVersion: number): void;
}

const FIRST_VERSION = 1000;
const NAMESPACES = ['default', 'kube-node-lease', 'kube-public', 'kube-system'];
const RANGES = ['10.96.0.0/16', 'fd00:10:96::/108'];

export function createCluster(options: TestClusterOptions = {}): TestCluster {
  const plurals = KINDS.map(({ plural }) => plural);
  const store = createStore(plurals, options.historyWindow ?? 100_000, FIRST_VERSION);
  const allocator = createAllocator();
  const list = (plural: string): readonly KubeObject[] => store.table(plural).list().map(objectOf);
  const writer = createWriter({
    store,
    cluster: { allocator },
    managedFields: options.managedFields ?? true,
    now: () => new Date(),
    newUID: randomUUID,
  });
  const objects = createObjects(store, writer);
  const configured = options.serviceCIDRs ?? RANGES;
  const useRanges = (): void => {
    const ranges = list('servicecidrs').flatMap(({ spec }) => (spec as { cidrs?: string[] }).cidrs ?? []);
    // The order of the server's flag decides which family is the primary one.
    allocator.setRanges(ranges.sort((a, b) => Number(b === configured[0]) - Number(a === configured[0])));
  };
  store.table('servicecidrs').subscribe(useRanges);
  populate(objects, configured);
  return {
    store,
    writer,
    objects,
    restore(resourceVersion) {
      store.restore(resourceVersion);
      useRanges();
      allocator.reset(list('services').map(claimsOf));
    },
  };
}

/** What every cluster begins with, as far as it matters here. */
function populate(objects: Objects, cidrs: readonly string[]): void {
  for (const name of NAMESPACES) objects.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
  if (cidrs.length === 0) return;
  const ready = {
    type: 'Ready',
    status: 'True',
    lastTransitionTime: '2026-01-01T00:00:00Z',
    reason: '',
    message: 'Kubernetes Service CIDR is ready',
  };
  objects.apply({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'ServiceCIDR',
    metadata: { name: 'kubernetes' },
    spec: { cidrs },
    status: { conditions: [ready] },
  });
}
