import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { NetlinkError } from '../../../core/netlink/errors.ts';
import { createFakeTransport, type FakeTransport } from '../../../core/netlink/fake-transport.ts';
import { type Outcome, parseMessages } from '../../../core/netlink/message.ts';
import { createPipeline, type Pipeline } from '../../../core/netlink/pipeline.ts';
import type { Transport } from '../../../core/netlink/transport.ts';
import { rejection } from './fault.ts';
import { errorMessage, messageBytes } from './generic-kernel.ts';

const NOOP = 1;
const OVERRUN = 4;
const OBJECT = 40;
const [EPERM, EEXIST] = [1, 17];

interface Bench {
  readonly pipeline: Pipeline<number>;
  readonly transports: FakeTransport[];
  /** What was refused: "17: 4" for step 4 with error 17; "invalid: 4". */
  readonly refused: string[];
  run(steps: Iterable<number>): Promise<number>;
}

/** Steps are numbers; negative ones cannot be expressed, odd ones are not quick. */
function bench(answer: (datagram: Uint8Array) => Uint8Array[], wrap = (t: FakeTransport): Transport => t): Bench {
  const transports: FakeTransport[] = [];
  const refused: string[] = [];
  const pipeline = createPipeline<number>({
    open() {
      const transport = createFakeTransport(answer);
      transports.push(transport);
      return wrap(transport);
    },
    operation: 'thing apply',
    encode(writer, step, sequence) {
      if (step < 0) throw new NetlinkError({ code: 'KP_NETLINK_INVALID', text: 'negative' });
      writer.begin({ type: OBJECT, flags: 1, sequence });
      writer.u32(1, step);
      writer.end();
    },
    isQuick: (step) => step % 2 === 0,
  });
  const tell = (step: number, reason: Outcome | NetlinkError): void => {
    refused.push(`${reason instanceof NetlinkError ? 'invalid' : reason.errno}: ${step}`);
  };
  return { pipeline, transports, refused, run: (steps) => pipeline.run(steps, tell) };
}

/** Refuses the steps that `errno` has a number for. */
function kernel(errno: (step: number) => number = () => 0) {
  return (datagram: Uint8Array): Uint8Array[] =>
    parseMessages(datagram).flatMap(({ type, sequence, payload }) => {
      if (type === NOOP) return [errorMessage(sequence, 0)];
      const error = errno(payload[4]! + payload[5]! * 256);
      return error === 0 ? [] : [errorMessage(sequence, error)];
    });
}

const count = (length: number, from = 0) => Array.from({ length }, (_, index) => from + index);

const test = suite('a pipeline of requests');

test('is one datagram of requests without acks, ended by a no-op with one', async () => {
  const { run, transports } = bench(kernel());
  const bytes = await run([7, 8]);
  const [sent] = transports[0]!.sent;
  assert.is(
    Buffer.from(sent!).toString('hex'),
    `18000000${'2800'}${'0100'}${'01000000'}00000000${'08000100'}07000000` + // length, type 40, REQUEST, sequence 1
      `18000000${'2800'}${'0100'}${'02000000'}00000000${'08000100'}08000000` +
      `10000000${'0100'}${'0500'}${'03000000'}00000000`, // NLMSG_NOOP, REQUEST|ACK, sequence 3
  );
  assert.is(bytes, 64);
});

test('attributes each refusal to its step, over many datagrams', async () => {
  const { run, refused, transports } = bench(kernel((step) => (step % 300 === 299 ? EEXIST : 0)));
  await run(count(1000));
  assert.equal(refused, ['17: 299', '17: 599', '17: 899']);
  assert.is(transports[0]!.sent.length, 4);
});

test('goes on after refused steps, even when all are', async () => {
  const { run, refused } = bench(kernel(() => EPERM));
  await run(count(600));
  assert.equal(refused.length, 600);
  assert.is(refused[599], '1: 599');
});

test('tells steps that cannot be expressed in their place among the others, and sends the rest', async () => {
  const { run, refused, transports } = bench(kernel((step) => (step > 1 ? EEXIST : 0)));
  await run([-1, 0, 2, -3, 4, 1, -5]);
  assert.equal(refused, ['invalid: -1', '17: 2', 'invalid: -3', '17: 4', 'invalid: -5']);
  assert.is(parseMessages(transports[0]!.sent[0]!).length, 5);
});

