/**
 * A small world of network namespaces to send packets through: a node with pods, another node, a client, and an agent
 * in each that serves and asks. Drawn in world-topology.ts. It exists only inside build/isolate.ts's private
 * namespaces, so that the host's network is never touched and nothing outlives the program.
 *
 *   await enterIsolation();
 *   const world = await createWorld();
 *   await world.servePods({ port: 8080 });
 *   await world.request('client', { protocol: 'TCP', destinationIP: world.pods[0].ip.IPv4, destinationPort: 8080 });
 *   await world.close();
 */
import type { ChildProcess, SpawnOptions } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { insidePrivateNetwork } from '../conformance/private-network.ts';
import { type Agent, startAgent } from './agent-process.ts';
import type { Flood, FloodReport, Outcome, Request, Serve, Transport } from './agent-protocol.ts';
import { type ExecOutput, endProcess, exec, execPrefix, spawnIn, type WorldExecOptions } from './world-commands.ts';
import { type Addresses, planTopology, type Topology, type WorldOptions } from './world-topology.ts';

/** Something an agent began, until it is closed. */
export interface Server {
  /** `whenIdle`: not before its TCP connections have ended and none has come for a while. */
  close(whenIdle?: boolean): Promise<void>;
}

export interface HeldFlow {
  /** The outcome of opening it. */
  readonly first: Outcome;
  /** Ask again over the same connection, or from the same UDP port. */
  ping(timeoutMs?: number): Promise<Outcome>;
  /** `abruptly`: TCP by a reset. */
  close(abruptly?: boolean): Promise<void>;
}

export interface RunningFlood {
  /** Wait until its time is over. */
  done(): Promise<FloodReport>;
  /** End it early. */
  stop(): Promise<FloodReport>;
}

export interface World extends Addresses {
  readonly namespaces: readonly string[];
  serve(namespace: string, server: Serve): Promise<Server>;
  /** Every pod, remote ones too, serves this port on its own address under its own name. Default: TCP and UDP. */
  servePods(options: { readonly port: number; readonly protocols?: readonly Transport[] }): Promise<Server>;
  request(namespace: string, request: Request): Promise<Outcome>;
  /** Outcomes in the order of the requests; 32 at a time unless told otherwise. */
  requests(namespace: string, requests: readonly Request[], concurrency?: number): Promise<readonly Outcome[]>;
  hold(namespace: string, request: Request): Promise<HeldFlow>;
  flood(namespace: string, flood: Flood): Promise<RunningFlood>;
  exec(namespace: string, command: string, args: readonly string[], options?: WorldExecOptions): Promise<ExecOutput>;
  execPrefix(namespace: string): readonly string[];
  /** A long-running program; ended with the world if it still runs then. */
  spawn(namespace: string, command: string, args: readonly string[], options?: SpawnOptions): ChildProcess;
  /** Ends every agent and program, then removes the namespaces. Again: does nothing. */
  close(): Promise<void>;
}

