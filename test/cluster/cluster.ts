/**
 * The cluster that the end-to-end tests run against, and everything of theirs in it.
 *
 *   npm test -- test/cluster                                our own API server (test/apiserver), started by each file
 *   KUBECONFIG=FILE npm test -- test/cluster                that cluster
 *
 * A real one need be no more than a kube-apiserver with its etcd: nothing waits for a controller, a kubelet or a
 * token. In a whole cluster, controllers have no part in what the tests make: Services have no selector, Nodes are
 * tainted and unschedulable. What the kubeconfig's user must be allowed: to write Namespaces, Nodes, Services,
 * EndpointSlices, ServiceCIDRs and Events. FILE is one file; its credentials and server are all that is used of it. This
 * machine must not be a node of that cluster, where the other proxy has the healthCheckNodePorts already.
 *
 * Tests write into a namespace and to Nodes with random names beginning with "kube-proxy-e2e-", and touch nothing
 * that they did not make. Two things are seen by the whole cluster for some seconds: a ServiceCIDR of addresses for
 * documentation, and Nodes that never become ready. All of it is deleted at the end, also after failures and on
 * SIGTERM; after SIGKILL, look for the label app.kubernetes.io/managed-by=kube-proxy-e2e.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import type { IPFamily } from '../../core/backend.ts';
import { opensslProblem } from '../apiserver/certificates.ts';
import type { Rule } from '../apiserver/http/auth.ts';
import { type ApiServer, startApiServer } from '../apiserver/server.ts';
import { skip } from '../skip.ts';
import { type Client, type MergePatch, openClient, type RawObject } from './client.ts';
import { placeOf, wayToCluster } from './isolated.ts';
import { type AccessChanges, readAccess, writeAccess } from './kubeconfig.ts';
import { address, type ServiceObject, service } from './objects.ts';
import { type Place, type Relay, startRelay } from './relay.ts';

export interface NodeOptions {
  /** Its InternalIPs. Default: one for documentation of each family. */
  readonly ips?: readonly string[];
  readonly podCIDRs?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
}

export interface NodeObject extends RawObject {
  readonly kind: 'Node';
  readonly spec?: { readonly podCIDRs?: readonly string[]; readonly taints?: readonly MergePatch[] };
}

export interface Cluster {
  readonly kind: 'test server' | 'real';
  /** For the program under test. With our own server: the user system:kube-proxy with no more than it needs. */
  readonly kubeconfig: string;
  /** As an administrator. */
  readonly client: Client;
  /** Made for this file of tests. */
  readonly namespace: string;
  /** Of a Node object without a machine, for the program to take for its own. */
  readonly nodeName: string;
  /** Families in which Services get addresses, the primary one first. */
  readonly families: readonly [IPFamily, ...IPFamily[]];
  /** Ours: to script faults, and to see what was asked. Undefined for a real cluster. */
  readonly server: ApiServer | undefined;
  /** For files of the test; removed at the end. */
  readonly folder: string;
  /** Where connections to the server go. */
  readonly place: Place;
  /** A kubeconfig for another way to the server, or another user. */
  kubeconfigFor(changes: AccessChanges): string;
  /** A unix socket that leads to the server, for other network namespaces. */
  socket(): Promise<string>;
  createNode(options?: NodeOptions): Promise<NodeObject>;
  /** A name for something outside the namespace. */
  randomName(): string;
  /** Take back everything; never rejects. */
  close(): Promise<void>;
}

const LABELS = { 'app.kubernetes.io/managed-by': 'kube-proxy-e2e' };
export const PROXY_USER = 'system:kube-proxy';

/** Exactly what the program asks for. Less than the role system:node-proxier allows, so that the role suffices. */
export const PROXY_RULES: readonly Rule[] = [
  { subject: PROXY_USER, verbs: ['list', 'watch'], groups: [''], resources: ['services', 'nodes'] },
  { subject: PROXY_USER, verbs: ['list', 'watch'], groups: ['discovery.k8s.io'], resources: ['endpointslices'] },
  { subject: PROXY_USER, verbs: ['list', 'watch'], groups: ['networking.k8s.io'], resources: ['servicecidrs'] },
  { subject: PROXY_USER, verbs: ['create', 'patch'], groups: ['events.k8s.io'], resources: ['events'] },
];

/** How to get at the server, before anything is made in it. */
interface Ways {
  readonly kind: Cluster['kind'];
  readonly server: ApiServer | undefined;
  readonly admin: string;
  readonly kubeconfig: string;
  readonly place: Place;
  kubeconfigFor(changes: AccessChanges): string;
  close(): Promise<void>;
}

