/** Transactions against kernels that behave in all the ways kernels do, and some that they should not. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { NetlinkError } from '../../../core/netlink/errors.ts';
import { createFakeTransport, type FakeTransport } from '../../../core/netlink/fake-transport.ts';
import { type Message, NLM_F_ACK, parseMessages } from '../../../core/netlink/message.ts';
import { createNetlink } from '../../../core/netlink/netlink.ts';
import { openNftables } from '../../../core/netlink/nftables/kernel.ts';
import type { Transport } from '../../../core/netlink/transport.ts';
import { createMessageWriter } from '../../../core/netlink/writer.ts';
import type { NftOperation, NftSet } from '../../../core/nftables.ts';
import { rejection } from './fault.ts';

const test = suite('nf_tables transactions');
const BATCH_BEGIN = 16;
const BATCH_END = 17;
const GETGEN = 0xa10;
const ERROR = 2;

/** Error numbers by position in the batch (0 = BATCH_BEGIN); 0 = ack. */
type Failures = Readonly<Record<number, number>>;

function acknowledgement(sequence: number, errno: number, type = ERROR): Uint8Array {
  const writer = createMessageWriter();
  writer.begin({ type, flags: 0, sequence });
  writer.raw(new Uint8Array(new Int32Array([-errno]).buffer));
  writer.raw(new Uint8Array(16));
  writer.end();
  return writer.bytes();
}

interface KernelOptions {
  readonly acknowledgesEnd?: boolean;
  /** For the nth batch that is not a probe. */
  readonly failures?: readonly Failures[];
}

/** All datagrams that were batches with content, and the transports opened; the first is for listings. */
function kernel(
  { acknowledgesEnd = true, failures = [] }: KernelOptions = {},
  wrap = (transport: Transport) => transport,
) {
  const batches: Message[][] = [];
  const transports: FakeTransport[] = [];
  const answer = (datagram: Uint8Array): Uint8Array[] => {
    const messages = parseMessages(datagram);
    const end = messages.at(-1)!;
    if (messages[0]!.type === GETGEN) return [acknowledgement(end.sequence, 0)];
    if (messages[0]!.type !== BATCH_BEGIN || end.type !== BATCH_END) throw new Error('no batch');
    const failing = messages.length > 2 ? (failures[batches.length] ?? {}) : {};
    if (messages.length > 2) batches.push(messages);
    const answers = Object.entries(failing).map(([index, errno]) =>
      acknowledgement(messages[Number(index)]!.sequence, errno),
    );
    const asking = messages.filter(
      ({ flags, type }) => (flags & NLM_F_ACK) !== 0 && (type !== BATCH_END || acknowledgesEnd),
    );
    if (!Object.values(failing).some((errno) => errno > 0))
      answers.push(...asking.map(({ sequence }) => acknowledgement(sequence, 0)));
    return answers;
  };
  const tables = openNftables(() => {
    const transport = createFakeTransport(answer);
    transports.push(transport);
    return wrap(transport);
  });
  return { tables, batches, transports };
}

const SERVICES: NftSet = { name: 'services', key: ['ipv4_addr', 'inet_proto', 'inet_service'], data: ['mark'] };
const element = (n: number) => ({ key: [`10.96.${n >> 8}.${n & 255}`, 'tcp', 80], data: [n] });
const transaction = (...operations: readonly NftOperation[]) => ({ family: 'ip', table: 'kp', operations }) as const;
const chain: NftOperation = { do: 'add chain', chain: { name: 'c' } };

test('are one datagram with rising sequence numbers, of which only the last message asks for an ack', async () => {
  const { tables, batches } = kernel();
  const result = await tables.commit(transaction({ do: 'add table', owned: false }, chain));
  assert.is(result.operations, 2);
  const [batch] = batches;
  assert.equal(
    batch!.map(({ type, flags }) => [type, flags & NLM_F_ACK]),
    [
      [16, 0],
      [0xa00, 0],
      [0xa03, 0],
      [17, NLM_F_ACK],
    ],
  );
  batch!.slice(1).forEach(({ sequence }, index) => void assert.is(sequence, batch![index]!.sequence + 1));
  assert.is(
    result.bytes,
    batch!.reduce((sum, { payload }) => sum + 16 + payload.length, 0),
  );
});

