/**
 * Sending batches, one at a time, and hearing how they ended.
 *
 *   small: send ─ receive, at once        large: send in a thread of libuv's pool … receive
 *
 * The kernel works inside the send, for seconds if there is much to do, so a large batch must not be sent on the event
 * loop; for a small one the way to a thread and back costs more than the commit. Its answers wait when send returns.
 *
 * Ownership of tables is bound to the port id of this one socket, which therefore stays open. After a fault that
 * leaves the outcome unknown it is closed all the same: its tables then are orphans (NFT_TABLE_F_PERSIST), and the
 * next 'add table' with `owned`, from the next socket, takes them over again. The old one is always closed before, or
 * the new one would be refused as a stranger.
 */
import type { NftTransaction } from '../../nftables.ts';
import { attributed, NetlinkError } from '../errors.ts';
import {
  NLM_F_ACK,
  NLM_F_REQUEST,
  NLMSG_ERROR,
  NLMSG_OVERRUN,
  type Outcome,
  parseError,
  parseErrorOffset,
  parseMessages,
} from '../message.ts';
import { NFPROTO_UNSPEC, writeNfgenmsg } from '../nfnetlink.ts';
import type { Transport } from '../transport.ts';
import { createMessageWriter } from '../writer.ts';
import { type Batch, createBatchEncoder, writeEdge } from './batch.ts';
import * as nft from './protocol.ts';
import { commitRefusal } from './refusals.ts';

/** Up to this a batch is sent on the event loop: some 0.3 ms of work for the kernel. */
const MOST_BYTES_ON_LOOP = 64 << 10;
/** Sequence numbers have 32 bits and must rise within a batch; no batch has as many messages as are left here. */
const LAST_FIRST_SEQUENCE = 0xf000_0000;
const MOST_STALE_MESSAGES = 1_000_000;

export interface CommitSocket {
  commit(transaction: NftTransaction): Promise<{ readonly operations: number; readonly bytes: number }>;
  close(): void;
}

export function createCommitSocket(open: () => Transport): CommitSocket {
  const encoder = createBatchEncoder();
  let transport: Transport | undefined;
  let acknowledgesEnd: boolean | undefined;
  let nextSequence = 1;
  let closed = false;
  let busy = false;
  let queue: Promise<unknown> = Promise.resolve();

  /** Only after what may have left answers behind that nobody will read. */
  function giveUp(): void {
    transport?.close();
    transport = undefined;
  }

  /** Tries an empty batch, which changes nothing, and asks something else behind it to know when its answer is missing. */
  function probeEnd(socket: Transport): boolean {
    const writer = createMessageWriter(128);
    const first = reserveSequences(3);
    writeEdge(writer, nft.NFNL_MSG_BATCH_BEGIN, first, 0);
    writeEdge(writer, nft.NFNL_MSG_BATCH_END, first + 1, NLM_F_ACK);
    socket.send(writer.bytes());
    writer.reset();
    writer.begin({ type: nft.message(nft.NFT_MSG_GETGEN), flags: NLM_F_REQUEST | NLM_F_ACK, sequence: first + 2 });
    writeNfgenmsg(writer, NFPROTO_UNSPEC);
    writer.end();
    socket.send(writer.bytes());
    let acknowledged = false;
    for (const { sequence, outcome } of outcomes(socket, first, first + 2)) {
      if (outcome.errno !== 0) throw refusal(outcome, { operation: 'nftables open', object: '', step: undefined });
      if (sequence === first + 1) acknowledged = true;
      if (sequence === first + 2) return acknowledged;
    }
    return acknowledged;
  }

  function reserveSequences(count: number): number {
    if (nextSequence > LAST_FIRST_SEQUENCE) nextSequence = 1;
    const first = nextSequence;
    nextSequence += count;
    return first;
  }

  async function commitNow(transaction: NftTransaction): Promise<{ operations: number; bytes: number }> {
    if (closed)
      throw new NetlinkError({
        code: 'KP_NETLINK_INVALID',
        operation: 'nftables commit',
        text: 'the socket is closed',
      });
    const whole = `${transaction.family} ${transaction.table}`;
    let sent = false;
    busy = true;
    try {
      transport ??= open();
      acknowledgesEnd ??= probeEnd(transport);
      const batch = encoder.encode(transaction, reserveSequences(1), acknowledgesEnd);
      nextSequence = batch.lastSequence + 1;
      if (batch.operations === 0) return { operations: 0, bytes: 0 };
      const bytes = batch.bytes.length;
      transport.reserveSendBuffer?.(bytes);
      const isLarge = bytes > MOST_BYTES_ON_LOOP || batch.deletesMuch;
      if (isLarge && transport.sendOffLoop) await transport.sendOffLoop(batch.bytes);
      else transport.send(batch.bytes);
      sent = true;
      hearOut(transport, batch);
      return { operations: batch.operations, bytes };
    } catch (error) {
      const isRefusal = error instanceof NetlinkError && error.code === 'KP_NETLINK_REFUSED';
      if (acknowledgesEnd === undefined || (sent && !isRefusal)) giveUp();
      throw attributed(error, 'nftables commit', whole);
    } finally {
      busy = false;
      if (closed) giveUp();
    }
  }

  return {
    commit(transaction) {
      const result = queue.then(() => commitNow(transaction));
      queue = result.catch(() => {});
      return result;
    },
    close() {
      closed = true;
      if (!busy) giveUp();
    },
  };
}

/** Success is the last ack without an error before it: aborted batches bring acks of their good messages, too. */
function hearOut(transport: Transport, batch: Batch): void {
  for (const { sequence, outcome, offset } of outcomes(transport, batch.firstSequence, batch.lastSequence)) {
    // Errors come in the order of the messages. Those that follow the first one are skipped before the next commit.
    if (outcome.errno !== 0) throw refusal(outcome, batch.subject(sequence, offset));
    if (sequence === batch.acknowledged) return;
  }
}

function* outcomes(
  transport: Transport,
  first: number,
  last: number,
): Generator<{ readonly sequence: number; readonly outcome: Outcome; readonly offset: number | undefined }> {
  for (let stale = 0; ; ) {
    for (const message of parseMessages(transport.receive())) {
      if (message.sequence < first || message.sequence > last) {
        if (++stale > MOST_STALE_MESSAGES) throw endless();
      } else if (message.type === NLMSG_OVERRUN) throw overrun();
      else if (message.type === NLMSG_ERROR) {
        yield { sequence: message.sequence, outcome: parseError(message), offset: parseErrorOffset(message) };
      } else if (++stale > MOST_STALE_MESSAGES) throw endless();
    }
  }
}

function refusal(
  { errno, text: explanation }: Outcome,
  { operation, object, step }: ReturnType<Batch['subject']>,
): NetlinkError {
  const { name, text, remedy } = commitRefusal(errno, step);
  return new NetlinkError({
    code: 'KP_NETLINK_REFUSED',
    operation,
    object,
    errno: name,
    text: [text, explanation].filter(Boolean).join('; '),
    remedy,
  });
}

function overrun(): NetlinkError {
  return new NetlinkError({ code: 'KP_NETLINK_OVERRUN', text: 'the kernel reports that it lost answers' });
}

function endless(): NetlinkError {
  return new NetlinkError({
    code: 'KP_NETLINK_TIMEOUT',
    text: `no answer among ${MOST_STALE_MESSAGES} other messages`,
  });
}
