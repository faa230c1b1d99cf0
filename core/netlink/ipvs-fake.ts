/**
 * An IPVS in memory, for tests of whatever uses `IPVS` (a plugin's author may, too). It refuses what the kernel refuses,
 * with the same errors and in the same order of checks; and it encodes each step, so that what the real one could not
 * send fails here as well.
 *
 *   const kernel = createFakeIPVS();
 *   await backend.sync(change);                         // through a Host whose netlink.ipvs() is `kernel`
 *   assert.equal(kernel.dump(), …);                     // as `ipvsadm -Sn`, sorted
 *   kernel.connect(server, real, { active: 1 });        // connections, for graceful ends
 *   kernel.failNext({ code: 'KP_NETLINK_OVERRUN', text: 'ENOBUFS' }, 'after');   // the outcome unknown: it took effect
 *
 * Two of them with one state are two processes in one network namespace. Not here: packets, statistics other than 0,
 * and time: a real server that was deleted with connections keeps them for ever, to be found when it is added again.
 */
import { constants } from 'node:os';
import type {
  IPVS,
  IPVSConnection,
  IPVSRefusal,
  IPVSStatistics,
  IPVSStep,
  IPVSTimeouts,
  RealServer,
  RealServerAddress,
  RealServerState,
  VirtualServer,
  VirtualServerKey,
  VirtualServerState,
} from '../ipvs.ts';
import { attributed, NetlinkError, type NetlinkFault } from './errors.ts';
import {
  checkKey,
  checkStep,
  endpointName,
  serverFamily,
  serverName,
  stepObject,
  wholeLength,
  writeStep,
} from './ipvs-protocol.ts';
import { stepRefusal } from './ipvs-refusals.ts';
import { printServers } from './ipvs-text.ts';
import { createMessageWriter } from './writer.ts';

type Errno = 'EEXIST' | 'ENOENT' | 'ESRCH' | 'EINVAL' | 'EAFNOSUPPORT';

/** As `ipvsadm` shows them; absent: 0. */
export interface FakeConnections {
  readonly active?: number;
  readonly inactive?: number;
  readonly persistent?: number;
}

export interface FakeIPVSState {
  /** By name (see `serverName`). */
  readonly servers: Map<string, { server: Required<VirtualServer>; readonly reals: Map<string, Required<RealServer>> }>;
  /** By virtual and real server's name; also of real servers that were deleted. */
  readonly connections: Map<string, Required<FakeConnections>>;
  /** What `connections` shows. */
  readonly table: IPVSConnection[];
  timeouts: IPVSTimeouts;
}

export interface FakeIPVS extends IPVS {
  /** To be shared with another fake. */
  readonly state: FakeIPVSState;
  /** Every step that took effect, in order. */
  readonly steps: readonly IPVSStep[];
  /** The lines of `ipvsadm -Sn`, sorted; of one family or of both. */
  dump(family?: 'IPv4' | 'IPv6'): string;
  /** Numbers of connections of a real server, from now on, whether it is there or was deleted. */
  connect(server: VirtualServerKey, real: RealServerAddress, connections: FakeConnections): void;
  /** The next `apply` fails with this error, before anything happens or after all of it did. May be called ahead. */
  failNext(fault: NetlinkFault, when?: 'before' | 'after'): void;
  /** What is in `state` stays. */
  close(): void;
}

export interface FakeIPVSOptions {
  /** Those that the kernel has. Default: all of Linux 6.18. */
  readonly schedulers?: readonly string[];
  /** Default: both. */
  readonly families?: readonly ('IPv4' | 'IPv6')[];
}

const SCHEDULERS = 'rr wrr lc wlc fo ovf lblc lblcr dh sh mh sed nq twos none'.split(' ');
const NO_CONNECTIONS: Required<FakeConnections> = { active: 0, inactive: 0, persistent: 0 };
const NO_STATISTICS: IPVSStatistics = { connections: 0, packetsIn: 0, packetsOut: 0, bytesIn: 0, bytesOut: 0 };

export function createFakeIPVSState(): FakeIPVSState {
  const timeouts = { tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 300 };
  return { servers: new Map(), connections: new Map(), table: [], timeouts };
}

