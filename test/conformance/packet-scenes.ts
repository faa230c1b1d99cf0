/** What clients live through: behaviours that take more than one packet each. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { IPFamily, Protocol } from '../../core/backend.ts';
import type { Outcome, Request } from '../netns/agent-protocol.ts';
import type { World } from '../netns/world.ts';
import type { Pod } from '../netns/world-topology.ts';
import { answerer } from './ask.ts';
import { broken, type Sentence, untried } from './behaviour.ts';
import { ENDPOINT_PORT, endpointSlice, type KubernetesObject, type ServiceSpec, service } from './objects.ts';
import type { Proxy } from './proxy.ts';

export interface Stage {
  readonly world: World;
  readonly proxy: Proxy;
  /** Where to ask. */
  readonly target: (family: IPFamily) => Pick<Request, 'destinationIP' | 'destinationPort'>;
}

export interface Scene extends Sentence {
  /** What it sends; default: TCP. */
  readonly protocol?: Protocol;
  play(stage: Stage): Promise<{ readonly note: string } | undefined>;
}

/** Of the Service that scenes are played with. */
export const SCENE_IP: Readonly<Record<IPFamily, string>> = { IPv4: '10.96.200.1', IPv6: 'fd00:10:96::2001' };
export const [SCENE_PORT, SCENE_NODE_PORT] = [80, 30200];
const TIMEOUT_MS = 3000;
const SOON_MS = 5000;

function web(
  pods: readonly Pod[],
  spec: Partial<ServiceSpec> = {},
  protocol: 'TCP' | 'UDP' = 'TCP',
): readonly KubernetesObject[] {
  const port = { name: '', protocol, port: SCENE_PORT };
  return [
    service({
      name: 'web',
      type: 'NodePort',
      clusterIPs: SCENE_IP,
      ports: [{ ...port, nodePort: SCENE_NODE_PORT }],
      ...spec,
    }),
    ...(['IPv4', 'IPv6'] as const).map((family) =>
      endpointSlice({
        service: 'web',
        family,
        port: { ...port, port: ENDPOINT_PORT },
        endpoints: pods.map((pod) => ({ ip: pod.ip[family], nodeName: pod.nodeName })),
      }),
    ),
  ];
}

/** So many new connections at once; who answered each. */
async function ask(
  { world, target }: Stage,
  from: string,
  family: IPFamily,
  count: number,
  source: (index: number) => string | undefined = () => undefined,
): Promise<readonly string[]> {
  const requests = Array.from({ length: count }, (_, index) => {
    const sourceIP = source(index);
    const one = { protocol: 'TCP' as const, ...target(family), timeoutMs: TIMEOUT_MS };
    return sourceIP === undefined ? one : { ...one, sourceIP };
  });
  return (await world.requests(from, requests, 16)).map(answerer);
}

function expectOnly(servers: readonly string[], allowed: readonly string[], when: string): void {
  const others = servers.filter((server) => !allowed.includes(server));
  if (others.length > 0) {
    const said = `${others.length} of ${servers.length} ${when}: ${[...new Set(others)].join(', ')}`;
    throw broken(`answers of ${allowed.join(' or ')} only`, said);
  }
}

/** Of TCP, while something happens; all must be answered. */
async function underConnections(
  { world, proxy, target }: Stage,
  act: () => Promise<void>,
): Promise<{ readonly note: string }> {
  const family = proxy.families[0]!;
  const request = { protocol: 'TCP' as const, ...target(family), timeoutMs: TIMEOUT_MS };
  const floods = await Promise.all(
    ['client', 'pod-c'].map((from) => world.flood(from, { request, limitMs: 60_000, concurrency: 2, pauseMs: 2 })),
  );
  const stop = () => Promise.all(floods.map((flood) => flood.stop()));
  await act().catch(async (error: unknown) => {
    await stop();
    throw error;
  });
  let total = 0;
  for (const { total: each, outcomes } of await stop()) {
    total += each;
    const failed = Object.entries(outcomes).filter(([outcome]) => outcome !== 'answered');
    if (failed.length > 0) {
      const said = failed.map(([outcome, count]) => `${count} ${outcome}`).join(', ');
      throw broken(`all ${each} connections to be answered`, said);
    }
  }
  return { note: `${total} connections` };
}

function told(outcome: Outcome): string {
  return outcome.outcome === 'answered' ? `an answer of ${outcome.server}` : outcome.outcome;
}

