import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createFakeTransport, type FakeTransport } from '../../../core/netlink/fake-transport.ts';
import { NLM_F_CREATE, NLM_F_DUMP_INTR, parseMessages } from '../../../core/netlink/message.ts';
import { type Call, type Conversation, openConversation } from '../../../core/netlink/request.ts';
import { createMessageWriter } from '../../../core/netlink/writer.ts';
import { fault } from './fault.ts';

const NOOP = 1;
const ERROR = 2;
const DONE = 3;
const OVERRUN = 4;
const OBJECT = 0x607;

interface Answer {
  readonly type: number;
  readonly sequence?: number;
  readonly flags?: number;
  readonly errno?: number;
  readonly value?: number;
}

/** One datagram. Answers carry the request's sequence unless they state another. */
function datagram(request: Uint8Array, answers: readonly Answer[]): Uint8Array {
  const asked = parseMessages(request)[0]!;
  const writer = createMessageWriter();
  for (const { type, sequence = asked.sequence, flags = 0, errno = 0, value = 0 } of answers) {
    writer.begin({ type, flags, sequence });
    const number = new Uint8Array(new Int32Array([type === OBJECT ? value : -errno]).buffer);
    writer.raw(number);
    if (type === ERROR) writer.raw(request.subarray(0, 16));
    writer.end();
  }
  return writer.bytes();
}

/** A conversation whose nth request gets the nth list of datagrams; also counts the transports opened. */
function conversationOf(...answers: readonly (readonly (readonly Answer[])[])[]): {
  readonly conversation: Conversation;
  readonly transports: readonly FakeTransport[];
} {
  const transports: FakeTransport[] = [];
  let asked = 0;
  const conversation = openConversation(() => {
    const transport = createFakeTransport((request) => (answers[asked++] ?? []).map((list) => datagram(request, list)));
    transports.push(transport);
    return transport;
  });
  return { conversation, transports };
}

const call: Call = { operation: 'thing get', object: 'KUBE-A', type: OBJECT, write: (w) => w.u8(1, 7) };

const values = (seen: number[]) => (message: { readonly payload: Uint8Array }) => void seen.push(message.payload[0]!);

const request = suite('netlink requests');

request('send flags and a fresh sequence number, and end at their ack', () => {
  const { conversation, transports } = conversationOf([[{ type: ERROR }]], [[{ type: ERROR }]]);
  conversation.request({ ...call, flags: NLM_F_CREATE });
  conversation.request(call);
  const sent = transports[0]!.sent.map((bytes) => parseMessages(bytes)[0]!);
  assert.equal(
    sent.map(({ type, flags, sequence }) => [type, flags, sequence]),
    [
      [OBJECT, 0x405, 1],
      [OBJECT, 0x005, 2],
    ],
  );
});

request('hand over the replies that come before the ack', () => {
  const seen: number[] = [];
  const { conversation } = conversationOf([[{ type: OBJECT, value: 5 }], [{ type: NOOP }, { type: ERROR }]]);
  conversation.request(call, values(seen));
  assert.equal(seen, [5]);
});

request('skip what answers another request', () => {
  const seen: number[] = [];
  const { conversation } = conversationOf([
    [
      { type: ERROR, sequence: 99, errno: 1 },
      { type: OBJECT, sequence: 0, value: 1 },
    ],
    [{ type: OBJECT, value: 2 }, { type: ERROR }],
  ]);
  conversation.request(call, values(seen));
  assert.equal(seen, [2]);
});

request('are not confused by a failure that the kernel reports twice', () => {
  const { conversation, transports } = conversationOf(
    [[{ type: ERROR, errno: 2 }], [{ type: ERROR, errno: 2 }]],
    [[{ type: ERROR }]],
  );
  assert.is(fault(() => conversation.request(call)).errno, 'ENOENT');
  conversation.request(call);
  assert.is(transports.length, 1);
  const first = conversationOf([[{ type: ERROR, errno: 2 }, { type: ERROR }]]).conversation;
  assert.is(fault(() => first.request(call)).errno, 'ENOENT');
});

request('that the kernel refuses name operation, object and error, and keep the socket', () => {
  const { conversation, transports } = conversationOf([[{ type: ERROR, errno: 1 }]], [[{ type: ERROR }]]);
  const error = fault(() => conversation.request(call));
  assert.match(error.message, /^thing get KUBE-A: EPERM \(operation not permitted\): needs CAP_NET_ADMIN/);
  assert.is(error.code, 'KP_NETLINK_REFUSED');
  conversation.request(call);
  assert.is(transports.length, 1);
});

