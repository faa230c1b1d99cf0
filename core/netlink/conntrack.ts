/**
 * The kernel's connection tracking table over ctnetlink, as far as UDP flows must be found and deleted.
 *
 *   select   one dump, filtered in the kernel ──▶ pick(flow)? ──▶ identities    pauses between datagrams
 *   delete   identities ──▶ many CT_DELETE in one datagram ──▶ errors, and one ack at the end
 *
 * Not a Conversation (request.ts): that one hears an answer out in one go, and these may be 30 MB long. The kernel
 * makes a dump's next 32 KiB only when the last were read, so that reading can rest between two datagrams for the
 * event loop's sake, and that many deletes can share a datagram, of which only the last asks for an acknowledgement.
 *
 * Measured on Linux 6.18, 2 cores, 100,000 UDP entries (4,000 of TCP beside them), 262,144 buckets; the kernel needs
 * 2 µs for each entry that it shows and 0.1 µs for one that it passes over, so that it had better filter:
 *
 *   all of UDP                         190–260 ms, the event loop is held for 4 ms at a time (10 when others compute)
 *   translated only, 30,000 of them     77–110 ms, likewise
 *   one port only, none of them             28 ms, while another thread waits (it was 28 ms at a stretch without)
 *   deleting 20,000 (50,000)           34 (84) ms, held for 4 ms at a time
 */
import ipaddr from 'ipaddr.js';
import type { IPFamily } from '../backend.ts';
import {
  CT_DELETE,
  CT_ENTRY,
  CT_GET,
  createEntryReader,
  type FlowIdentity,
  type UDPFlow,
  writeDelete,
  writeDump,
} from './conntrack-protocol.ts';
import { attributed, type ErrnoMeaning, errnoMeaning, NetlinkError } from './errors.ts';
import {
  type Message,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  type Outcome,
  parseDone,
  parseError,
  parseMessages,
} from './message.ts';
import { NETLINK_NETFILTER, openNetlink } from './socket.ts';
import type { Transport } from './transport.ts';
import { createMessageWriter } from './writer.ts';

export type { FlowIdentity, UDPFlow } from './conntrack-protocol.ts';

/** Give others their turn; resolves when we may go on. Rejecting ends what is under way. */
export type Pause = () => Promise<void>;

export interface Selection {
  readonly picked: readonly FlowIdentity[];
  /**
   * The kernel could not finish or the table changed under it (its size, mostly): some entries may be missing.
   * What was picked is right all the same.
   */
  readonly complete: boolean;
}

export interface SelectOptions {
  readonly family: IPFamily;
  /** Only flows with a translated destination are of interest; others may come all the same. */
  readonly translatedOnly: boolean;
  /** Only flows to this port are of interest; 0: to any. */
  readonly onlyPort: number;
  /** Asked first of each UDP flow, 100,000 times a second and more. */
  readonly port: (destinationPort: number) => boolean;
  readonly pick: (flow: UDPFlow) => boolean;
}

export interface Conntrack {
  /**
   * Look through the UDP flows of one family. Nothing else may be asked until it has resolved.
   * @throws NetlinkError EPERM without CAP_NET_ADMIN, KP_NETLINK_UNSUPPORTED without ctnetlink, else any fault of
   *   netlink's.
   */
  select(options: SelectOptions): Promise<Selection>;
  /** Returns how many there still were. One that is gone, or has a successor, is no error. */
  delete(flows: readonly FlowIdentity[]): Promise<number>;
  close(): void;
}

/** Longer than this, in milliseconds, the event loop is not held; one datagram of entries takes 0.2 ms to read. */
const SLICE_MS = 4;
/** Where the kernel passes over most entries, it looks for the next 32 KiB longer than this: another thread waits. */
const LONG_MS = 1;
const NO_BYTES: Uint8Array = new Uint8Array();
/** Deletes in one datagram: 30 KB, and even if each is refused, the answers fit an unprivileged receive buffer. */
const BATCH = 256;
/** Without CTA_FILTER. Its numbers, and ENOTSUPP, which nfnetlink lets through. */
const CANNOT_FILTER: readonly string[] = ['EINVAL', 'EOPNOTSUPP', 'ENOTSUPP'];
const GONE = 'ENOENT';

