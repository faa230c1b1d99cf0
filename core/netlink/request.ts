/**
 * Asking the kernel and hearing it out, over one Transport.
 *
 *   request:  ── message ──▶   ◀── replies …, ack (NLMSG_ERROR, 0 = success)
 *   dump:     ── message ──▶   ◀── objects in many datagrams …, NLMSG_DONE
 *
 * Every request has a sequence number of its own, and what carries another is skipped: it belongs to a request that
 * was given up. After a timeout, an overrun or a malformed answer nobody knows what the kernel still has to say, and
 * an unfinished dump would make it refuse the next one (EBUSY), so the transport is closed then and the next request
 * opens a new one.
 */
import { attributed, type ErrnoMeaning, errnoMeaning, NetlinkError } from './errors.ts';
import {
  type Message,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_NOOP,
  NLMSG_OVERRUN,
  type Outcome,
  parseDone,
  parseError,
  parseMessages,
} from './message.ts';
import type { Transport } from './transport.ts';
import { createMessageWriter, type MessageWriter } from './writer.ts';

/** One question. `operation` and `object` are for errors: "ipset create", "KUBE-SEP-X". */
export interface Call {
  readonly operation: string;
  readonly object: string;
  readonly type: number;
  /** Besides NLM_F_REQUEST, and NLM_F_ACK or NLM_F_DUMP. */
  readonly flags?: number;
  /** Writes what follows the message header. */
  write(writer: MessageWriter): void;
  /** What an error number means in this family; undefined = what it means everywhere. */
  meaning?(errno: number): ErrnoMeaning | undefined;
}

export interface Conversation {
  /** Ask, and return when the kernel has acknowledged. `each` sees the replies that come before. */
  request(call: Call, each?: (reply: Message) => void): void;
  /**
   * List objects; `each` sees them one by one and must not start another request. `interrupted`: they changed
   * meanwhile, so some may be missing or repeated; ask again if that matters.
   */
  dump(call: Call, each: (object: Message) => void): { readonly interrupted: boolean };
  close(): void;
}

/** More answers than this to other requests than ours mean that something is wrong; no kernel queues as many. */
const MOST_STALE_MESSAGES = 1_000_000;

/** Opens the first transport at once, so that a host without netlink is known early. */
export function openConversation(open: () => Transport): Conversation {
  const writer = createMessageWriter();
  let transport: Transport | undefined = open();
  let closed = false;
  let sequence = 0;

  function ask(call: Call, flags: number, each: (message: Message) => void): { interrupted: boolean } {
    if (closed) throw refusedBecauseClosed(call);
    transport ??= open();
    sequence = sequence === 0xffffffff ? 1 : sequence + 1;
    try {
      encode(writer, call, flags, sequence);
    } catch (error) {
      throw attributed(error, call.operation, call.object); // Nothing was sent: the transport is fine.
    }
    let answer: { interrupted: boolean; outcome: Outcome };
    try {
      transport.send(writer.bytes());
      answer = hearOut(transport, sequence, each);
    } catch (error) {
      transport.close();
      transport = undefined;
      throw attributed(error, call.operation, call.object);
    }
    if (answer.outcome.errno !== 0) throw refusal(call, answer.outcome);
    return { interrupted: answer.interrupted };
  }

  return {
    request: (call, each = ignore) => void ask(call, NLM_F_REQUEST | NLM_F_ACK, each),
    dump: (call, each) => ask(call, NLM_F_REQUEST | NLM_F_DUMP, each),
    close() {
      closed = true;
      transport?.close();
      transport = undefined;
    },
  };
}

function ignore(): void {}

function encode(writer: MessageWriter, call: Call, flags: number, sequence: number): void {
  writer.reset();
  writer.begin({ type: call.type, flags: flags | (call.flags ?? 0), sequence });
  call.write(writer);
  writer.end();
}

/** Receive until the request is answered to its end. */
function hearOut(
  transport: Transport,
  sequence: number,
  each: (message: Message) => void,
): { interrupted: boolean; outcome: Outcome } {
  let interrupted = false;
  let outcome: Outcome | undefined;
  for (let stale = 0; outcome === undefined; ) {
    for (const message of parseMessages(transport.receive())) {
      if (message.sequence !== sequence) {
        if (++stale > MOST_STALE_MESSAGES) throw endless();
        continue;
      }
      if ((message.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true;
      if (outcome !== undefined) continue; // Some kernels report one failure twice.
      if (message.type === NLMSG_ERROR) outcome = parseError(message);
      else if (message.type === NLMSG_DONE) outcome = parseDone(message);
      else if (message.type === NLMSG_OVERRUN) throw overrun();
      else if (message.type !== NLMSG_NOOP) each(message);
    }
  }
  return { interrupted, outcome };
}

function refusal(call: Call, { errno, text: explanation }: Outcome): NetlinkError {
  const { name, text, remedy } = call.meaning?.(errno) ?? errnoMeaning(errno);
  return new NetlinkError({
    code: 'KP_NETLINK_REFUSED',
    operation: call.operation,
    object: call.object,
    errno: name,
    text: [text, explanation].filter(Boolean).join('; '),
    remedy,
  });
}

function refusedBecauseClosed({ operation, object }: Call): NetlinkError {
  return new NetlinkError({ code: 'KP_NETLINK_INVALID', operation, object, text: 'the socket is closed' });
}

function overrun(): NetlinkError {
  return new NetlinkError({ code: 'KP_NETLINK_OVERRUN', text: 'the kernel reports that it lost answers' });
}

function endless(): NetlinkError {
  return new NetlinkError({
    code: 'KP_NETLINK_TIMEOUT',
    text: `no answer among ${MOST_STALE_MESSAGES} messages for other requests`,
  });
}