test('without operations send nothing', async () => {
  const { tables, batches } = kernel();
  assert.equal(await tables.commit(transaction()), { operations: 0, bytes: 0 });
  assert.equal(await tables.commit(transaction({ do: 'add elements', set: SERVICES, elements: [] })), {
    operations: 0,
    bytes: 0,
  });
  assert.is(batches.length, 0);
});

test('of many elements are cut into messages whose lists stay below 64 KiB', async () => {
  const { tables, batches } = kernel();
  const elements = Array.from({ length: 10_000 }, (_, n) => element(n));
  const result = await tables.commit(transaction({ do: 'add elements', set: SERVICES, elements }));
  assert.is(result.operations, 10_000);
  const lists = batches[0]!.slice(1, -1);
  assert.is(lists.length, Math.ceil((10_000 * 36) / 60_012));
  for (const { payload } of lists) assert.ok(payload.length < 61_100, String(payload.length));
});

test('on kernels that do not acknowledge the end have the ack on the last real message', async () => {
  const { tables, batches } = kernel({ acknowledgesEnd: false });
  await tables.commit(transaction({ do: 'add table', owned: false }, chain));
  assert.equal(
    batches[0]!.map(({ flags }) => flags & NLM_F_ACK),
    [0, 0, NLM_F_ACK, 0],
  );
});

