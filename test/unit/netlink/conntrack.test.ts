import { constants } from 'node:os';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openConntrack, type SelectOptions, type UDPFlow } from '../../../core/netlink/conntrack.ts';
import { createEntryReader, writeDelete } from '../../../core/netlink/conntrack-protocol.ts';
import { NetlinkError } from '../../../core/netlink/errors.ts';
import { createFakeTransport } from '../../../core/netlink/fake-transport.ts';
import { createMessageWriter } from '../../../core/netlink/writer.ts';
import { seeded } from '../model/random.ts';
import { createConntrackKernel, type FakeConntrackOptions, type FakeEntry, scan } from './conntrack-kernel.ts';

const test = suite('conntrack over ctnetlink');
const { EINVAL, EOPNOTSUPP, EPERM, EINTR } = constants.errno;

const DNS: FakeEntry = { source: '10.0.0.9:4000', destination: '10.96.0.10:53', answerer: '10.244.1.5:5353', id: 7 };
const DNS6: FakeEntry = {
  family: 10,
  source: '[fd00::9]:4000',
  destination: '[fd00:10:96::a]:53',
  answerer: '[fd00:244:1::5]:5353',
  id: 8,
};
const ALL = { family: 'IPv4', translatedOnly: false, onlyPort: 0, port: () => true, pick: () => true } as const;

function open(options: FakeConntrackOptions, pause?: () => Promise<void>) {
  const kernel = createConntrackKernel(options);
  let opened = 0;
  const conntrack = openConntrack(pause, () => {
    opened++;
    return createFakeTransport(kernel.answer);
  });
  return { kernel, conntrack, opened: () => opened };
}

async function flowsOf(entries: readonly FakeEntry[], options: Partial<SelectOptions> = {}): Promise<UDPFlow[]> {
  const flows: UDPFlow[] = [];
  const pick = (flow: UDPFlow): boolean => {
    flows.push(flow);
    return false;
  };
  await open({ entries }).conntrack.select({ ...ALL, pick, ...options });
  return flows;
}

async function failure(act: Promise<unknown>): Promise<NetlinkError> {
  try {
    await act;
  } catch (error) {
    if (error instanceof NetlinkError) return error;
    throw error;
  }
  throw new Error('it did not fail');
}

test('a flow is where the client sent to, and who answers', async () => {
  assert.equal(await flowsOf([DNS]), [
    { destinationIP: '10.96.0.10', destinationPort: 53, replyIP: '10.244.1.5', replyPort: 5353 },
  ]);
  assert.equal(await flowsOf([DNS6, DNS6], { family: 'IPv6' }), [
    { destinationIP: 'fd00:10:96::a', destinationPort: 53, replyIP: 'fd00:244:1::5', replyPort: 5353 },
    { destinationIP: 'fd00:10:96::a', destinationPort: 53, replyIP: 'fd00:244:1::5', replyPort: 5353 },
  ]);
});

test('other protocols, families, zones and ports are passed over, even if the kernel shows them', async () => {
  assert.equal(
    await flowsOf([
      { ...DNS, protocol: 6 },
      { ...DNS, protocol: 132 },
      { ...DNS, zone: 1 },
    ]),
    [],
  );
  const shown = createConntrackKernel({ entries: [DNS6], everyFamily: true });
  const { picked } = await openConntrack(undefined, () => shown.transport).select(ALL);
  assert.equal([picked.length, shown.dumps.length], [0, 1]);
  assert.equal(await flowsOf([DNS], { port: (port) => port !== 53 }), []);
});

test('the kernel is asked for UDP alone, and for translated flows and one port where that is enough', async () => {
  const { kernel, conntrack } = open({ entries: [] });
  await conntrack.select(ALL);
  await conntrack.select({ ...ALL, translatedOnly: true, onlyPort: 53 });
  const hex = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString('hex');
  const asked = kernel.dumps.map((attributes) => ({
    protocol: hex(scan(scan(attributes.get(1)!, 0).get(2)!, 0).get(1)),
    port: hex(scan(scan(attributes.get(1)!, 0).get(2)!, 0).get(3)),
    compared: scan(attributes.get(25)!, 0).get(1)?.[0],
    status: hex(attributes.get(3)),
    mask: hex(attributes.get(26)),
  }));
  assert.equal(asked, [
    { protocol: '11', port: undefined, compared: 8, status: undefined, mask: undefined },
    { protocol: '11', port: '0035', compared: 8 | 32, status: '00000020', mask: '00000020' },
  ]);
});