export function createFakeIPVS(
  state: FakeIPVSState = createFakeIPVSState(),
  { schedulers = SCHEDULERS, families = ['IPv4', 'IPv6'] }: FakeIPVSOptions = {},
): FakeIPVS {
  const writer = createMessageWriter();
  const steps: IPVSStep[] = [];
  const faults: { readonly fault: NetlinkFault; readonly when: 'before' | 'after' }[] = [];
  let queue: Promise<unknown> = Promise.resolve();
  let closed = false;

  function assertOpen(operation: string): void {
    if (closed) throw new NetlinkError({ code: 'KP_NETLINK_INVALID', operation, text: 'the socket is closed' });
  }

  /** What the kernel answers; undefined: it did it. */
  function take(step: IPVSStep): Errno | undefined {
    if (!families.includes(serverFamily(step.server))) return 'EAFNOSUPPORT';
    const name = serverName(step.server);
    const found = state.servers.get(name);
    if (step.do === 'add virtual server') {
      if (found !== undefined) return 'EEXIST';
      if (!schedulers.includes(step.server.scheduler)) return 'ENOENT';
      state.servers.set(name, { server: completeServer(step.server), reals: new Map() });
      return undefined;
    }
    if (found === undefined) return 'ESRCH';
    if ('real' in step) return takeReal(step, found.reals);
    if (step.do === 'set virtual server') {
      if (!schedulers.includes(step.server.scheduler)) return 'ENOENT';
      found.server = completeServer(step.server);
    } else state.servers.delete(name);
    return undefined;
  }

  function takeReal(
    step: Extract<IPVSStep, { readonly real: RealServerAddress }>,
    reals: Map<string, Required<RealServer>>,
  ): Errno | undefined {
    const name = endpointName(step.real);
    if (!families.includes(familyOf(step.real))) return 'EAFNOSUPPORT';
    if (step.do === 'delete real server') return reals.delete(name) ? undefined : 'ENOENT';
    const isMixed = familyOf(step.real) !== serverFamily(step.server);
    if (isMixed && step.real.forwarding !== 'tunnel') return 'EINVAL';
    if (step.do === 'add real server') {
      if (reals.has(name)) return 'EEXIST';
      if (!canReceive(step.real.ip)) return 'EINVAL';
    } else if (!reals.has(name)) return 'ENOENT';
    reals.set(name, completeReal(step.real));
    return undefined;
  }

  function applyNow(source: Iterable<IPVSStep>): Awaited<ReturnType<IPVS['apply']>> {
    assertOpen('ipvs apply');
    const fault = faults.shift();
    if (fault?.when === 'before') throw new NetlinkError({ operation: 'ipvs apply', ...fault.fault });
    const refused: IPVSRefusal[] = [];
    let operations = 0;
    let bytes = 0;
    for (const step of source) {
      try {
        checkStep(step);
      } catch (error) {
        const named = attributed(error, `ipvs ${step.do}`, stepObject(step));
        if (!(named instanceof NetlinkError)) throw named;
        refused.push({ step, errno: '', error: named });
        continue;
      }
      writer.reset();
      writer.begin({ type: 0, flags: 0, sequence: 0 });
      writeStep(writer, step);
      writer.end();
      bytes += writer.bytes().length;
      const errno = take(step);
      if (errno === undefined) {
        operations++;
        steps.push(step);
      } else if (!isGone(step, errno)) {
        refused.push({ step, errno, error: stepRefusal(step, { errno: constants.errno[errno], text: '' }) });
      }
    }
    if (fault !== undefined) throw new NetlinkError({ operation: 'ipvs apply', ...fault.fault });
    return { operations, bytes, refused };
  }

  const apply: IPVS['apply'] = (source) => {
    const result = queue.then(() => applyNow(source));
    queue = result.catch(() => {});
    return result;
  };

  function connectionsOf(server: VirtualServerKey, real: RealServerAddress): Required<FakeConnections> {
    return state.connections.get(connectionKey(server, real)) ?? NO_CONNECTIONS;
  }

  return {
    state,
    steps,
    apply,
    async virtualServers(family) {
      assertOpen('ipvs list');
      const all = [...state.servers.values()].map(({ server }) => server);
      return all.filter((server) => serverFamily(server) === family).map(shownServer);
    },
    async virtualServer(key) {
      assertOpen('ipvs find');
      checkKey(key);
      const found = state.servers.get(serverName(key));
      return found && shownServer(found.server);
    },
    async realServers(of) {
      assertOpen('ipvs list real servers');
      checkKey(of);
      const reals = [...(state.servers.get(serverName(of))?.reals.values() ?? [])];
      return reals.reverse().map((real) => shownReal(real, connectionsOf(of, real)));
    },
    async connections(each) {
      for (const connection of state.table) each(connection);
    },
    async probe(family, scheduler) {
      assertOpen('ipvs probe');
      const server = { protocol: 'UDP', ip: family === 'IPv4' ? '198.51.100.0' : '2001:db8::', port: 9 } as const;
      const step = { do: 'add virtual server', server: { ...server, scheduler, persistenceSeconds: 0 } } as const;
      checkStep(step);
      const lack = !families.includes(family) ? 'EAFNOSUPPORT' : schedulers.includes(scheduler) ? undefined : 'ENOENT';
      if (lack !== undefined) throw stepRefusal(step, { errno: constants.errno[lack], text: '' });
    },
    timeouts: async () => state.timeouts,
    async setTimeouts(timeouts) {
      assertOpen('ipvs set timeouts');
      const { tcpSeconds, tcpFinSeconds, udpSeconds } = state.timeouts;
      state.timeouts = {
        tcpSeconds: timeouts.tcpSeconds || tcpSeconds,
        tcpFinSeconds: timeouts.tcpFinSeconds || tcpFinSeconds,
        udpSeconds: timeouts.udpSeconds || udpSeconds,
      };
    },
    info: async () => ({ version: '1.2.1', connectionTableSize: 4096 }),
    dump(family) {
      const all = [...state.servers.values()].filter(
        ({ server }) => family === undefined || serverFamily(server) === family,
      );
      return printServers(all.map(({ server, reals }) => ({ server, reals: [...reals.values()] })));
    },
    connect(server, real, connections) {
      state.connections.set(connectionKey(server, real), { ...NO_CONNECTIONS, ...connections });
    },
    failNext(fault, when = 'before') {
      faults.push({ fault, when });
    },
    close() {
      closed = true;
    },
  };
}