export const SCENES: readonly Scene[] = [
  {
    id: 'spread',
    sentence: 'Connections spread over all endpoints',
    contract: 'ServicePort.cluster: endpoints that may answer',
    remedy: 'choose an endpoint anew for each connection, at random or in turn',
    async play(stage) {
      const { world, proxy } = stage;
      const all = [...world.pods, ...world.remotePods];
      await proxy.apply(web(all));
      for (const family of proxy.families) {
        const servers = await ask(stage, 'client', family, 120);
        expectOnly(
          servers,
          all.map(({ name }) => name),
          `to 5 endpoints in ${family}`,
        );
        // By chance one of five is left out by 120 connections once in 10^11 times.
        const missing = all.filter(({ name }) => !servers.includes(name));
        if (missing.length > 0) {
          throw broken(
            'answers of all five endpoints',
            `none of ${missing.map(({ name }) => name).join(', ')} in ${family}`,
          );
        }
      }
      return { note: '120 connections to 5 endpoints' };
    },
  },
  {
    id: 'hairpin',
    sentence: 'A pod reaches itself through its Service',
    contract: 'ServicePort: the table of masquerading, its column "itself (hairpin)"',
    remedy: 'masquerade connections whose endpoint is their own source, whatever else holds',
    async play({ world, proxy, target }) {
      await proxy.apply(web(world.pods.slice(0, 1)));
      const pod = world.pods[0]!;
      for (const family of proxy.families) {
        const request = {
          protocol: 'TCP' as const,
          ...target(family),
          timeoutMs: TIMEOUT_MS,
        };
        const outcome = await world.request(pod.namespace, request);
        if (answerer(outcome) !== pod.name)
          throw broken(`an answer of ${pod.name} itself`, `${told(outcome)} in ${family}`);
      }
      return undefined;
    },
  },
  {
    id: 'affinity',
    sentence: 'Clients with session affinity keep their endpoint, and leave it when it goes',
    contract: 'ServicePort.affinitySeconds: "seconds a client keeps its endpoint after its last new connection"',
    remedy: 'remember the endpoint of each client address and service port for that time',
    async play(stage) {
      const { world, proxy } = stage;
      for (const family of proxy.families) {
        const clients = world.clientIPs[family];
        const source = (index: number): string => clients[index % clients.length]!;
        const affinity = { affinitySeconds: 600 };
        await proxy.apply(web(world.pods, affinity));
        const first = await ask(stage, 'client', family, clients.length, source);
        expectOnly(
          first,
          world.pods.map(({ name }) => name),
          `at first in ${family}`,
        );
        const again = await ask(stage, 'client', family, clients.length * 3, source);
        const moved = again.filter((server, index) => server !== first[index % clients.length]).length;
        if (moved > 0)
          throw broken('the same endpoint each time', `another one for ${moved} of ${again.length} in ${family}`);
        await proxy.apply(web(world.pods.slice(0, 2), affinity));
        const after = await ask(stage, 'client', family, clients.length, source);
        expectOnly(after, ['pod-a', 'pod-b'], `after pod-c went in ${family}`);
        const left = after.filter((server, index) => first[index] !== 'pod-c' && server !== first[index]).length;
        if (left > 0) throw broken('clients of other endpoints to stay', `${left} moved in ${family}`);
      }
      return { note: `${world.clientIPs.IPv4.length} clients` };
    },
  },
  {
    id: 'live-change',
    sentence: 'While endpoints come and go, every new connection is answered, and none by an endpoint that left',
    contract: 'Backend.sync(): "MUST be atomic where the kernel allows it."',
    remedy: 'replace what serves a port in one step; never remove the old before the new is there',
    async play(stage) {
      const { world, proxy } = stage;
      await proxy.apply(web(world.pods));
      const result = await underConnections(stage, async () => {
        for (let round = 0; round < 6; round++) await proxy.apply(web(world.pods.slice(0, 1 + (round % 3))));
      });
      await proxy.apply(web(world.pods.slice(1, 2)));
      for (const family of proxy.families)
        expectOnly(await ask(stage, 'client', family, 20), ['pod-b'], `in ${family}`);
      return result;
    },
  },
  {
    id: 'tcp-stays',
    sentence: 'A TCP connection keeps its endpoint when others come and go',
    contract: 'Backend.sync(): changes are for new connections',
    remedy: 'leave established connections to conntrack, or to whatever forwards them',
    async play({ world, proxy, target }) {
      await proxy.apply(web(world.pods.slice(0, 1)));
      const family = proxy.families[0]!;
      const request = {
        protocol: 'TCP' as const,
        ...target(family),
        timeoutMs: TIMEOUT_MS,
      };
      const flow = await world.hold('client', request);
      try {
        await proxy.apply(web(world.pods));
        await proxy.apply(web(world.pods.slice(0, 2)));
        const outcome = await flow.ping(TIMEOUT_MS);
        if (answerer(outcome) !== 'pod-a') throw broken('an answer of pod-a over the same connection', told(outcome));
      } finally {
        await flow.close();
      }
      return undefined;
    },
  },
  {
    id: 'udp-moves',
    protocol: 'UDP',
    sentence: 'A UDP client whose endpoint goes is answered by another one, from the same port',
    contract: 'UsesConntrack: "the core deletes the entries of UDP flows whose translation is no longer right"',
    remedy: 'set usesConntrack: true if the data plane is NAT of conntrack; else forget the flow yourself',
    async play({ world, proxy, target }) {
      await proxy.apply(web(world.pods.slice(0, 1), {}, 'UDP'));
      const family = proxy.families[0]!;
      const request = {
        protocol: 'UDP' as const,
        ...target(family),
        timeoutMs: TIMEOUT_MS,
      };
      const flow = await world.hold('client', request);
      try {
        if (answerer(flow.first) !== 'pod-a') throw broken('an answer of pod-a', told(flow.first));
        await proxy.apply(web(world.pods.slice(1, 2), {}, 'UDP'));
        // The core deletes such entries off the sync's path, a moment later.
        const end = performance.now() + SOON_MS;
        let outcome = await flow.ping(TIMEOUT_MS);
        while (answerer(outcome) !== 'pod-b' && performance.now() < end) {
          await sleep(100);
          outcome = await flow.ping(TIMEOUT_MS);
        }
        if (answerer(outcome) !== 'pod-b') throw broken('answers of pod-b', told(outcome));
      } finally {
        await flow.close();
      }
      return undefined;
    },
  },
  {
    id: 'udp-ends',
    protocol: 'UDP',
    sentence: 'A UDP client whose last endpoint goes is refused, from the same port',
    contract: 'UsesConntrack: "the core deletes the entries of UDP flows whose translation is no longer right"',
    remedy: 'set usesConntrack: true, and answersAt if the backend answers itself; else forget the flow yourself',
    async play({ world, proxy, target }) {
      await proxy.apply(web(world.pods.slice(0, 1), {}, 'UDP'));
      const family = proxy.families[0]!;
      const flow = await world.hold('client', { protocol: 'UDP', ...target(family), timeoutMs: TIMEOUT_MS });
      try {
        if (answerer(flow.first) !== 'pod-a') throw broken('an answer of pod-a', told(flow.first));
        await proxy.apply(web([], {}, 'UDP'));
        const end = performance.now() + SOON_MS;
        let outcome = await flow.ping(TIMEOUT_MS);
        while (outcome.outcome !== 'refused' && performance.now() < end) {
          await sleep(100);
          outcome = await flow.ping(TIMEOUT_MS);
        }
        if (outcome.outcome !== 'refused') throw broken('a refusal', told(outcome));
      } finally {
        await flow.close();
      }
      return undefined;
    },
  },
  {
    id: 'restart',
    sentence: 'The data plane serves while the program is stopped, killed and started again',
    contract: 'Backend.close(): "rules outlive the process"; Change.full',
    remedy: 'leave everything in place in close(), and take over what is there in the first sync',
    async play(stage) {
      const { world, proxy } = stage;
      await proxy.apply(web(world.pods));
      return underConnections(stage, async () => {
        for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
          await proxy.stop(signal);
          for (const family of proxy.families) {
            expectOnly(
              await ask(stage, 'client', family, 10),
              world.pods.map(({ name }) => name),
              `with the program ended by ${signal}, in ${family}`,
            );
          }
          await proxy.start();
        }
      });
    },
  },
  {
    id: 'removed',
    sentence: 'A Service that is deleted no longer answers',
    contract: 'Change.remove: "the keys that are gone"',
    remedy: 'take away all that serves a key in `remove`',
    async play(stage) {
      const { world, proxy, target } = stage;
      await proxy.apply(web(world.pods));
      const family = proxy.families[0]!;
      const [before] = await ask(stage, 'client', family, 1);
      if (!before?.startsWith('pod-')) throw untried(`it did not answer before it was deleted: ${before}`);
      await proxy.apply([]);
      for (const each of proxy.families) {
        const request = { protocol: 'TCP' as const, ...target(each), timeoutMs: 400 };
        const outcome = await world.request('client', request);
        if (outcome.outcome === 'answered') throw broken('no answer', told(outcome));
      }
      return undefined;
    },
  },
];