/** `agentProgram`: the command of the program that agents are, where it is another than that of the sources. */
export async function createWorld(options: WorldOptions = {}, agentProgram?: readonly string[]): Promise<World> {
  if (!insidePrivateNetwork()) {
    throw new Error(
      'a world is built only inside private namespaces: await enterIsolation() of build/isolate.ts first',
    );
  }
  const topology = planTopology(options);
  await build(topology);

  const agents = new Map<string, Agent>();
  const children = new Set<ChildProcess>();
  let closed = false;
  const known = (namespace: string) => {
    if (closed) throw new Error(`the world is closed; nothing can be done in ${namespace} any more`);
    if (!topology.namespaces.includes(namespace)) {
      throw new Error(`the world has no namespace ${namespace}, only ${topology.namespaces.join(', ')}`);
    }
    return namespace;
  };
  /** Started when first needed: a test that asks only from one place pays for one process. */
  const agent = (namespace: string): Agent => {
    const running = agents.get(known(namespace)) ?? startAgent(namespace, execPrefix(namespace), agentProgram);
    agents.set(namespace, running);
    return running;
  };

  const serve = async (namespace: string, server: Serve): Promise<Server> => {
    const { id } = await agent(namespace).call('serve', server);
    return {
      close: async (whenIdle = false) => void (await agent(namespace).call('stopServing', { id, whenIdle })),
    };
  };
  const requests = (namespace: string, all: readonly Request[], concurrency = 32) =>
    agent(namespace).call('request', { requests: all, concurrency });

  return {
    pods: topology.pods,
    remotePods: topology.remotePods,
    nodeIPs: topology.nodeIPs,
    remoteNodeIP: topology.remoteNodeIP,
    clientIPs: topology.clientIPs,
    namespaces: topology.namespaces,
    serve,
    async servePods({ port, protocols = ['TCP', 'UDP'] }) {
      const started = [...topology.pods, ...topology.remotePods].flatMap((pod) =>
        protocols.map((protocol) =>
          serve(pod.namespace, { protocol, port, server: pod.name, addresses: Object.values(pod.ip) }),
        ),
      );
      const servers = await Promise.all(started);
      return {
        close: async (whenIdle) => void (await Promise.all(servers.map((server) => server.close(whenIdle)))),
      };
    },
    async request(namespace, request) {
      const [outcome] = await requests(namespace, [request]);
      return outcome!;
    },
    requests,
    async hold(namespace, request) {
      const { id, first } = await agent(namespace).call('hold', request);
      return {
        first,
        ping: (timeoutMs) => agent(namespace).call('ping', timeoutMs === undefined ? { id } : { id, timeoutMs }),
        close: async (abruptly = false) => void (await agent(namespace).call('release', { id, abruptly })),
      };
    },
    async flood(namespace, flood) {
      const { id } = await agent(namespace).call('startFlood', flood);
      return {
        done: () => agent(namespace).call('waitFlood', { id }),
        stop: () => agent(namespace).call('stopFlood', { id }),
      };
    },
    async exec(namespace, command, args, execOptions) {
      const [first, ...rest] = [...execPrefix(known(namespace)), command, ...args];
      return exec(first!, rest, execOptions);
    },
    execPrefix: (namespace) => execPrefix(known(namespace)),
    spawn(namespace, command, args, spawnOptions = {}) {
      const child = spawnIn(known(namespace), command, args, spawnOptions);
      children.add(child);
      child.once('exit', () => children.delete(child));
      return child;
    },
    async close() {
      if (closed) return;
      closed = true;
      await Promise.all([...children].map((child) => endProcess(child)));
      await Promise.all([...agents.values()].map((running) => running.close()));
      agents.clear();
      await batch(
        [],
        topology.namespaces.map((name) => `netns del ${name}`),
      );
    },
  };
}

async function build({ namespaces, sysctls, links, addressing }: Topology): Promise<void> {
  await batch(
    [],
    namespaces.map((name) => `netns add ${name}`),
  );
  await Promise.all(namespaces.map((name) => writeSysctls(name, sysctls[name] ?? [])));
  // From a namespace that has no eth0: older kernels refuse a name that the namespace of ip(8) has.
  await batch(['-n', 'lan'], links);
  await Promise.all(namespaces.map((name) => batch(['-n', name], addressing[name] ?? [])));
  await Promise.all(namespaces.map((name) => linksUp(name)));
}

async function batch(options: readonly string[], lines: readonly string[]): Promise<void> {
  await exec('ip', [...options, '-batch', '-'], { stdin: lines.map((line) => `${line}\n`).join('') });
}

async function writeSysctls(namespace: string, values: readonly (readonly [string, string])[]): Promise<void> {
  const script = values.map(([name, value]) => `echo ${value} > /proc/sys/${name}\n`).join('');
  const [command, ...args] = [...execPrefix(namespace), 'sh', '-e'];
  await exec(command!, args, { stdin: script });
}

/** A link whose other end just came up discards packets until the kernel has noticed; that takes it a moment. */
async function linksUp(namespace: string): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const { stdout } = await exec('ip', ['-n', namespace, '-brief', 'link', 'show']);
    const states = stdout
      .trim()
      .split('\n')
      .map((line) => line.split(/\s+/)[1]);
    if (!states.includes('DOWN') && !states.includes('LOWERLAYERDOWN')) return;
    await sleep(10);
  }
  throw new Error(`a link in namespace ${namespace} did not come up within a second`);
}
