/**
 * IPVS of this network namespace, as plugins see it, over these sockets:
 *
 *   steps      many requests in a datagram, one acknowledgement     pipeline.ts
 *   questions  real servers, timeouts, the family's id               here
 *   listings   of virtual servers: one for each                      dump.ts
 *
 * The real servers of each virtual server are a listing of their own: one send, two receives, and the kernel works inside
 * those. It has no way to list those of several at once, nor lets two listings of one socket overlap (EBUSY).
 *
 * The kernel neither locks a listing nor says that a change overtook it (Linux 6.1 sets no NLM_F_DUMP_INTR here), and it
 * goes on by counting: what is deleted meanwhile makes it pass over another. One datagram is consistent by itself; the
 * first of a listing holds some 10 real servers, each later one 80.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { IPVS, IPVSRefusal, IPVSStep, IPVSTimeouts, RealServerState, VirtualServerState } from '../ipvs.ts';
import { attributesByType, attributeU32 } from './attributes.ts';
import { dumpInSlices } from './dump.ts';
import { attributed, malformed, NetlinkError } from './errors.ts';
import { findFamily, type GenericFamily, genericAttributes } from './generic.ts';
import { openConnectionTable, readConnections } from './ipvs-connections.ts';
import { askForIPVSModule } from './ipvs-module.ts';
import { createIPVSReader } from './ipvs-objects.ts';
import * as ipvs from './ipvs-protocol.ts';
import { ipvsErrorMeaning, NO_IPVS, stepRefusal } from './ipvs-refusals.ts';
import { type Message, NLM_F_REQUEST } from './message.ts';
import { createPipeline } from './pipeline.ts';
import { type Call, type Conversation, openConversation } from './request.ts';
import { NETLINK_GENERIC, NETLINK_NETFILTER, openNetlink } from './socket.ts';
import type { Transport } from './transport.ts';
import type { MessageWriter } from './writer.ts';

export interface OpenIPVS extends IPVS {
  /** What is in the kernel stays. */
  close(): void;
}

export interface IPVSSeams {
  /** Called once for each socket, and again after a fault that leaves one unusable. */
  readonly open?: () => Transport;
  /** Only where the kernel does not find its module by the family's name. */
  readonly openNetfilter?: () => Transport;
  readonly connections?: () => AsyncIterable<string>;
}

/** Milliseconds of the event loop that a slice of a listing takes, about. */
const SLICE_MS = 5;
const MOST_LISTINGS = 10;
/** UDP to port 9, discarded; of documentation's addresses (RFC 5737, RFC 3849), which belong to nobody. */
const PROBED = { IPv4: '198.51.100.0', IPv6: '2001:db8::' } as const;

/** @throws NetlinkError KP_NETLINK_UNSUPPORTED: no IPVS here; KP_NETLINK_UNAVAILABLE: no generic netlink. */
export function openIPVS({
  open = () => openNetlink({ protocol: NETLINK_GENERIC }),
  openNetfilter = () => openNetlink({ protocol: NETLINK_NETFILTER }),
  connections = openConnectionTable,
}: IPVSSeams = {}): OpenIPVS {
  const conversation = openConversation(open);
  try {
    return clientOf(conversation, requireFamily(conversation, openNetfilter), open, openNetfilter, connections);
  } catch (error) {
    conversation.close();
    throw error;
  }
}

function requireFamily(conversation: Conversation, openNetfilter: () => Transport): GenericFamily {
  const found = findFamily(conversation, ipvs.IPVS_FAMILY);
  if (found !== undefined) return found;
  askForIPVSModule(openNetfilter);
  const loaded = findFamily(conversation, ipvs.IPVS_FAMILY);
  if (loaded !== undefined) return loaded;
  throw new NetlinkError({ code: 'KP_NETLINK_UNSUPPORTED', operation: 'ipvs open', errno: 'ENOENT', ...NO_IPVS });
}