for (const [name, errno] of Object.entries({ EINVAL, EOPNOTSUPP, ENOTSUPP: 524 })) {
  test(`a kernel that cannot filter (${name}) is asked once, and from then on for everything`, async () => {
    const { kernel, conntrack } = open({
      entries: [DNS, { ...DNS, protocol: 6 }],
      refuse: (command, attributes) => (command === 1 && attributes.has(25) ? errno : 0),
    });
    assert.is((await conntrack.select(ALL)).picked.length, 1);
    assert.is((await conntrack.select(ALL)).picked.length, 1);
    assert.equal(
      kernel.dumps.map((attributes) => attributes.size > 0),
      [true, false, false],
    );
  });
}

test('without ctnetlink the error names what is missing, and without the privilege as well', async () => {
  const lacking = await failure(open({ entries: [], refuse: () => EINVAL }).conntrack.select(ALL));
  assert.is(lacking.code, 'KP_NETLINK_UNSUPPORTED');
  assert.match(lacking.message, /^conntrack dump IPv4: EINVAL .*CONFIG_NF_CT_NETLINK/);
  const forbidden = await failure(open({ entries: [], refuse: () => EPERM }).conntrack.select(ALL));
  assert.match(forbidden.message, /^conntrack dump IPv4: EPERM .*CAP_NET_ADMIN/);
});

test('a dump that is cut short or that the table changed under is partial, not wrong', async () => {
  const cut = await open({ entries: [DNS], endOfDump: () => EINTR }).conntrack.select(ALL);
  assert.equal([cut.picked.length, cut.complete], [1, false]);
  const changed = await open({ entries: [DNS], interrupted: () => true }).conntrack.select(ALL);
  assert.equal([changed.picked.length, changed.complete], [1, false]);
  const whole = await open({ entries: [DNS] }).conntrack.select(ALL);
  assert.equal([whole.picked.length, whole.complete], [1, true]);
});

test('lost answers leave what was seen, and the next question goes over another socket', async () => {
  const kernel = createConntrackKernel({ entries: [DNS, DNS, DNS, DNS] });
  let opened = 0;
  const conntrack = openConntrack(undefined, () => {
    const lossy = opened++ === 0;
    let received = 0;
    const transport = createFakeTransport(kernel.answer);
    return {
      ...transport,
      receive() {
        if (lossy && ++received === 2) throw new NetlinkError({ code: 'KP_NETLINK_OVERRUN', text: 'lost' });
        return transport.receive();
      },
    };
  });
  const partial = await conntrack.select(ALL);
  assert.equal([partial.picked.length, partial.complete], [3, false]);
  assert.is((await conntrack.select(ALL)).picked.length, 4);
  assert.is(opened, 2);
});

test('many deletes share a datagram, and those that are gone are no error', async () => {
  const entries = Array.from({ length: 600 }, (_, index) => ({
    ...DNS,
    source: `10.0.0.9:${1000 + index}`,
    id: index,
  }));
  const { kernel, conntrack } = open({ entries });
  const { picked } = await conntrack.select(ALL);
  kernel.entries.splice(100, 1);
  assert.is(await conntrack.delete(picked), 599);
  assert.equal(kernel.entries, []);
  assert.equal(kernel.batches, [256, 256, 88]);
  assert.is(await conntrack.delete([]), 0);
});

