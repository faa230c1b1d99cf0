/**
 * A long listing without holding up the event loop: the kernel makes the next 32 KiB only when the last were read, so
 * that between two receives others can have their turn.
 *
 * It uses a transport of its own and closes it: nothing may come between the parts of a dump.
 */
import { attributed, errnoMeaning, NetlinkError } from './errors.ts';
import {
  type Message,
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
import type { Call } from './request.ts';
import type { Transport } from './transport.ts';
import { createMessageWriter } from './writer.ts';

const SEQUENCE = 1;

/**
 * `each` sees the objects one by one; `pause` is awaited between datagrams. `interrupted`: they changed meanwhile, so some
 * may be missing or repeated.
 * @throws NetlinkError with the call's operation and object.
 */
export async function dumpInSlices(
  open: () => Transport,
  call: Call,
  each: (object: Message) => void,
  pause: () => Promise<void> | undefined,
): Promise<{ readonly interrupted: boolean }> {
  let transport: Transport | undefined;
  try {
    transport = open();
    const writer = createMessageWriter(256);
    const flags = NLM_F_REQUEST | NLM_F_DUMP | (call.flags ?? 0);
    writer.begin({ type: call.type, flags, sequence: SEQUENCE });
    call.write(writer);
    writer.end();
    transport.send(writer.bytes());
    let interrupted = false;
    for (;;) {
      for (const message of parseMessages(transport.receive())) {
        if (message.sequence !== SEQUENCE) continue;
        if ((message.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true;
        const outcome = outcomeOf(message);
        if (outcome !== undefined) {
          if (outcome.errno !== 0) throw refusal(call, outcome);
          return { interrupted };
        }
        if (message.type !== NLMSG_NOOP) each(message);
      }
      await pause();
    }
  } catch (error) {
    throw attributed(error, call.operation, call.object);
  } finally {
    transport?.close();
  }
}

/** Undefined: not the end. */
function outcomeOf(message: Message): Outcome | undefined {
  if (message.type === NLMSG_OVERRUN) {
    throw new NetlinkError({ code: 'KP_NETLINK_OVERRUN', text: 'the kernel reports that it lost answers' });
  }
  if (message.type === NLMSG_DONE) return parseDone(message);
  return message.type === NLMSG_ERROR ? parseError(message) : undefined;
}

function refusal(call: Call, { errno, text: explanation }: Outcome): NetlinkError {
  const { name, text, remedy } = call.meaning?.(errno) ?? errnoMeaning(errno);
  const words = [text, explanation].filter(Boolean).join('; ');
  return new NetlinkError({ code: 'KP_NETLINK_REFUSED', errno: name, text: words, remedy });
}