/** `node`: what the Node object is to be like. Where there can be no server, the whole file counts as skipped. */
export async function openCluster(node: NodeOptions = {}): Promise<Cluster> {
  const folder = mkdtempSync(join(tmpdir(), 'cluster-'));
  const ways = await openWays(folder);
  const client = await openClient(ways.admin);
  const sockets: Relay[] = [];
  const nodes: string[] = [];
  let closing: Promise<void> | undefined;

  const randomName = (): string => `kube-proxy-e2e-${randomBytes(4).toString('hex')}`;
  const namespace = randomName();

  async function createNode(options: NodeOptions = {}): Promise<NodeObject> {
    const { ips = [address('IPv4', 250), '2001:db8::fa'], podCIDRs, labels = {} } = options;
    const made = await client.create({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: randomName(), labels: { ...LABELS, ...labels } },
      spec: {
        unschedulable: true,
        taints: [{ key: 'kube-proxy-e2e', effect: 'NoExecute' }],
        ...(podCIDRs === undefined ? {} : { podCIDRs }),
      },
    });
    nodes.push(made.metadata.name);
    const addresses = ips.map((ip) => ({ type: 'InternalIP', address: ip }));
    return client.patch<NodeObject>(made as NodeObject, { status: { addresses } }, 'status');
  }

  async function socket(): Promise<string> {
    if ('path' in ways.place) return ways.place.path;
    const path = join(folder, 'api.sock');
    if (sockets.length === 0) sockets.push(await startRelay({ path }, ways.place));
    return path;
  }

  /** Each step whatever became of those before. */
  async function takeBack(): Promise<void> {
    let alone = false;
    const steps = [
      async () => {
        alone = await lacksControllers(client, namespace);
      },
      () => client.deleteAll(),
      () => deleteEventsAbout(client, nodes),
      async () => void (alone && (await finishNamespace(client, namespace))),
      async () => client.close(),
      ...sockets.map((relay) => () => relay.close()),
      () => ways.close(),
      async () => rmSync(folder, { recursive: true, force: true }),
    ];
    for (const step of steps) {
      await step().catch((error) => process.stderr.write(`left behind by the tests: ${error}\n`));
    }
    for (const signal of SIGNALS) process.off(signal, leave);
  }

  function close(): Promise<void> {
    closing ??= takeBack();
    return closing;
  }
  const leave = (): void => void close().then(() => process.exit(1));
  for (const signal of SIGNALS) process.on(signal, leave);

  try {
    await client.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace, labels: LABELS } });
    const families = await familiesOf(client, namespace);
    const { metadata } = await createNode(node);
    const { kind, server, kubeconfig, place, kubeconfigFor } = ways;
    return {
      ...{ kind, server, kubeconfig, place, kubeconfigFor, client, namespace, families, folder },
      nodeName: metadata.name,
      socket,
      createNode,
      randomName,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

async function openWays(folder: string): Promise<Ways> {
  const way = wayToCluster();
  const file = way?.kubeconfig ?? process.env.KUBECONFIG ?? '';
  if (file === '') return ownServer(folder);
  const access = readAccess(file);
  let kubeconfigs = 0;
  const kubeconfigFor = (changes: AccessChanges): string =>
    writeAccess(folder, `kubeconfig-${++kubeconfigs}`, access, changes);
  const real = { kind: 'real', server: undefined, kubeconfigFor } as const;
  if (way === undefined) {
    return { ...real, admin: file, kubeconfig: file, place: placeOf(access), close: async () => {} };
  }
  const place = { path: way.socket };
  const relay = await startRelay({ host: '127.0.0.1', port: 0 }, place);
  const kubeconfig = kubeconfigFor({ port: relay.port });
  // Whoever asks for another user means the same way.
  const sameWay = (changes: AccessChanges): string => kubeconfigFor({ port: relay.port, ...changes });
  return { ...real, kubeconfigFor: sameWay, admin: kubeconfig, kubeconfig, place, close: relay.close };
}

async function ownServer(folder: string): Promise<Ways> {
  const problem = opensslProblem();
  if (problem !== undefined) {
    skip(`all of ${relative(process.cwd(), process.argv[1] ?? '')}`, problem);
    process.exit(0);
  }
  const server = await startApiServer({ rules: PROXY_RULES });
  const { path: kubeconfig } = server.kubeconfigFor({ kind: 'token', token: server.tokens.issue(PROXY_USER) });
  let kubeconfigs = 0;
  return {
    kind: 'test server',
    server,
    admin: server.adminKubeconfig(),
    kubeconfig,
    place: { host: '127.0.0.1', port: server.port },
    kubeconfigFor({ as, ...changes }) {
      const name = `kubeconfig-for-${++kubeconfigs}`;
      const token = server.tokens.issue(as ?? PROXY_USER);
      return writeAccess(folder, name, readAccess(server.kubeconfigFor({ kind: 'token', token }, name).path), changes);
    },
    close: () => server.stop(),
  };
}

/** By what the server gives to a Service that asks for both. */
async function familiesOf(client: Client, namespace: string): Promise<[IPFamily, ...IPFamily[]]> {
  const probe = await client.create<ServiceObject>(
    service(namespace, 'families', { ipFamilyPolicy: 'PreferDualStack' }),
  );
  const [first, ...others] = (probe.spec.clusterIPs ?? []).map((ip) => (ip.includes(':') ? 'IPv6' : 'IPv4'));
  await client.delete(probe);
  if (first === undefined) throw new Error('the server gives Services no addresses; it has no ServiceCIDR');
  return [first, ...others];
}

/** Events about a Node are not in our namespace. */
async function deleteEventsAbout(client: Client, nodes: readonly string[]): Promise<void> {
  for (const name of nodes) {
    for (const event of await client.list('Event', 'default', `regarding.name=${name}`)) await client.delete(event);
  }
}

/** Every namespace gets a service account, from a controller; a kube-apiserver alone makes none. */
async function lacksControllers(client: Client, namespace: string): Promise<boolean> {
  const { status, text } = await client.request('GET', `/api/v1/namespaces/${namespace}/serviceaccounts`);
  return status === 200 && JSON.parse(text).items.length === 0;
}

/**
 * A deleted namespace goes when the namespace controller has emptied it and taken its finalizer away. Where there are
 * no controllers we do it, and it must be empty then.
 */
async function finishNamespace(client: Client, namespace: string): Promise<void> {
  const left = await client.get<RawObject>({ kind: 'Namespace', metadata: { name: namespace } });
  if (left?.metadata.deletionTimestamp === undefined) return;
  for (const event of await client.list('Event', namespace)) await client.delete(event);
  await client.request('PUT', `/api/v1/namespaces/${namespace}/finalize`, { ...left, spec: { finalizers: [] } });
}