function connectionKey(server: VirtualServerKey, real: RealServerAddress): string {
  return `${serverName(server)} ${endpointName(real)}`;
}

function isGone(step: IPVSStep, errno: Errno): boolean {
  if (step.do === 'delete virtual server') return errno === 'ESRCH';
  return step.do === 'delete real server' && (errno === 'ESRCH' || errno === 'ENOENT');
}

/** Neither multicast nor broadcast nor nobody's nor, of IPv6, of one link only (ip_vs_new_dest). */
function canReceive(ip: string): boolean {
  if (ip.includes(':')) return ip !== '::' && !/^(ff|fe[89ab])/.test(ip);
  const first = Number(ip.split('.')[0]);
  return ip !== '0.0.0.0' && ip !== '255.255.255.255' && !(first >= 224 && first < 240);
}

function keyOf(server: VirtualServerKey): VirtualServerKey {
  if ('mark' in server) return { mark: server.mark, family: server.family };
  return { protocol: server.protocol, ip: server.ip, port: server.port };
}

function completeServer(server: VirtualServer): Required<VirtualServer> {
  return {
    ...keyOf(server),
    scheduler: server.scheduler,
    persistenceSeconds: server.persistenceSeconds,
    persistencePrefix: server.persistencePrefix ?? wholeLength(server),
    hashPort: server.hashPort ?? false,
    hashFallback: server.hashFallback ?? false,
    onePacket: server.onePacket ?? false,
    persistenceEngine: server.persistenceEngine ?? '',
  };
}

function completeReal(real: RealServer): Required<RealServer> {
  const { ip, port, weight, forwarding = 'masquerade', upperThreshold = 0, lowerThreshold = 0 } = real;
  return { ip, port, weight, forwarding, upperThreshold, lowerThreshold };
}

function shownServer(server: Required<VirtualServer>): VirtualServerState {
  return { ...server, statistics: NO_STATISTICS };
}

function shownReal(real: Required<RealServer>, connections: Required<FakeConnections>): RealServerState {
  return {
    ...real,
    activeConnections: connections.active,
    inactiveConnections: connections.inactive,
    persistentConnections: connections.persistent,
    statistics: NO_STATISTICS,
  };
}

function familyOf({ ip }: RealServerAddress): 'IPv4' | 'IPv6' {
  return ip.includes(':') ? 'IPv6' : 'IPv4';
}