export function openConntrack(
  pause: Pause = () => new Promise((resolve) => setImmediate(resolve)),
  open: () => Transport = () => openNetlink({ protocol: NETLINK_NETFILTER }),
): Conntrack {
  const writer = createMessageWriter();
  let transport: Transport | undefined = open();
  let sequence = 0;
  let kernelFilters = true;
  let sliceEnds = 0;

  async function rest(): Promise<void> {
    if (performance.now() < sliceEnds) return;
    await pause();
    sliceEnds = performance.now() + SLICE_MS;
  }

  /** Whatever goes wrong on the way leaves answers under way that nobody can assign: begin anew. */
  async function over<T>(operation: string, object: string, talk: (transport: Transport) => Promise<T>): Promise<T> {
    try {
      transport ??= open();
      return await talk(transport);
    } catch (error) {
      transport?.close();
      transport = undefined;
      throw attributed(error, operation, object);
    }
  }

  /** The outcome is undefined where the answer's end was lost. */
  async function dump(options: SelectOptions, byKernel: boolean): Promise<Selection & { readonly outcome?: Outcome }> {
    const { family, translatedOnly, onlyPort, port, pick } = options;
    const picked: FlowIdentity[] = [];
    const reader = createEntryReader(family, createFormatter());
    let interrupted = false;

    async function hearOut(socket: Transport): Promise<Outcome> {
      writer.reset();
      writer.begin({ type: CT_GET, flags: NLM_F_REQUEST | NLM_F_DUMP, sequence: ++sequence });
      writeDump(writer, family, { byKernel, translatedOnly, onlyPort });
      writer.end();
      await rest();
      let took = await timed(() => sendAside(socket, writer.bytes()));
      for (let datagram = NO_BYTES; ; ) {
        const aside = took > LONG_MS;
        took = await timed(async () => {
          datagram = aside ? await receiveAside(socket) : socket.receive();
        });
        for (const message of parseMessages(datagram)) {
          if (message.sequence !== sequence) continue;
          if ((message.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true;
          const outcome = outcomeOf(message);
          if (outcome !== undefined) return outcome;
          if (message.type !== CT_ENTRY) continue;
          const flow = reader.read(message.payload, port);
          if (flow !== undefined && pick(flow)) picked.push(reader.identity());
        }
        await rest();
      }
    }

    try {
      const outcome = await over('conntrack dump', family, hearOut);
      return { picked, complete: !interrupted && outcome.errno === 0, outcome };
    } catch (error) {
      if (error instanceof NetlinkError && error.code === 'KP_NETLINK_OVERRUN') return { picked, complete: false };
      throw error;
    }
  }

  return {
    async select(options) {
      let result = await dump(options, kernelFilters);
      if (kernelFilters && CANNOT_FILTER.includes(nameOf(result.outcome))) {
        result = await dump(options, false);
        // Where that is refused as well, it was not about the filter.
        if (nameOf(result.outcome) === '') kernelFilters = false;
      }
      const { picked, complete, outcome } = result;
      const name = nameOf(outcome);
      if (outcome && name !== '' && !INTERRUPTIONS.includes(name)) {
        throw refusal('conntrack dump', options.family, outcome);
      }
      return { picked, complete };
    },

    async delete(flows) {
      let deleted = 0;
      for (let start = 0; start < flows.length; start += BATCH) {
        const batch = flows.slice(start, start + BATCH);
        const object = `${batch.length} UDP flows`;
        deleted += await over('conntrack delete', object, async (socket) => {
          await rest();
          writer.reset();
          const first = sequence + 1;
          for (const [index, flow] of batch.entries()) {
            const ack = index === batch.length - 1 ? NLM_F_ACK : 0;
            writer.begin({ type: CT_DELETE, flags: NLM_F_REQUEST | ack, sequence: ++sequence });
            writeDelete(writer, flow);
            writer.end();
          }
          socket.send(writer.bytes());
          let failed = 0;
          for (;;) {
            for (const message of parseMessages(socket.receive())) {
              if (message.sequence < first || message.sequence > sequence || message.type !== NLMSG_ERROR) continue;
              const outcome = parseError(message);
              if (outcome.errno !== 0) failed++;
              if (!['', GONE].includes(nameOf(outcome))) throw refusal('conntrack delete', object, outcome);
              if (message.sequence === sequence) return batch.length - failed;
            }
          }
        });
      }
      return deleted;
    },

    close() {
      transport?.close();
      transport = undefined;
    },
  };
}

async function sendAside(transport: Transport, datagram: Uint8Array): Promise<void> {
  if (transport.sendOffLoop) await transport.sendOffLoop(datagram);
  else transport.send(datagram);
}

async function receiveAside(transport: Transport): Promise<Uint8Array> {
  return transport.receiveOffLoop ? await transport.receiveOffLoop() : transport.receive();
}

async function timed(act: () => Promise<void>): Promise<number> {
  const began = performance.now();
  await act();
  return performance.now() - began;
}

/** Ends of a dump that leave what came before it good. */
const INTERRUPTIONS: readonly string[] = ['EINTR', 'EAGAIN', 'ENOBUFS'];

/** "" for success, and for an end that was not heard. */
function nameOf(outcome: Outcome | undefined): string {
  return outcome === undefined || outcome.errno === 0 ? '' : errnoMeaning(outcome.errno).name;
}

function outcomeOf(message: Message): Outcome | undefined {
  if (message.type === NLMSG_DONE) return parseDone(message);
  return message.type === NLMSG_ERROR ? parseError(message) : undefined;
}

/** Text of the same few addresses, again and again. IPv6's takes 2 µs to make. */
function createFormatter(): (bytes: Uint8Array) => string {
  const known = new Map<string, string>();
  return (bytes) => {
    if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
    const key = String.fromCharCode(...bytes);
    const text = known.get(key) ?? new ipaddr.IPv6([...bytes]).toRFC5952String();
    known.set(key, text);
    return text;
  };
}

export const NO_CTNETLINK: ErrnoMeaning & { readonly code: 'KP_NETLINK_UNSUPPORTED' } = {
  code: 'KP_NETLINK_UNSUPPORTED',
  name: '',
  text: 'this kernel does not let its connection tracking table be read',
  remedy: 'load the module nf_conntrack_netlink or use a kernel with CONFIG_NF_CT_NETLINK',
};

function refusal(operation: string, object: string, { errno, text: explanation }: Outcome): NetlinkError {
  const { name, text, remedy } = errnoMeaning(errno);
  // What nfnetlink says about a subsystem that is not there.
  if (name === 'EINVAL' && operation === 'conntrack dump') {
    return new NetlinkError({ ...NO_CTNETLINK, operation, object, errno: name });
  }
  const words = [text, explanation].filter(Boolean).join('; ');
  return new NetlinkError({ code: 'KP_NETLINK_REFUSED', operation, object, errno: name, text: words, remedy });
}