test('that are refused name the operation and object, and the socket stays', async () => {
  const { tables, transports } = kernel({ failures: [{ 2: 17 }, { 1: 0, 2: 2 }] });
  const add: NftOperation = { do: 'add elements', set: SERVICES, elements: [element(1), element(2)] };
  const clash = await rejection(tables.commit(transaction(chain, add)));
  assert.is(clash.code, 'KP_NETLINK_REFUSED');
  assert.match(
    clash.message,
    /^nftables add element map services, 10\.96\.0\.1 \. tcp \. 80 or one of 1 after it: EEXIST \(the key exists/,
  );
  const rule: NftOperation = { do: 'add rule', chain: 'c', rule: { statements: [{ fib: 'daddr' }], comment: 'local' } };
  const missing = await rejection(tables.commit(transaction(chain, rule)));
  assert.match(missing.message, /^nftables add rule to chain c, "local": ENOENT .*CONFIG_NFT_FIB_IPV4/);
  await tables.commit(transaction(chain));
  assert.is(transports.length, 2);
});

test('are not confused by the errors that follow the first one', async () => {
  const { tables } = kernel({ failures: [{ 1: 2, 2: 16, 3: 17 }] });
  assert.is((await rejection(tables.commit(transaction(chain, chain, chain)))).errno, 'ENOENT');
  assert.is((await tables.commit(transaction(chain))).operations, 1);
});

test('without the right to commit say which one is missing', async () => {
  const { tables } = kernel({ failures: [{ 0: 1 }] });
  const error = await rejection(tables.commit(transaction(chain)));
  assert.match(error.message, /^nftables commit ip kp: EPERM \(operation not permitted\): needs CAP_NET_ADMIN/);
  const owned = kernel({ failures: [{ 1: 1 }] });
  assert.match(
    (await rejection(owned.tables.commit(transaction(chain)))).message,
    /^nftables add chain c: EPERM \(another process owns/,
  );
});

test('whose outcome is unknown say so, and the old socket is closed before the next is opened', async () => {
  let lose = false;
  let open = 0;
  let mostOpen = 0;
  const { tables, transports } = kernel({}, (transport) => {
    open++;
    mostOpen = Math.max(mostOpen, open);
    return {
      send: (datagram) => transport.send(datagram),
      receive() {
        if (lose) throw new NetlinkError({ code: 'KP_NETLINK_OVERRUN', errno: 'ENOBUFS', text: 'answers were lost' });
        return transport.receive();
      },
      close() {
        open--;
        transport.close();
      },
    };
  });
  await tables.commit(transaction(chain));
  lose = true;
  const error = await rejection(tables.commit(transaction(chain)));
  assert.is(error.code, 'KP_NETLINK_OVERRUN');
  assert.match(error.message, /^nftables commit ip kp: ENOBUFS/);
  lose = false;
  await tables.commit(transaction(chain));
  assert.equal([transports.length, mostOpen, transports[1]!.closed], [3, 2, true]);
});

test('that cannot be encoded send nothing, keep the socket and name the element', async () => {
  const { tables, transports, batches } = kernel();
  const wrong = { key: ['10.96.0.300', 'tcp', 80], data: [1] };
  const error = await rejection(
    tables.commit(transaction({ do: 'add elements', set: SERVICES, elements: [element(1), wrong] })),
  );
  assert.is(error.code, 'KP_NETLINK_INVALID');
  assert.match(error.message, /^nftables add element map services, 10\.96\.0\.300 \. tcp \. 80: not an IPv4 address/);
  const rule: NftOperation = { do: 'add rule', chain: 'c', rule: { statements: [{ match: 'ip6 saddr', is: '::1' }] } };
  const noRule = await rejection(tables.commit(transaction(chain, rule)));
  assert.match(noRule.message, /^nftables add rule to chain c: cannot encode "ip6 saddr" in a table of family ip/);
  function* broken(): Generator<NftOperation> {
    yield chain;
    throw new RangeError('the plugin has a fault');
  }
  await tables.commit({ ...transaction(), operations: broken() }).then(
    () => assert.unreachable('success'),
    (error) => assert.instance(error, RangeError),
  );
  await tables.commit(transaction(chain));
  assert.equal([batches.length, transports.length], [1, 2]);
});

test('run one after the other in the order of the calls, large ones beside the event loop', async () => {
  const log: string[] = [];
  const { tables } = kernel({}, (transport) => ({
    send: (datagram) => {
      log.push('send');
      transport.send(datagram);
    },
    async sendOffLoop(datagram) {
      log.push('begin');
      await new Promise((resolve) => setTimeout(resolve, 5));
      log.push('end');
      transport.send(datagram);
    },
    reserveSendBuffer: (bytes) => void log.push(bytes > 64 << 10 ? 'reserve much' : 'reserve'),
    receive: () => transport.receive(),
    close: () => transport.close(),
  }));
  const many = Array.from({ length: 5000 }, (_, n) => element(n));
  await Promise.all([
    tables.commit(transaction({ do: 'add elements', set: SERVICES, elements: many })),
    tables.commit(transaction(chain)),
    tables.commit(transaction({ do: 'flush set', set: SERVICES })),
  ]);
  assert.equal(log.slice(2), ['reserve much', 'begin', 'end', 'reserve', 'send', 'reserve', 'begin', 'end']);
});

test('under way when the socket is closed are finished and heard out', async () => {
  let finish = () => {};
  const { tables, transports } = kernel({}, (transport) => ({
    ...transport,
    sendOffLoop: (datagram) =>
      new Promise((resolve) => {
        finish = () => resolve(transport.send(datagram));
      }),
  }));
  const commit = tables.commit(transaction({ do: 'flush set', set: SERVICES }));
  await new Promise((resolve) => setTimeout(resolve, 1));
  tables.close();
  assert.is(transports[1]!.closed, false);
  finish();
  assert.is((await commit).operations, 1);
  assert.is(transports[1]!.closed, true);
});

test('after closing are refused', async () => {
  const { tables, transports } = kernel();
  await tables.commit(transaction(chain));
  tables.close();
  assert.is((await rejection(tables.commit(transaction(chain)))).code, 'KP_NETLINK_INVALID');
  assert.ok(transports.every(({ closed }) => closed));
});

test('tell whether tables can be owned by trying once, and clean up', async () => {
  const yes = kernel();
  assert.equal(
    [await yes.tables.supportsOwnership(), await yes.tables.supportsOwnership(), yes.batches.length],
    [true, true, 2],
  );
  for (const errno of [95, 22]) {
    assert.is(await kernel({ failures: [{ 1: errno }] }).tables.supportsOwnership(), false);
  }
  const refused = kernel({ failures: [{ 0: 1 }] });
  assert.is((await rejection(refused.tables.supportsOwnership())).errno, 'EPERM');
  assert.is(await refused.tables.supportsOwnership(), true);
});

test('the host opens nf_tables when first asked, once, and again after being closed', async () => {
  let opened = 0;
  const never = (): never => {
    throw new Error('not asked for');
  };
  const host = createNetlink(never, never, () => {
    opened++;
    return { ...kernel().tables };
  });
  assert.is(opened, 0);
  const first = host.nftables();
  assert.is(host.nftables(), first);
  host.close();
  assert.is((await rejection(first.commit(transaction(chain)))).code, 'KP_NETLINK_INVALID');
  await host.nftables().commit(transaction(chain));
  assert.is(opened, 2);
});

test.run();
