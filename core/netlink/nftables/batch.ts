/**
 * A transaction as one datagram, and the way back from a message of it to what it was about.
 *
 *   sequence  7            8          9           10 …                 n
 *             BATCH_BEGIN  add table  add set     add elements …       BATCH_END
 *                                                 ≤ 60,000 bytes each
 *
 * The kernel answers failures with the message's sequence number. Only the last message asks for an ack: thousands of
 * acks would overflow the receive buffer.
 */
import type { NftElement, NftFamily, NftOperation, NftSet, NftTransaction } from '../../nftables.ts';
import { HOST_IS_LITTLE_ENDIAN } from '../attributes.ts';
import { attributed } from '../errors.ts';
import { NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST } from '../message.ts';
import { NFNL_SUBSYS_NFTABLES, NFPROTO_IPV4, NFPROTO_IPV6, NFPROTO_UNSPEC, writeNfgenmsg } from '../nfnetlink.ts';
import { createMessageWriter, type MessageWriter } from '../writer.ts';
import { createElementListReader } from './element-lists.ts';
import { createElementEncoder, MOST_ELEMENT_BYTES, MOST_LIST_BYTES } from './elements.ts';
import { writeRule } from './expressions.ts';
import * as nft from './protocol.ts';
import { writeSet } from './sets.ts';
import { commentUserdata } from './userdata.ts';

const FLAGS_IN_HEADER = 6;

/** What a message is about, in the words of errors. */
export interface Subject {
  /** "nftables add element" */
  readonly operation: string;
  /** "map services, 10.96.0.1 . tcp . 80" */
  readonly object: string;
  /** Undefined for the batch as a whole. */
  readonly step: NftOperation | undefined;
}

export interface Batch {
  /** A view, good until the next batch is encoded. */
  readonly bytes: Uint8Array;
  /** Objects and elements. */
  readonly operations: number;
  /** Few bytes may be much work: something of unknown size is deleted. */
  readonly deletesMuch: boolean;
  readonly firstSequence: number;
  readonly lastSequence: number;
  /** The one whose ack means success. */
  readonly acknowledged: number;
  /** `offset`: where in the message the fault is, if the kernel says so. */
  subject(sequence: number, offset?: number): Subject;
}

export interface BatchEncoder {
  /**
   * `acknowledgesEnd`: this kernel acks BATCH_END; others only real messages.
   * @throws NetlinkError KP_NETLINK_INVALID, KP_NETLINK_TOO_LONG naming operation and object.
   */
  encode(transaction: NftTransaction, firstSequence: number, acknowledgesEnd: boolean): Batch;
}

/** Above this, a buffer that was needed once is not kept. */
const MOST_KEPT_BYTES = 4 << 20;

export function createBatchEncoder(): BatchEncoder {
  let writer = createMessageWriter(64 << 10);
  let list: Uint8Array | undefined;
  return {
    encode(transaction, firstSequence, acknowledgesEnd) {
      // The last view may still be somebody's, but its datagram has been sent.
      writer.reset(); // First of all: the last one may have failed within a message.
      if (writer.bytes().buffer.byteLength > MOST_KEPT_BYTES) writer = createMessageWriter(64 << 10);
      list ??= new Uint8Array(MOST_LIST_BYTES + 2 * MOST_ELEMENT_BYTES);
      return encodeBatch(writer, list, transaction, firstSequence, acknowledgesEnd);
    },
  };
}

export function familyNumber(family: NftFamily): number {
  return family === 'ip' ? NFPROTO_IPV4 : NFPROTO_IPV6;
}

