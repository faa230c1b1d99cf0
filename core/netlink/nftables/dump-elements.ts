/**
 * Listing a large set without holding up the event loop: the kernel hands out 32 KiB at a time, and between those there
 * is room for others.
 *
 * What was read is kept as bytes until the end and only then decoded, because the kernel may say at any point that
 * something changed meanwhile (NLM_F_DUMP_INTR), and then elements may be missing or repeated: it starts again.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { NftFamily, NftSet } from '../../nftables.ts';
import { attributed, errnoMeaning, NetlinkError } from '../errors.ts';
import {
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
} from '../message.ts';
import { nfnetlinkAttributes, writeNfgenmsg } from '../nfnetlink.ts';
import type { Transport } from '../transport.ts';
import { createMessageWriter } from '../writer.ts';
import { familyNumber } from './batch.ts';
import { createElementListReader, type ListedElement } from './element-lists.ts';
import * as nft from './protocol.ts';
import { listingRefusal } from './refusals.ts';

/** Milliseconds of the event loop that a slice takes, about. */
const SLICE_MS = 10;
/** Milliseconds. A way to a thread and back takes about a tenth of it. */
const SLOW_RECEIVE_MS = 1;
const MOST_TRIES = 20;
const OPERATION = 'nftables list elements';

/** Uses a transport of its own and closes it: other requests must not come between the parts of a dump. */
export async function dumpElements(
  open: () => Transport,
  family: NftFamily,
  table: string,
  set: NftSet,
  each: (element: ListedElement) => void,
): Promise<void> {
  const transport = open();
  const pause = createPause();
  try {
    const messages = await consistentDump(transport, family, table, set.name, pause);
    const reader = createElementListReader(set);
    for (const attributes of messages) {
      reader.read(attributes, each);
      await pause();
    }
    reader.finish(each);
  } catch (error) {
    throw attributed(error, OPERATION, `${family} ${table} ${set.name}`);
  } finally {
    transport.close();
  }
}

/** To be awaited often; lets others run when a slice's time is over. */
function createPause(): () => Promise<void> | undefined {
  let sliceEnd = performance.now() + SLICE_MS;
  return () => {
    if (performance.now() < sliceEnd) return undefined;
    return nextTurn().then(() => {
      sliceEnd = performance.now() + SLICE_MS;
    });
  };
}

async function consistentDump(
  transport: Transport,
  family: NftFamily,
  table: string,
  set: string,
  pause: () => Promise<void> | undefined,
): Promise<Uint8Array[]> {
  for (let sequence = 1; sequence <= MOST_TRIES; sequence++) {
    transport.send(request(family, table, set, sequence));
    const { messages, interrupted, outcome } = await receiveDump(transport, sequence, pause);
    const { name, text, remedy } = listingRefusal(outcome.errno) ?? errnoMeaning(outcome.errno);
    if (outcome.errno !== 0 && name !== 'EINTR') {
      throw new NetlinkError({
        code: 'KP_NETLINK_REFUSED',
        errno: name,
        text: [text, outcome.text].filter(Boolean).join('; '),
        remedy,
      });
    }
    if (!interrupted && outcome.errno === 0) return messages;
  }
  throw new NetlinkError({
    code: 'KP_NETLINK_TIMEOUT',
    text: `nf_tables changed during each of ${MOST_TRIES} listings`,
    remedy: 'find out which program commits to nf_tables all the time: `nft monitor`',
  });
}

async function receiveDump(
  transport: Transport,
  sequence: number,
  pause: () => Promise<void> | undefined,
): Promise<{ readonly messages: Uint8Array[]; readonly interrupted: boolean; readonly outcome: Outcome }> {
  const messages: Uint8Array[] = [];
  let interrupted = false;
  let isSlow = false;
  for (;;) {
    const start = performance.now();
    const received = isSlow && transport.receiveOffLoop ? await transport.receiveOffLoop() : transport.receive();
    // For each datagram the kernel walks through what it has listed already, in the end for longer than it takes to
    // go to another thread and back.
    isSlow = performance.now() - start > SLOW_RECEIVE_MS;
    // A copy: the transport's buffer is good until the next call only.
    const datagram = received.slice();
    for (const message of parseMessages(datagram)) {
      if (message.sequence !== sequence) continue;
      if ((message.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true;
      if (message.type === NLMSG_ERROR) return { messages, interrupted, outcome: parseError(message) };
      if (message.type === NLMSG_DONE) return { messages, interrupted, outcome: parseDone(message) };
      if (message.type === NLMSG_OVERRUN) {
        throw new NetlinkError({ code: 'KP_NETLINK_OVERRUN', text: 'the kernel reports that it lost answers' });
      }
      if (message.type !== NLMSG_NOOP) messages.push(nfnetlinkAttributes(message));
    }
    await pause();
  }
}

function request(family: NftFamily, table: string, set: string, sequence: number): Uint8Array {
  const writer = createMessageWriter(1024);
  writer.begin({ type: nft.message(nft.NFT_MSG_GETSETELEM), flags: NLM_F_REQUEST | NLM_F_DUMP, sequence });
  writeNfgenmsg(writer, familyNumber(family));
  writer.text(nft.NFTA_SET_ELEM_LIST_TABLE, table);
  writer.text(nft.NFTA_SET_ELEM_LIST_SET, set);
  writer.end();
  return writer.bytes();
}
