/**
 * The asking side of an agent. A `Flow` is one source and destination address and port: a TCP connection, or a UDP
 * socket connected to its peer, so that the kernel hands it ICMP errors. A request opens one, takes the first answer
 * and closes it; a held flow stays open and is asked again.
 */
import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import { type Answer, type Closing, LAST_WORD, type Outcome, outcomeOfError, type Request } from './agent-protocol.ts';
import { requestSctp } from './agent-sctp.ts';
import { watchSoftError } from './agent-soft-error.ts';
import { SLOW } from './slow.ts';

const DEFAULT_TIMEOUT_MS = 400;

export interface Flow {
  /** Ask (TCP's first time: just wait, the server speaks first) and resolve with what came. */
  ask(timeoutMs?: number): Promise<Outcome>;
  /** Have the server end it; TCP only. Resolves with "closed" by "EOF" when it did. */
  leave(timeoutMs?: number): Promise<Outcome>;
  /** `abruptly`: with a reset, which leaves nothing in TIME_WAIT. */
  close(abruptly?: boolean): void;
}

export async function request(one: Request, abruptly = false): Promise<Outcome> {
  if (one.protocol === 'SCTP') return requestSctp(one, (one.timeoutMs ?? DEFAULT_TIMEOUT_MS) * SLOW);
  const flow = openFlow(one);
  try {
    return await flow.ask(one.timeoutMs);
  } finally {
    flow.close(abruptly);
  }
}

/**
 * One TCP connection: the greeting, one question and its answer, and an end in that way. The outcome is that of the
 * first of these that failed, or else the last answer.
 */
export async function converse(one: Request, closing: Closing): Promise<Outcome> {
  const flow = openFlow(one);
  try {
    const greeting = await flow.ask(one.timeoutMs);
    if (greeting.outcome !== 'answered') return greeting;
    const answer = await flow.ask(one.timeoutMs);
    if (answer.outcome !== 'answered' || closing !== 'by server') return answer;
    const end = await flow.leave(one.timeoutMs);
    return end.outcome === 'closed' && end.code === 'EOF' ? answer : end;
  } finally {
    flow.close(closing === 'reset');
  }
}

/** All requests, so many at a time; outcomes in the order of the requests. */
export async function requestAll(requests: readonly Request[], concurrency: number): Promise<readonly Outcome[]> {
  const outcomes: Outcome[] = [];
  let next = 0;
  const worker = async () => {
    for (let index = next++; index < requests.length; index = next++) outcomes[index] = await request(requests[index]!);
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, requests.length) }, worker));
  return outcomes;
}

export function openFlow(one: Request): Flow {
  if (one.protocol === 'SCTP') throw new Error('SCTP has no held flows: this kernel may not even know it');
  return one.protocol === 'TCP' ? openTcp(one) : openUdp(one);
}

function openTcp({ destinationIP, destinationPort, sourceIP, sourcePort, timeoutMs }: Request): Flow {
  const waiting = expectation();
  let connected = false;
  let received = '';
  const socket = connect({
    host: destinationIP,
    port: destinationPort,
    noDelay: true,
    ...(sourceIP === undefined ? {} : { localAddress: sourceIP }),
    ...(sourcePort === undefined ? {} : { localPort: sourcePort }),
  });
  socket.on('connect', () => {
    connected = true;
  });
  socket.on('data', (chunk) => {
    received += chunk;
    const end = received.indexOf('\n');
    if (end < 0) return;
    waiting.answered(received.slice(0, end), socket.localPort ?? 0);
    received = received.slice(end + 1);
  });
  socket.on('error', waiting.broke);
  watchSoftError(socket, waiting.broke);
  socket.on('end', () => waiting.broke(Object.assign(new Error('the server ended it'), { code: 'EOF' })));
  return {
    ask(milliseconds = timeoutMs) {
      if (connected) socket.write('ping\n');
      return waiting.within(milliseconds);
    },
    leave(milliseconds = timeoutMs) {
      socket.write(LAST_WORD);
      return waiting.within(milliseconds);
    },
    close(abruptly) {
      if (abruptly && connected) socket.resetAndDestroy();
      else socket.destroy();
    },
  };
}

function openUdp({ destinationIP, destinationPort, sourceIP, sourcePort, timeoutMs }: Request): Flow {
  const waiting = expectation();
  const socket = createSocket({ type: isIPv6(destinationIP) ? 'udp6' : 'udp4', ipv6Only: isIPv6(destinationIP) });
  const connected = new Promise<boolean>((resolve) => {
    const fail = (error: Error) => {
      waiting.broke(error);
      resolve(false);
    };
    socket.once('error', fail); // of bind(2): the address is not here
    socket.on('connect', () => {
      socket.off('error', fail).on('error', waiting.failed);
      resolve(true);
    });
    socket.bind(sourcePort ?? 0, sourceIP, () => {
      // A destination that has no route fails here, by the callback rather than by the event.
      socket.connect(destinationPort, destinationIP, (error?: Error) => {
        if (error) fail(error);
      });
    });
  });
  socket.on('message', (message) => waiting.answered(message.toString(), socket.address().port));
  return {
    async ask(milliseconds = timeoutMs) {
      const outcome = waiting.within(milliseconds);
      if (await connected) {
        socket.send('ping\n', (error: Error | null) => {
          if (error) waiting.failed(error);
        });
      }
      return outcome;
    },
    leave: () => Promise.reject(new Error('a UDP server has no connections to end')),
    close() {
      socket.close();
    },
  };
}

/** The first thing that happens after a flow asked. An answer that comes later is no answer to the next question. */
function expectation() {
  let broken: Error | undefined;
  let waiter: { resolve(outcome: Outcome): void; reject(error: Error): void } | undefined;
  const tell = (error: NodeJS.ErrnoException) => {
    const outcome = outcomeOfError(error.code);
    if (outcome) waiter?.resolve(outcome);
    else waiter?.reject(error);
  };
  return {
    answered(line: string, localPort: number) {
      const answer = JSON.parse(line) as Answer;
      waiter?.resolve({ outcome: 'answered', localPort, ...answer });
    },
    /** This question failed; the flow may still work (UDP). */
    failed: tell,
    /** The flow is over: every later question fails alike. */
    broke(error: Error) {
      broken ??= error;
      tell(error);
    },
    within(milliseconds = DEFAULT_TIMEOUT_MS): Promise<Outcome> {
      return new Promise<Outcome>((resolve, reject) => {
        const timer = setTimeout(() => waiter?.resolve({ outcome: 'timeout' }), milliseconds * SLOW);
        const done = () => {
          clearTimeout(timer);
          waiter = undefined;
        };
        waiter = {
          resolve(outcome) {
            done();
            resolve(outcome);
          },
          reject(error) {
            done();
            reject(error);
          },
        };
        if (broken) tell(broken);
      });
    },
  };
}
