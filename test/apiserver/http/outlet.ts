/**
 * The body of one answer on its way out. Everything sent passes here, so that a fault can cut it at any byte or event,
 * slow it down, or hold it back for ever while the connection stays open.
 */
import type { ServerResponse } from 'node:http';
import type { Clock } from '../../../core/backend.ts';
import { type Fault, faultOf } from '../faults.ts';

export interface Outlet {
  /** The headers have left: a cut after nothing is due. */
  begun(): void;
  /** Send part of the body, which ends so many events. False: go on only when `onReady` calls. */
  write(body: string | Buffer, events?: number): boolean;
  end(): void;
  /** Break off; see the fault `cut`. */
  cut(how: 'reset' | 'close' | 'end' | 'freeze'): void;
  /** Nothing more can be sent, or nothing more will be. */
  done(): boolean;
  /** Called whenever sending may go on, and when it never will. */
  onReady(callback: () => void): void;
  /** A fault counts events: send them one by one. */
  readonly precise: boolean;
}

/** How to drop the TCP connection of a response with RST. */
export type ResetConnection = (response: ServerResponse) => void;

export function createOutlet(
  response: ServerResponse,
  faults: readonly Fault[],
  clock: Clock,
  resetConnection: ResetConnection,
): Outlet {
  const cutFault = faultOf(faults, 'cut');
  const slow = faultOf(faults, 'slow');
  let ready: () => void = () => {};
  let bytes = 0;
  let events = 0;
  /** Nothing more leaves. */
  let stopped = false;
  /** Nothing more comes; a slow answer may still have something to send. */
  let ended = false;
  /** What a slow answer has yet to send; undefined at its end stands for the end of the body. */
  const pending: (Buffer | undefined)[] = [];
  let waiting = false;

  response.on('drain', () => ready());
  response.on('close', () => {
    stopped = true;
    ready();
  });

  const cut: Outlet['cut'] = (how) => {
    if (stopped) return;
    stopped = true;
    if (how === 'reset') resetConnection(response);
    else if (how === 'close') response.destroy();
    else if (how === 'end') response.end();
  };

  const trickle = (): void => {
    waiting = false;
    if (stopped || pending.length === 0) return;
    const piece = pending.shift();
    if (piece === undefined) {
      response.end();
      return;
    }
    response.write(piece);
    if (pending.length === 0) ready();
    if (pending.length === 0 || waiting) return;
    waiting = true;
    clock.after(slow!.milliseconds, trickle);
  };

  const send = (body: Buffer | string): boolean => {
    if (slow === undefined) return response.write(body);
    const buffer = Buffer.from(body);
    for (let at = 0; at < buffer.length; at += slow.bytes) pending.push(buffer.subarray(at, at + slow.bytes));
    if (!waiting) {
      waiting = true;
      clock.after(slow.milliseconds, trickle);
    }
    return false;
  };

  return {
    precise: cutFault?.afterEvents !== undefined,
    cut,
    done: () => stopped || ended,
    begun() {
      if (cutFault?.afterBytes === 0 || cutFault?.afterEvents === 0) cut(cutFault.how);
    },
    onReady(callback) {
      ready = callback;
    },
    write(part, eventCount = 0) {
      if (stopped || ended) return false;
      if (cutFault === undefined) return send(part);
      const { afterBytes, afterEvents } = cutFault;
      if (afterEvents !== undefined && events >= afterEvents) {
        cut(cutFault.how);
        return false;
      }
      const body = Buffer.from(part);
      if (afterBytes !== undefined && bytes + body.length >= afterBytes) {
        const rest = body.subarray(0, afterBytes - bytes);
        bytes = afterBytes;
        ended = true;
        // RST takes unsent bytes with it: they must have left first.
        if (rest.length > 0) response.write(rest, () => cut(cutFault.how));
        else cut(cutFault.how);
        return false;
      }
      bytes += body.length;
      events += eventCount;
      const more = send(body);
      if (afterEvents !== undefined && events >= afterEvents) {
        ended = true;
        response.write('', () => cut(cutFault.how));
        return false;
      }
      return more;
    },
    end() {
      if (stopped || ended) return;
      ended = true;
      if (pending.length > 0) pending.push(undefined);
      else response.end();
    },
  };
}
