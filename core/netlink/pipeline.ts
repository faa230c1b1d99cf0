/**
 * Many requests in few datagrams, for interfaces that take each message of a datagram by itself (generic netlink,
 * rtnetlink):
 *
 *   ── request 1 … request n, fence ──▶   ◀── error of k, error of m, …, ack of the fence
 *
 * The kernel answers a request that asks for no ack only if it refuses it. The fence is a NLMSG_NOOP, which netlink
 * itself acknowledges (af_netlink.c, netlink_rcv_skb); since answers come in the order of the requests, what is not
 * named before it succeeded. That is one receive for hundreds of requests, and the number of answers is bounded, so
 * that not even a datagram full of refusals overflows the receive buffer.
 *
 * Not atomic: the kernel goes on after a refused request. After a fault that leaves the outcome unknown the transport
 * is closed, and the next run opens a new one.
 */
import { attributed, NetlinkError } from './errors.ts';
import {
  NLM_F_ACK,
  NLM_F_REQUEST,
  NLMSG_ERROR,
  NLMSG_NOOP,
  NLMSG_OVERRUN,
  type Outcome,
  parseError,
  parseMessages,
} from './message.ts';
import type { Transport } from './transport.ts';
import { createMessageWriter, type MessageWriter } from './writer.ts';

export interface PipelineOptions<Step> {
  /** Called at the first run, and after a fault. */
  readonly open: () => Transport;
  /** For errors that concern no single step: "ipvs apply". */
  readonly operation: string;
  /**
   * Write one message. Its header is `begin`'s, flags of the family's own besides; throw a NetlinkError, having written
   * nothing, if the step cannot be expressed.
   */
  encode(writer: MessageWriter, step: Step, sequence: number): void;
  /** Takes the kernel some microseconds; then it may be sent on the event loop, with a few others. */
  isQuick(step: Step): boolean;
}

export interface Pipeline<Step> {
  /**
   * One run at a time, in the order of the calls. `refused` is called in the order of the steps, with the outcome, or
   * with what `encode` threw. Resolves with how many bytes were sent.
   * @throws NetlinkError when the outcome of some steps is unknown: KP_NETLINK_TIMEOUT, _OVERRUN, _MALFORMED, _REFUSED.
   */
  run(steps: Iterable<Step>, refused: (step: Step, reason: Outcome | NetlinkError) => void): Promise<number>;
  /** A run that is under way ends with the datagram that it is at. */
  close(): void;
}

interface Load<Step> {
  readonly steps: readonly Step[];
  /** By index: what was not written. */
  readonly reasons: ReadonlyMap<number, NetlinkError>;
  readonly isLast: boolean;
}

/** Requests of one datagram: 60 KB; the kernel needs some milliseconds for them. */
const MOST_REQUESTS = 256;
/** Up to this, if all are quick, going to another thread costs more than waiting. */
const MOST_ON_LOOP = 32;
/** Sequence numbers must rise within a datagram. */
const LAST_FIRST_SEQUENCE = 0xf000_0000;
const MOST_STALE_MESSAGES = 1_000_000;

export function createPipeline<Step>({ open, operation, encode, isQuick }: PipelineOptions<Step>): Pipeline<Step> {
  const writer = createMessageWriter();
  let transport: Transport | undefined;
  let sequence = 0;
  let queue: Promise<unknown> = Promise.resolve();
  let busy = false;
  let closed = false;

  function giveUp(): void {
    transport?.close();
    transport = undefined;
  }

  /** Writes as many steps as fit a datagram. Each has a sequence number, also one that `encode` did not write. */
  function fill(iterator: Iterator<Step>): Load<Step> {
    writer.reset();
    if (sequence > LAST_FIRST_SEQUENCE) sequence = 0;
    const steps: Step[] = [];
    const reasons = new Map<number, NetlinkError>();
    while (steps.length < MOST_REQUESTS) {
      const next = iterator.next();
      if (next.done) return { steps, reasons, isLast: true };
      try {
        encode(writer, next.value, sequence + 1 + steps.length);
      } catch (error) {
        if (!(error instanceof NetlinkError)) throw error;
        reasons.set(steps.length, error);
      }
      steps.push(next.value);
    }
    return { steps, reasons, isLast: false };
  }

  async function runNow(
    source: Iterable<Step>,
    refused: (step: Step, reason: Outcome | NetlinkError) => void,
  ): Promise<number> {
    const iterator = source[Symbol.iterator]();
    let bytes = 0;
    for (;;) {
      if (closed) throw new NetlinkError({ code: 'KP_NETLINK_INVALID', operation, text: 'the socket is closed' });
      const { steps, reasons, isLast } = fill(iterator);
      const refusals: [index: number, reason: Outcome | NetlinkError][] = [...reasons];
      if (steps.length > reasons.size) {
        bytes += await exchange(steps, (index, outcome) => refusals.push([index, outcome]));
      }
      if (reasons.size > 0) refusals.sort(([a], [b]) => a - b);
      for (const [index, reason] of refusals) refused(steps[index] as Step, reason);
      if (isLast) return bytes;
    }
  }

  async function exchange(steps: readonly Step[], tell: (index: number, outcome: Outcome) => void): Promise<number> {
    const first = sequence + 1;
    const fence = first + steps.length;
    sequence = fence;
    writer.begin({ type: NLMSG_NOOP, flags: NLM_F_REQUEST | NLM_F_ACK, sequence: fence });
    writer.end();
    const datagram = writer.bytes();
    busy = true;
    try {
      transport ??= open();
      transport.reserveSendBuffer?.(datagram.length);
      const isSmall = steps.length <= MOST_ON_LOOP && steps.every(isQuick);
      if (isSmall || !transport.sendOffLoop) transport.send(datagram);
      else await transport.sendOffLoop(datagram);
      hearOut(transport, first, fence, tell);
      return datagram.length;
    } catch (error) {
      giveUp();
      throw attributed(error, operation, '');
    } finally {
      busy = false;
      if (closed) giveUp();
    }
  }

  return {
    run(steps, refused) {
      const result = queue.then(() => runNow(steps, refused));
      queue = result.catch(() => {});
      return result;
    },
    close() {
      closed = true;
      if (!busy) giveUp();
    },
  };
}

/** Receive until the fence is acknowledged; `tell` gets each refusal. */
function hearOut(
  transport: Transport,
  first: number,
  fence: number,
  tell: (index: number, outcome: Outcome) => void,
): void {
  let lastTold = first - 1;
  for (let stale = 0; ; ) {
    for (const message of parseMessages(transport.receive())) {
      if (message.type === NLMSG_OVERRUN) {
        throw new NetlinkError({ code: 'KP_NETLINK_OVERRUN', text: 'the kernel reports that it lost answers' });
      }
      // Answers to a run before, echoes, and failures that some kernels report twice.
      if (message.type !== NLMSG_ERROR || message.sequence <= lastTold || message.sequence > fence) {
        if (++stale > MOST_STALE_MESSAGES) throw endless();
        continue;
      }
      if (message.sequence === fence) return;
      const outcome = parseError(message);
      if (outcome.errno === 0) continue;
      lastTold = message.sequence;
      tell(message.sequence - first, outcome);
    }
  }
}

function endless(): NetlinkError {
  return new NetlinkError({
    code: 'KP_NETLINK_TIMEOUT',
    text: `no answer among ${MOST_STALE_MESSAGES} messages for other requests`,
  });
}