test('a later entry of the same addresses and ports is left alone', async () => {
  const { kernel, conntrack } = open({ entries: [DNS, { ...DNS, source: '10.0.0.9:4001' }] });
  const { picked } = await conntrack.select(ALL);
  kernel.entries[1] = { ...DNS, source: '10.0.0.9:4001', id: 99 };
  assert.is(await conntrack.delete(picked), 1);
  assert.equal(
    kernel.entries.map(({ id }) => id),
    [99],
  );
});

test('no delete is ever sent without a tuple, for the kernel would delete every entry', async () => {
  for (const tuple of [new Uint8Array(), new Uint8Array(4)]) {
    const { kernel, conntrack } = open({ entries: [DNS] });
    const error = await failure(conntrack.delete([{ family: 'IPv4', tuple }]));
    assert.is(error.code, 'KP_NETLINK_INVALID');
    assert.equal([kernel.entries.length, kernel.batches.length], [1, 0]);
    const writer = createMessageWriter();
    writer.begin({ type: 0, flags: 0, sequence: 1 });
    assert.throws(() => writeDelete(writer, { family: 'IPv4', tuple }), /only be deleted by its tuple/);
  }
});

test('a refused delete is an error', async () => {
  const { conntrack } = open({ entries: [DNS], refuse: (command) => (command === 2 ? EPERM : 0) });
  const { picked } = await conntrack.select(ALL);
  assert.match((await failure(conntrack.delete(picked))).message, /^conntrack delete 1 UDP flows: EPERM/);
});

test('silence is an error', async () => {
  const conntrack = openConntrack(undefined, () => createFakeTransport(() => []));
  assert.is((await failure(conntrack.select(ALL))).code, 'KP_NETLINK_TIMEOUT');
});

test('a pause that rejects ends what is under way', async () => {
  const { kernel, conntrack } = open({ entries: [DNS] }, () => Promise.reject(new Error('stop')));
  try {
    await conntrack.select(ALL);
    assert.unreachable();
  } catch (error) {
    assert.is((error as Error).message, 'stop');
  }
  assert.is(kernel.dumps.length, 0);
});

// Garbage --------------------------------------------------------------------------------------------------------------

/** The payload of the entry's message. */
function payloadOf(entry: FakeEntry): Uint8Array {
  const kernel = createConntrackKernel({ entries: [entry] });
  const request = createMessageWriter();
  request.begin({ type: 0x101, flags: 0x301, sequence: 1 });
  request.raw(Uint8Array.of(entry.family ?? 2, 0, 0, 0));
  request.end();
  const [datagram] = kernel.answer(request.bytes());
  return datagram!.slice(16);
}

for (const seed of [1, 2, 3]) {
  test(`damaged and cut entries end with a typed error, nothing, or a flow of plausible parts (seed ${seed})`, () => {
    const random = seeded(seed).below;
    const seen = { error: 0, nothing: 0, flow: 0 };
    for (let round = 0; round < 6000; round++) {
      const family = random(2) === 0 ? 'IPv4' : 'IPv6';
      let bytes: Uint8Array = payloadOf(family === 'IPv4' ? DNS : DNS6);
      for (let changes = random(4); changes > 0; changes--) {
        bytes[random(bytes.length)] = random(2) === 0 ? random(8) : random(256);
      }
      if (random(4) === 0) bytes = bytes.subarray(0, random(bytes.length + 1));
      const reader = createEntryReader(family, (address) => address.join('.'));
      try {
        const flow = reader.read(bytes, () => true);
        if (flow === undefined) {
          seen.nothing++;
          continue;
        }
        seen.flow++;
        assert.is(flow.destinationIP.split('.').length, family === 'IPv4' ? 4 : 16);
        for (const port of [flow.destinationPort, flow.replyPort]) assert.ok(port >= 0 && port <= 0xffff);
        const { tuple } = reader.identity();
        assert.ok(tuple.length >= 8 && tuple.length < bytes.length);
      } catch (error) {
        if (!(error instanceof NetlinkError) || error.code !== 'KP_NETLINK_MALFORMED') throw error;
        seen.error++;
      }
    }
    assert.ok(Math.min(seen.error, seen.nothing, seen.flow) > 100, JSON.stringify(seen));
  });
}

test.run();