function clientOf(
  conversation: Conversation,
  opened: GenericFamily,
  open: () => Transport,
  openNetfilter: () => Transport,
  connections: () => AsyncIterable<string>,
): OpenIPVS {
  const reader = createIPVSReader();
  let family = opened;
  /** Its module may have been loaded again, and then it has another id. */
  let isStale = false;
  let sliceEnd = 0;

  function familyId(): number {
    if (isStale) family = requireFamily(conversation, openNetfilter);
    isStale = false;
    return family.id;
  }

  const pipeline = createPipeline<IPVSStep>({
    open,
    operation: 'ipvs apply',
    encode(writer, step, sequence) {
      try {
        ipvs.checkStep(step);
      } catch (error) {
        throw attributed(error, `ipvs ${step.do}`, ipvs.stepObject(step));
      }
      writer.begin({ type: family.id, flags: NLM_F_REQUEST, sequence });
      ipvs.writeStep(writer, step);
      writer.end();
    },
    // Virtual servers: modules are loaded, and other schedulers waited for (synchronize_rcu).
    isQuick: (step) => 'real' in step,
  });

  function call(
    operation: string,
    object: string,
    command: number,
    rest: (writer: MessageWriter) => void = () => {},
  ): Call {
    return {
      operation,
      object,
      type: familyId(),
      meaning: ipvsErrorMeaning,
      write(writer) {
        ipvs.writeIPVSHeader(writer, command);
        rest(writer);
      },
    };
  }

  /** A family that is unknown, too, is ENOENT; no question of ours can have that answer otherwise. */
  async function asking<T>(ask: () => T | Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof NetlinkError && error.errno === 'ENOENT')) throw error;
      isStale = true;
      return await ask();
    }
  }

  /** `dump` asks and hands over; undefined of `parse` is left out. */
  async function list<T>(
    question: Call,
    parse: (attributes: Uint8Array) => T | undefined,
    dump: (each: (message: Message) => void) => Promise<{ interrupted: boolean }> | { interrupted: boolean },
  ): Promise<readonly T[]> {
    for (let attempt = 0; attempt < MOST_LISTINGS; attempt++) {
      const found: T[] = [];
      const { interrupted } = await dump((message) => {
        const object = parse(genericAttributes(message));
        if (object !== undefined) found.push(object);
      });
      if (!interrupted) return found;
    }
    throw new NetlinkError({
      code: 'KP_NETLINK_TIMEOUT',
      operation: question.operation,
      object: question.object,
      text: `changes overtook ${MOST_LISTINGS} listings in a row`,
      remedy: 'find out which program changes virtual servers all the time',
    });
  }

  /** To be awaited before work of which there may be much. */
  function pause(): Promise<void> | undefined {
    if (performance.now() < sliceEnd) return undefined;
    return nextTurn().then(() => {
      sliceEnd = performance.now() + SLICE_MS;
    });
  }

  function answer(question: Call): ReadonlyMap<number, Uint8Array> {
    let attributes: ReadonlyMap<number, Uint8Array> | undefined;
    conversation.request(question, (message) => {
      attributes = attributesByType(genericAttributes(message).slice());
    });
    if (attributes === undefined) throw attributed(malformed('an acknowledgement alone'), question.operation, '');
    return attributes;
  }

  const apply: IPVS['apply'] = async (steps) => {
    familyId();
    const refused: IPVSRefusal[] = [];
    let taken = 0;
    let withoutEffect = 0;
    const counted = (function* () {
      for (const step of steps) {
        taken++;
        yield step;
      }
    })();
    const bytes = await pipeline.run(counted, (step, reason) => {
      const error = reason instanceof NetlinkError ? reason : stepRefusal(step, reason);
      withoutEffect++;
      if (error.errno === 'ENOENT' && !('real' in step)) isStale = true;
      if (!isGone(step, error.errno)) refused.push({ step, errno: error.errno, error });
    });
    return { operations: taken - withoutEffect, bytes, refused };
  };

  return {
    apply,
    async virtualServers(wanted) {
      const parse = (attributes: Uint8Array): VirtualServerState | undefined => {
        const server = reader.virtualServer(attributes);
        return server !== undefined && ipvs.serverFamily(server) === wanted ? server : undefined;
      };
      return asking(() => {
        const question = call('ipvs list', wanted, ipvs.IPVS_CMD_GET_SERVICE);
        return list(question, parse, (each) => dumpInSlices(open, question, each, pause));
      });
    },
    async virtualServer(key) {
      const operation = 'ipvs find';
      const object = ipvs.serverName(key);
      check(operation, object, () => ipvs.checkKey(key));
      let found: VirtualServerState | undefined;
      try {
        await asking(() => {
          const question = call(operation, object, ipvs.IPVS_CMD_GET_SERVICE, (writer) =>
            ipvs.writeServerKey(writer, key),
          );
          conversation.request(question, (message) => {
            found = reader.virtualServer(genericAttributes(message));
          });
        });
      } catch (error) {
        if (error instanceof NetlinkError && error.errno === 'ESRCH') return undefined;
        throw error;
      }
      return found;
    },
    async realServers(of) {
      const operation = 'ipvs list real servers';
      const object = ipvs.serverName(of);
      check(operation, object, () => ipvs.checkKey(of));
      await pause();
      return asking(() => {
        const question = call(operation, object, ipvs.IPVS_CMD_GET_DEST, (writer) => ipvs.writeServerKey(writer, of));
        const parse = (attributes: Uint8Array): RealServerState => reader.realServer(attributes);
        return list(question, parse, (each) => conversation.dump(question, each));
      });
    },
    async connections(each) {
      try {
        await readConnections(connections(), each);
      } catch (error) {
        throw attributed(error, 'ipvs list connections', '');
      }
    },
    async probe(wanted, scheduler) {
      const server = { protocol: 'UDP', ip: PROBED[wanted], port: 9, scheduler, persistenceSeconds: 0 } as const;
      const { refused } = await apply([
        { do: 'add virtual server', server },
        { do: 'delete virtual server', server },
      ]);
      // Two who probe at a time: the other one's is as good a proof.
      const [first] = refused.filter(({ errno }) => errno !== 'EEXIST');
      if (first !== undefined) throw first.error;
    },
    timeouts: () =>
      asking(() => {
        const attributes = answer(call('ipvs read timeouts', '', ipvs.IPVS_CMD_GET_CONFIG));
        // A kernel built without a protocol has no timeouts of it.
        const seconds = (type: number): number => {
          const data = attributes.get(type);
          return data === undefined ? 0 : attributeU32(data);
        };
        return {
          tcpSeconds: seconds(ipvs.IPVS_CMD_ATTR_TIMEOUT_TCP),
          tcpFinSeconds: seconds(ipvs.IPVS_CMD_ATTR_TIMEOUT_TCP_FIN),
          udpSeconds: seconds(ipvs.IPVS_CMD_ATTR_TIMEOUT_UDP),
        };
      }),
    async setTimeouts(timeouts) {
      const operation = 'ipvs set timeouts';
      const numbers = check(operation, '', () => timeoutAttributes(timeouts));
      await asking(() =>
        conversation.request(
          call(operation, '', ipvs.IPVS_CMD_SET_CONFIG, (writer) => {
            for (const [type, seconds] of numbers) writer.u32(type, seconds);
          }),
        ),
      );
    },
    info: () =>
      asking(() => {
        const attributes = answer(call('ipvs read version', '', ipvs.IPVS_CMD_GET_INFO));
        const version = attributes.get(ipvs.IPVS_INFO_ATTR_VERSION);
        const size = attributes.get(ipvs.IPVS_INFO_ATTR_CONN_TAB_SIZE);
        if (version === undefined || size === undefined) throw malformed('no version or no size of the table');
        const number = attributeU32(version);
        const text = [number >> 16, (number >> 8) & 0xff, number & 0xff].join('.');
        return { version: text, connectionTableSize: attributeU32(size) };
      }),
    close() {
      pipeline.close();
      conversation.close();
    },
  };
}

/** What was to be deleted is not there. */
function isGone(step: IPVSStep, errno: string): boolean {
  if (step.do === 'delete virtual server') return errno === 'ESRCH';
  return step.do === 'delete real server' && (errno === 'ESRCH' || errno === 'ENOENT');
}

function timeoutAttributes({ tcpSeconds = 0, tcpFinSeconds = 0, udpSeconds = 0 }: Partial<IPVSTimeouts>) {
  const numbers = [
    [ipvs.IPVS_CMD_ATTR_TIMEOUT_TCP, tcpSeconds],
    [ipvs.IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, tcpFinSeconds],
    [ipvs.IPVS_CMD_ATTR_TIMEOUT_UDP, udpSeconds],
  ] as const;
  for (const [, seconds] of numbers) ipvs.checkNumber('a timeout in seconds', seconds, 0, ipvs.LONGEST_TIMEOUT);
  return numbers.filter(([, seconds]) => seconds > 0);
}

function check<T>(operation: string, object: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw attributed(error, operation, object);
  }
}