function encodeBatch(
  writer: MessageWriter,
  list: Uint8Array,
  { family, table, operations }: NftTransaction,
  firstSequence: number,
  acknowledgesEnd: boolean,
): Batch {
  /** By message, BATCH_BEGIN left out. */
  const steps: NftOperation[] = [];
  /** The first element of a message, and how many follow it. */
  const elements: (readonly [first: NftElement, following: number] | undefined)[] = [];
  /** Where messages begin in the datagram. */
  const starts: number[] = [];
  let sequence = firstSequence;
  let count = 0;
  let setId = 0;
  let deletesMuch = false;

  function message(step: NftOperation, command: number, flags: number, write: () => void): void {
    steps.push(step);
    elements.push(undefined);
    count++;
    starts.push(writer.bytes().length);
    writer.begin({ type: nft.message(command), flags: NLM_F_REQUEST | flags, sequence: ++sequence });
    writeNfgenmsg(writer, familyNumber(family));
    write();
    writer.end();
  }

  function elementMessages(step: Extract<NftOperation, { elements: unknown }>): void {
    const deleting = step.do === 'delete elements';
    const command = deleting ? nft.NFT_MSG_DELSETELEM : nft.NFT_MSG_NEWSETELEM;
    const encode = createElementEncoder(step.set, deleting);
    let first: NftElement | undefined;
    let inMessage = 0;
    let end = 0;
    const flush = () => {
      if (first === undefined) return;
      // Without NLM_F_EXCL an equal element is fine, and one with other data EEXIST all the same.
      message(step, command, deleting ? 0 : NLM_F_CREATE, () => {
        writer.text(nft.NFTA_SET_ELEM_LIST_TABLE, table);
        writer.text(nft.NFTA_SET_ELEM_LIST_SET, step.set.name);
        writer.nest(nft.NFTA_SET_ELEM_LIST_ELEMENTS, () => writer.raw(list.subarray(0, end)));
      });
      elements[elements.length - 1] = [first, inMessage - 1];
      count += inMessage - 1;
      first = undefined;
      inMessage = end = 0;
    };
    for (const element of step.elements) {
      try {
        end = encode(element, list, end);
      } catch (error) {
        throw attributed(error, operationName(step), objectName(step, `${family} ${table}`, [element, 0]));
      }
      first ??= element;
      inMessage++;
      if (end >= MOST_LIST_BYTES) flush();
    }
    flush();
  }

  function oneStep(step: NftOperation): void {
    switch (step.do) {
      case 'add table':
        message(step, nft.NFT_MSG_NEWTABLE, NLM_F_CREATE, () => {
          writer.text(nft.NFTA_TABLE_NAME, table);
          writer.u32be(nft.NFTA_TABLE_FLAGS, step.owned ? nft.NFT_TABLE_F_OWNER | nft.NFT_TABLE_F_PERSIST : 0);
          if (step.comment) {
            writer.binary(nft.NFTA_TABLE_USERDATA, commentUserdata(nft.UDATA_TABLE_COMMENT, step.comment));
          }
        });
        return;
      case 'delete table':
        message(step, nft.NFT_MSG_DELTABLE, 0, () => writer.text(nft.NFTA_TABLE_NAME, table));
        return;
      case 'add chain':
        message(step, nft.NFT_MSG_NEWCHAIN, NLM_F_CREATE, () => writeChain(writer, table, step.chain));
        return;
      case 'delete chain':
        message(step, nft.NFT_MSG_DELCHAIN, 0, () => {
          writer.text(nft.NFTA_CHAIN_TABLE, table);
          writer.text(nft.NFTA_CHAIN_NAME, step.chain);
        });
        return;
      case 'flush chain':
        message(step, nft.NFT_MSG_DELRULE, 0, () => {
          writer.text(nft.NFTA_RULE_TABLE, table);
          writer.text(nft.NFTA_RULE_CHAIN, step.chain);
        });
        return;
      case 'add rule':
        message(step, nft.NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, () => {
          writer.text(nft.NFTA_RULE_TABLE, table);
          writer.text(nft.NFTA_RULE_CHAIN, step.chain);
          writeRule(writer, family, step.rule);
        });
        return;
      case 'add set':
        message(step, nft.NFT_MSG_NEWSET, NLM_F_CREATE, () => writeSet(writer, table, step.set, ++setId));
        return;
      case 'delete set':
        message(step, nft.NFT_MSG_DELSET, 0, () => {
          writer.text(nft.NFTA_SET_TABLE, table);
          writer.text(nft.NFTA_SET_NAME, step.set.name);
        });
        return;
      case 'flush set':
        // "Delete elements" without a list of them.
        message(step, nft.NFT_MSG_DELSETELEM, 0, () => {
          writer.text(nft.NFTA_SET_ELEM_LIST_TABLE, table);
          writer.text(nft.NFTA_SET_ELEM_LIST_SET, step.set.name);
        });
        return;
      case 'add elements':
      case 'delete elements':
        elementMessages(step);
        return;
    }
  }

  writeEdge(writer, nft.NFNL_MSG_BATCH_BEGIN, sequence, 0);
  for (const step of operations) {
    if (step.do === 'delete table' || step.do === 'delete set' || step.do === 'flush set') deletesMuch = true;
    try {
      oneStep(step);
    } catch (error) {
      throw attributed(error, operationName(step), objectName(step, `${family} ${table}`, undefined));
    }
  }
  const lastReal = sequence;
  writeEdge(writer, nft.NFNL_MSG_BATCH_END, ++sequence, acknowledgesEnd ? NLM_F_ACK : 0);
  const bytes = writer.bytes();
  if (!acknowledgesEnd && count > 0) askForAck(bytes, starts.at(-1) ?? 0);
  return {
    bytes,
    operations: count,
    deletesMuch,
    firstSequence,
    lastSequence: sequence,
    acknowledged: acknowledgesEnd ? sequence : lastReal,
    subject(failed, offset) {
      const index = failed - firstSequence - 1;
      const step = steps[index];
      if (step === undefined) return { operation: 'nftables commit', object: `${family} ${table}`, step };
      const exact =
        offset !== undefined && (step.do === 'add elements' || step.do === 'delete elements')
          ? sentElement(step.set, bytes, (starts[index] ?? 0) + offset)
          : undefined;
      const element = exact === undefined ? elements[index] : ([exact, 0] as const);
      return { operation: operationName(step), object: objectName(step, `${family} ${table}`, element), step };
    },
  };
}