request('ask their family first what an error number means', () => {
  const { conversation } = conversationOf([[{ type: ERROR, errno: 4100 }]], [[{ type: ERROR, errno: 22 }]]);
  const meaning = (errno: number) => (errno === 4100 ? { name: 'BUSY', text: 'in use', remedy: 'wait' } : undefined);
  assert.is(fault(() => conversation.request({ ...call, meaning })).message, 'thing get KUBE-A: BUSY (in use): wait');
  assert.is(fault(() => conversation.request({ ...call, meaning })).errno, 'EINVAL');
});

request('that get no answer say so, and the next one has a new socket', () => {
  const { conversation, transports } = conversationOf([], [[{ type: ERROR }]]);
  const error = fault(() => conversation.request(call));
  assert.is(error.code, 'KP_NETLINK_TIMEOUT');
  assert.match(error.message, /^thing get KUBE-A: /);
  assert.is(transports[0]!.closed, true);
  conversation.request(call);
  assert.is(transports.length, 2);
});

request('whose answers were lost say so, and the next one has a new socket', () => {
  const { conversation, transports } = conversationOf([[{ type: OVERRUN }]], [[{ type: ERROR }]]);
  assert.is(fault(() => conversation.request(call)).code, 'KP_NETLINK_OVERRUN');
  conversation.request(call);
  assert.is(transports.length, 2);
});

request('give up when answers to others never end', () => {
  const others = datagram(
    encoded(1),
    Array.from({ length: 1000 }, () => ({ type: OBJECT, sequence: 7 })),
  );
  const conversation = openConversation(() => ({ send() {}, receive: () => others, close() {} }));
  assert.match(fault(() => conversation.request(call)).text, 'messages for other requests');
});

request('that cannot be encoded send nothing and keep the socket', () => {
  const { conversation, transports } = conversationOf([[{ type: ERROR }]]);
  const tooLong = { ...call, write: (w: Parameters<Call['write']>[0]) => w.binary(1, new Uint8Array(70000)) };
  const error = fault(() => conversation.request(tooLong));
  assert.is(error.code, 'KP_NETLINK_TOO_LONG');
  assert.match(error.message, /^thing get KUBE-A: attribute 1 of 70004 bytes/);
  assert.is(transports[0]!.sent.length, 0);
  conversation.request(call);
  assert.is(transports.length, 1);
});

request('after the end of the conversation are refused, and open nothing', () => {
  const { conversation, transports } = conversationOf([[{ type: ERROR }]]);
  conversation.close();
  conversation.close();
  assert.is(fault(() => conversation.request(call)).code, 'KP_NETLINK_INVALID');
  assert.equal([transports.length, transports[0]!.closed], [1, true]);
});

const dump = suite('netlink dumps');

dump('collect objects over several datagrams until the end mark', () => {
  const seen: number[] = [];
  const { conversation, transports } = conversationOf([
    [
      { type: OBJECT, value: 1 },
      { type: OBJECT, value: 2 },
    ],
    [{ type: OBJECT, value: 3 }],
    [{ type: DONE }],
  ]);
  assert.equal(conversation.dump(call, values(seen)), { interrupted: false });
  assert.equal(seen, [1, 2, 3]);
  assert.is(parseMessages(transports[0]!.sent[0]!)[0]!.flags, 0x301);
});

dump('tell when what they list changed meanwhile', () => {
  const interrupted = [[{ type: OBJECT, flags: NLM_F_DUMP_INTR }], [{ type: DONE }]];
  const atTheEnd = [[{ type: OBJECT }], [{ type: DONE, flags: NLM_F_DUMP_INTR }]];
  const { conversation } = conversationOf(interrupted, atTheEnd, [[{ type: DONE }]]);
  const results = [1, 2, 3].map(() => conversation.dump(call, () => {}).interrupted);
  assert.equal(results, [true, true, false]);
});

dump('fail when their end mark carries an error', () => {
  const { conversation } = conversationOf([[{ type: OBJECT }], [{ type: DONE, errno: 16 }]]);
  assert.is(fault(() => conversation.dump(call, () => {})).errno, 'EBUSY');
});

dump('that the reader gives up leave no half-read answer behind', () => {
  const { conversation, transports } = conversationOf([[{ type: OBJECT }], [{ type: DONE }]], [[{ type: DONE }]]);
  const stop = new Error('stop');
  let caught: unknown;
  try {
    conversation.dump(call, () => {
      throw stop;
    });
  } catch (error) {
    caught = error;
  }
  assert.is(caught, stop);
  assert.is(transports[0]!.closed, true);
  conversation.dump(call, () => {});
  assert.is(transports.length, 2);
});

function encoded(sequence: number): Uint8Array {
  const writer = createMessageWriter();
  writer.begin({ type: OBJECT, flags: 5, sequence });
  writer.end();
  return writer.bytes();
}

request.run();
dump.run();
