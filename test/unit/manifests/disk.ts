/** A folder of its own for each test, a source on it, and what the source delivered. */
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '../../../core/backend.ts';
import type { EndpointSlice, Node, Service } from '../../../core/model/objects.ts';
import { type ManifestProblem, manifestSource } from '../../../core/source/manifests/source.ts';
import type { ObjectSink, Source } from '../../../core/source/source.ts';
import { type FakeLog, fakeLog } from '../sync/fake-log.ts';

export const realClock: Clock = {
  now: () => performance.now(),
  after(milliseconds, callback) {
    const timer = setTimeout(callback, milliseconds);
    return () => clearTimeout(timer);
  },
};

/** Takes this many times as long: what must come quickly may then take its time on a busy machine. */
export function slowClock(times: number): Clock {
  return {
    now: () => realClock.now() / times,
    after: (milliseconds, callback) => realClock.after(milliseconds * times, callback),
  };
}

export interface Delivered extends ObjectSink {
  readonly services: Map<string, Service>;
  readonly slices: Map<string, EndpointSlice>;
  readonly nodes: Map<string, Node>;
  /** Every call, for example "upsertService default/web". */
  readonly calls: string[];
}

export interface Disk {
  readonly folder: string;
  readonly log: FakeLog;
  readonly delivered: Delivered;
  readonly problems: ManifestProblem[];
  readonly source: Source;
  /** Replace a file as careful writers do, in one step. */
  write(name: string, text: string): Promise<void>;
}

/** Run a test on a fresh folder; `path` of the source is the folder, or a file in it. */
export async function onDisk(run: (disk: Disk) => Promise<void>, file = '', clock: Clock = realClock): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'manifests-'));
  const folder = join(root, 'manifests');
  await mkdir(folder);
  const log = fakeLog();
  const problems: ManifestProblem[] = [];
  const source = manifestSource({
    path: file === '' ? folder : join(folder, file),
    log,
    clock,
    onProblem: (problem) => problems.push(problem),
  });
  try {
    await run({
      folder,
      log,
      problems,
      source,
      delivered: sink(),
      async write(name, text) {
        await writeFile(join(folder, `.${name}.new`), text);
        await rename(join(folder, `.${name}.new`), join(folder, name));
      },
    });
  } finally {
    await source.stop();
    await rm(root, { recursive: true, force: true });
  }
}

/** Wait until something holds; fails after a time that only a fault can take. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 8_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited in vain: ${what}`);
    await pause(10);
  }
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function sink(): Delivered {
  const services = new Map<string, Service>();
  const slices = new Map<string, EndpointSlice>();
  const nodes = new Map<string, Node>();
  const calls: string[] = [];
  return {
    services,
    slices,
    nodes,
    calls,
    upsertService(service) {
      calls.push(`upsertService ${service.namespace}/${service.name}`);
      services.set(`${service.namespace}/${service.name}`, service);
    },
    deleteService(namespace, name) {
      calls.push(`deleteService ${namespace}/${name}`);
      services.delete(`${namespace}/${name}`);
    },
    upsertEndpointSlice(slice) {
      calls.push(`upsertEndpointSlice ${slice.namespace}/${slice.name}`);
      slices.set(`${slice.namespace}/${slice.name}`, slice);
    },
    deleteEndpointSlice(namespace, name) {
      calls.push(`deleteEndpointSlice ${namespace}/${name}`);
      slices.delete(`${namespace}/${name}`);
    },
    upsertNode(node) {
      calls.push(`upsertNode ${node.name}`);
      nodes.set(node.name, node);
    },
    deleteNode(name) {
      calls.push(`deleteNode ${name}`);
      nodes.delete(name);
    },
    upsertServiceCIDR({ name, cidrs }) {
      calls.push(`upsertServiceCIDR ${name} ${cidrs.join(' ')}`);
    },
    deleteServiceCIDR(name) {
      calls.push(`deleteServiceCIDR ${name}`);
    },
    synced: () => {
      calls.push('synced');
    },
  };
}

export function serviceYaml(name: string, port = 80): string {
  return `apiVersion: v1
kind: Service
metadata:
  name: ${name}
spec:
  clusterIP: 10.96.0.10
  ports:
  - name: http
    port: ${port}
`;
}

export function sliceYaml(name: string, service: string, ip = '10.244.1.2'): string {
  return `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: ${name}
  labels:
    kubernetes.io/service-name: ${service}
addressType: IPv4
ports:
- name: http
  port: 8080
endpoints:
- addresses: [${ip}]
`;
}

export function nodeYaml(name: string): string {
  return `apiVersion: v1
kind: Node
metadata:
  name: ${name}
status:
  addresses:
  - type: InternalIP
    address: 192.168.50.10
`;
}
