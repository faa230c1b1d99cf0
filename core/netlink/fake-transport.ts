/**
 * A kernel for tests: `answer` gets every datagram sent, and what it returns can then be received. When nothing is
 * left, receiving times out at once, as a silent kernel would after five seconds.
 */
import { NetlinkError } from './errors.ts';
import type { Transport } from './transport.ts';

export interface FakeTransport extends Transport {
  /** Copies of all that was sent. */
  readonly sent: readonly Uint8Array[];
  readonly closed: boolean;
}

export function createFakeTransport(answer: (datagram: Uint8Array) => readonly Uint8Array[]): FakeTransport {
  const sent: Uint8Array[] = [];
  const waiting: Uint8Array[] = [];
  let closed = false;
  return {
    sent,
    get closed() {
      return closed;
    },
    send(datagram) {
      if (closed) throw new NetlinkError({ code: 'KP_NETLINK_INVALID', text: 'the socket is closed' });
      const copy = datagram.slice();
      sent.push(copy);
      waiting.push(...answer(copy));
    },
    receive() {
      const datagram = waiting.shift();
      if (datagram === undefined) throw new NetlinkError({ code: 'KP_NETLINK_TIMEOUT', text: 'no answer' });
      return datagram;
    },
    close() {
      closed = true;
    },
  };
}