test('sends nothing for nothing', async () => {
  const { run, transports, refused } = bench(kernel());
  assert.is(await run([]), 0);
  assert.is(await run([-1]), 0);
  assert.equal([transports.length, refused], [0, ['invalid: -1']]);
  assert.is(await run(count(256)), 256 * 24 + 16);
  assert.is(transports[0]!.sent.length, 1);
});

test('is sent from another thread unless it is short and quick', async () => {
  const ways: string[] = [];
  const { run } = bench(kernel(), (transport) => ({
    ...transport,
    send(datagram) {
      ways.push('here');
      transport.send(datagram);
    },
    async sendOffLoop(datagram) {
      ways.push('there');
      transport.send(datagram);
    },
  }));
  await run([2, 4]);
  await run([2, 3]);
  await run(count(40).map((step) => step * 2));
  assert.equal(ways, ['here', 'there', 'there']);
});

test('takes runs one after another, in the order of the calls', async () => {
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { run, transports } = bench(kernel(), (transport) => ({
    ...transport,
    async sendOffLoop(datagram) {
      await held;
      transport.send(datagram);
    },
  }));
  const runs = [run([1]), run([2])];
  await Promise.resolve();
  release();
  await Promise.all(runs);
  const steps = transports[0]!.sent.map((datagram) => parseMessages(datagram)[0]!.payload[4]);
  assert.equal(steps, [1, 2]);
});

test('skips answers to others, echoes, and failures told twice', async () => {
  const { run, refused } = bench((datagram) => {
    const [first, fence] = parseMessages(datagram).map(({ sequence }) => sequence) as [number, number];
    return [
      errorMessage(fence + 50, EPERM),
      messageBytes(OBJECT, 0, first, new Uint8Array(4)),
      errorMessage(first, EEXIST),
      errorMessage(first, EEXIST),
      errorMessage(fence, 0),
    ];
  });
  await run([2]);
  assert.equal(refused, ['17: 2']);
  await run([4]);
  assert.equal(refused, ['17: 2', '17: 4']);
});

for (const [what, answer, code] of [
  ['nothing comes', () => [], 'KP_NETLINK_TIMEOUT'],
  ['the fence’s ack is missing', () => [errorMessage(1, EEXIST)], 'KP_NETLINK_TIMEOUT'],
  ['answers were lost', () => [messageBytes(OVERRUN, 0, 1, new Uint8Array(4))], 'KP_NETLINK_OVERRUN'],
  ['an answer is cut off', () => [errorMessage(1, EEXIST).subarray(0, 30)], 'KP_NETLINK_MALFORMED'],
  ['an answer has no room for an error', () => [messageBytes(2, 0, 1, new Uint8Array(8))], 'KP_NETLINK_MALFORMED'],
] as const) {
  test(`rejects when ${what}, and begins anew with another socket`, async () => {
    let faulty = true;
    const { run, transports } = bench((datagram) => (faulty ? [...answer()] : kernel()(datagram)));
    const error = await rejection(run(count(600)));
    assert.is(error.code, code);
    assert.is(error.operation, 'thing apply');
    assert.ok(transports[0]!.closed);
    assert.is(transports[0]!.sent.length, 1, 'nothing follows');
    faulty = false;
    await run([2]);
    assert.is(transports.length, 2);
  });
}

test('that was closed refuses to run; one that is under way ends first', async () => {
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { run, pipeline, transports } = bench(kernel(), (transport) => ({
    ...transport,
    async sendOffLoop(datagram) {
      await held;
      transport.send(datagram);
    },
  }));
  const running = run(count(300));
  await new Promise((resolve) => setImmediate(resolve));
  pipeline.close();
  assert.not.ok(transports[0]!.closed);
  release();
  assert.is((await rejection(running)).code, 'KP_NETLINK_INVALID');
  assert.ok(transports[0]!.closed);
  assert.is(transports[0]!.sent.length, 1);
  assert.is((await rejection(run([1]))).code, 'KP_NETLINK_INVALID');
});

test('that another error interrupts is not broken by it', async () => {
  const { run, transports } = bench(kernel());
  const failing = (function* () {
    yield 2;
    throw new Error('of the source');
  })();
  let message = '';
  await run(failing).catch((error: Error) => {
    message = error.message;
  });
  assert.is(message, 'of the source');
  await run([4]);
  assert.is(transports[0]!.sent.length, 1);
});

test.run();