/** The element whose bytes begin there; undefined if none does. */
function sentElement(set: NftSet, bytes: Uint8Array, at: number): NftElement | undefined {
  if (at + 4 > bytes.length) return undefined;
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint16(at, HOST_IS_LITTLE_ENDIAN);
  let found: NftElement | undefined;
  try {
    const reader = createElementListReader(set);
    reader.readList(bytes.subarray(at, at + length), (element) => {
      found = element;
    });
    reader.finish((element) => {
      found = element;
    });
  } catch {
    return undefined; // It was to make the error clearer, no more.
  }
  return found;
}

/** BATCH_BEGIN or BATCH_END. */
export function writeEdge(writer: MessageWriter, type: number, sequence: number, flags: number): void {
  writer.begin({ type, flags: NLM_F_REQUEST | flags, sequence });
  writeNfgenmsg(writer, NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES);
  writer.end();
}

function askForAck(bytes: Uint8Array, messageStart: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const at = messageStart + FLAGS_IN_HEADER;
  view.setUint16(at, view.getUint16(at, HOST_IS_LITTLE_ENDIAN) | NLM_F_ACK, HOST_IS_LITTLE_ENDIAN);
}

function writeChain(
  writer: MessageWriter,
  table: string,
  { name, hook }: Extract<NftOperation, { do: 'add chain' }>['chain'],
): void {
  writer.text(nft.NFTA_CHAIN_TABLE, table);
  writer.text(nft.NFTA_CHAIN_NAME, name);
  if (hook === undefined) return;
  writer.nest(nft.NFTA_CHAIN_HOOK, () => {
    writer.u32be(nft.NFTA_HOOK_HOOKNUM, nft.HOOKS.indexOf(hook.hook));
    writer.u32be(nft.NFTA_HOOK_PRIORITY, hook.priority >>> 0);
  });
  writer.u32be(nft.NFTA_CHAIN_POLICY, nft.NF_ACCEPT);
  writer.text(nft.NFTA_CHAIN_TYPE, hook.type);
}

function operationName(step: NftOperation): string {
  return `nftables ${step.do === 'add elements' || step.do === 'delete elements' ? step.do.slice(0, -1) : step.do}`;
}

function objectName(
  step: NftOperation,
  table: string,
  element: readonly [first: NftElement, following: number] | undefined,
): string {
  switch (step.do) {
    case 'add table':
    case 'delete table':
      return table;
    case 'add chain':
      return step.chain.name;
    case 'flush chain':
    case 'delete chain':
      return step.chain;
    case 'add rule':
      return `to chain ${step.chain}${step.rule.comment ? `, "${step.rule.comment}"` : ''}`;
    case 'add set':
    case 'flush set':
    case 'delete set':
      return step.set.name;
    case 'add elements':
    case 'delete elements': {
      if (element === undefined) return setName(step.set);
      const [{ key }, following] = element;
      const others = following > 0 ? ` or one of ${following} after it` : '';
      return `${setName(step.set)}, ${key.join(' . ')}${others}`;
    }
  }
}

function setName({ name, data }: NftSet): string {
  return `${data === undefined ? 'set' : 'map'} ${name}`;
}
