/** The client of IPVS before a kernel whose answers are scripted. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPVSStep } from '../../../core/ipvs.ts';
import { createFakeTransport, type FakeTransport } from '../../../core/netlink/fake-transport.ts';
import { openIPVS } from '../../../core/netlink/ipvs.ts';
import { serverName } from '../../../core/netlink/ipvs-protocol.ts';
import type { Message } from '../../../core/netlink/message.ts';
import { createNetlink } from '../../../core/netlink/netlink.ts';
import { fault, rejection } from './fault.ts';
import { createGenericKernel, errorMessage, type GenericAnswer } from './generic-kernel.ts';
import * as heard from './ipvs-answers.ts';

const COMMAND = { newService: 1, setService: 2, delService: 3, getService: 4, newDest: 5, getDest: 8, setConfig: 12 };
const [EPERM, ENOENT, ESRCH, EEXIST, EINVAL, EAFNOSUPPORT, ENOBUFS] = [1, 2, 3, 17, 22, 97, 105];

const SERVER = { protocol: 'TCP', ip: '10.96.0.10', port: 53 } as const;
const ADD: IPVSStep = { do: 'add virtual server', server: { ...SERVER, scheduler: 'mh', persistenceSeconds: 0 } };
const ADD_REAL: IPVSStep = { do: 'add real server', server: SERVER, real: { ip: '10.0.0.1', port: 1, weight: 1 } };

function openOn(answer: (request: Message, command: number) => GenericAnswer = () => ({})) {
  const kernel = createGenericKernel('IPVS', (request) => answer(request, request.payload[0]!));
  const transports: FakeTransport[] = [];
  const open = () => {
    const transport = createFakeTransport(kernel.answer);
    transports.push(transport);
    return transport;
  };
  const openNetfilter = () => createFakeTransport(() => []);
  return { kernel, transports, ipvs: openIPVS({ open, openNetfilter }), open };
}

const test = suite('IPVS');

test('applies steps as messages of the family’s id, and counts them', async () => {
  const { ipvs, kernel } = openOn();
  const outcome = await ipvs.apply([ADD, ADD_REAL]);
  assert.equal(outcome, { operations: 2, bytes: 104 + 140 + 16, refused: [] });
  assert.equal(
    kernel.requests.map(({ type, payload }) => [type, payload[0]]),
    [
      [29, COMMAND.newService],
      [29, COMMAND.newDest],
    ],
  );
});

test('tells each refused step with its errno, in words that fit it, and goes on', async () => {
  const errors = [EEXIST, ENOENT, ESRCH, EAFNOSUPPORT, EPERM, EINVAL, EEXIST, ENOENT, ESRCH, EINVAL];
  const steps: IPVSStep[] = [
    ADD,
    ADD,
    { do: 'set virtual server', server: ADD.server },
    ADD,
    ADD,
    ADD,
    ADD_REAL,
    { ...ADD_REAL, do: 'set real server' },
    ADD_REAL,
    ADD_REAL,
  ];
  const { ipvs } = openOn(() => ({ errno: errors.shift() ?? 0 }));
  const { refused, operations } = await ipvs.apply([...steps, ADD]);
  assert.is(operations, 1);
  assert.equal(
    refused.map(({ step }) => step),
    steps,
  );
  assert.equal(
    refused.map(({ errno, error }) => [errno, error.code.replace('KP_NETLINK_', '')]),
    [
      ['EEXIST', 'REFUSED'],
      ['ENOENT', 'UNSUPPORTED'],
      ['ESRCH', 'REFUSED'],
      ['EAFNOSUPPORT', 'UNSUPPORTED'],
      ['EPERM', 'REFUSED'],
      ['EINVAL', 'REFUSED'],
      ['EEXIST', 'REFUSED'],
      ['ENOENT', 'REFUSED'],
      ['ESRCH', 'REFUSED'],
      ['EINVAL', 'REFUSED'],
    ],
  );
  const messages = refused.map(({ error }) => error.message);
  assert.is(messages[0], 'ipvs add virtual server TCP 10.96.0.10:53: EEXIST (it exists already)');
  assert.match(
    messages[1]!,
    /ENOENT \(this kernel has no scheduler mh\): load the module ip_vs_mh or .*CONFIG_IP_VS_MH$/,
  );
  assert.match(messages[2]!, /^ipvs set virtual server .* \(no such virtual server\)$/);
  assert.match(messages[3]!, /CONFIG_IP_VS_IPV6/);
  assert.match(messages[4]!, /CAP_NET_ADMIN in the initial user namespace$/);
  assert.match(messages[6]!, /^ipvs add real server 10\.0\.0\.1:1 of TCP 10\.96\.0\.10:53: EEXIST/);
  assert.match(messages[7]!, /no such real server/);
  assert.match(messages[9]!, /unicast or local/);
});

test('deleting what is not there succeeds without counting', async () => {
  const errors = [ESRCH, ESRCH, ENOENT];
  const { ipvs } = openOn(() => ({ errno: errors.shift() ?? 0 }));
  const real = { ip: '10.0.0.1', port: 1 };
  const outcome = await ipvs.apply([
    { do: 'delete virtual server', server: SERVER },
    { do: 'delete real server', server: SERVER, real },
    { do: 'delete real server', server: SERVER, real },
    { do: 'delete real server', server: SERVER, real },
  ]);
  assert.equal([outcome.operations, outcome.refused], [1, []]);
});

test('a delete that is refused for another reason is told', async () => {
  const { ipvs } = openOn(() => ({ errno: EPERM }));
  const { refused } = await ipvs.apply([{ do: 'delete virtual server', server: SERVER }]);
  assert.is(refused[0]?.errno, 'EPERM');
});

test('a step that cannot be sent is told like a refused one, and names its object', async () => {
  const { ipvs, kernel } = openOn();
  const { refused } = await ipvs.apply([{ ...ADD, server: { ...ADD.server, ip: '10.0.0' } }, ADD_REAL]);
  assert.is(refused[0]?.errno, '');
  assert.is(refused[0]?.error.code, 'KP_NETLINK_INVALID');
  assert.match(refused[0]!.error.message, /^ipvs add virtual server TCP 10\.0\.0:53: not an IPv4 address/);
  assert.is(kernel.requests.length, 1);
});

test('virtual servers are listed by family; those that cannot be named are left out', async () => {
  const objects = [heard.TCP_V4, heard.FWMARK, heard.UDP_V6, heard.OTHER_PROTOCOL, heard.FWMARK_V6, heard.WITH_ENGINE];
  const { ipvs } = openOn(() => ({ objects }));
  const list = async (family: 'IPv4' | 'IPv6') => (await ipvs.virtualServers(family)).map(serverName);
  assert.equal(await list('IPv4'), ['TCP 10.96.0.10:53', 'FWM 7', 'UDP 10.96.0.13:5060']);
  assert.equal(await list('IPv6'), ['UDP [fd00:10::a]:53', 'FWM 2147483656 IPv6']);
});

test('a listing uses a socket of its own and closes it', async () => {
  const { ipvs, transports } = openOn(() => ({ objects: [heard.TCP_V4] }));
  await ipvs.virtualServers('IPv4');
  assert.equal(
    transports.map(({ closed }) => closed),
    [false, true],
  );
});

test('a listing that a change overtook is repeated, but not for ever', async () => {
  let interruptions = 2;
  const { ipvs } = openOn(() => ({ objects: [heard.TCP_V4], interrupted: interruptions-- > 0 }));
  assert.is((await ipvs.virtualServers('IPv4')).length, 1);
  assert.is(interruptions, -1);
  const always = openOn(() => ({ interrupted: true })).ipvs;
  for (const listing of [always.virtualServers('IPv4'), always.realServers(SERVER)]) {
    assert.match((await rejection(listing)).message, /overtook 10 listings/);
  }
});

test('a listing that ends with an error, or is refused, is no listing', async () => {
  for (const [errno, words] of [
    [ENOBUFS, /^ipvs list IPv4: ENOBUFS/],
    [EPERM, /^ipvs list IPv4: EPERM .*initial user namespace/],
  ] as const) {
    const { ipvs } = openOn(() => ({ objects: [heard.TCP_V4], errno }));
    assert.match((await rejection(ipvs.virtualServers('IPv4'))).message, words);
  }
});

test('real servers are listed in the kernel’s order, with the numbers of their connections', async () => {
  const { ipvs, kernel } = openOn(() => ({ objects: [heard.REAL_V4, heard.REAL_V6] }));
  const reals = await ipvs.realServers(SERVER);
  assert.equal(
    reals.map(({ ip, activeConnections }) => [ip, activeConnections]),
    [
      ['10.244.1.5', 2],
      ['fd00:244::1', 0],
    ],
  );
  assert.is(kernel.requests[0]?.payload[0], COMMAND.getDest);
});

test('one virtual server is found, or is undefined', async () => {
  const found = openOn(() => ({ objects: [heard.TCP_V4] }));
  assert.is((await found.ipvs.virtualServer(SERVER))?.persistencePrefix, 24);
  assert.is(await openOn(() => ({ errno: ESRCH })).ipvs.virtualServer(SERVER), undefined);
  const error = await rejection(openOn(() => ({ errno: EPERM })).ipvs.virtualServer(SERVER));
  assert.match(error.message, /^ipvs find TCP 10\.96\.0\.10:53: EPERM/);
});

test('questions about what is no server are not sent', async () => {
  const { ipvs, kernel } = openOn();
  const nowhere = { ...SERVER, ip: 'x' };
  for (const answer of [ipvs.virtualServer(nowhere), ipvs.realServers(nowhere), ipvs.setTimeouts({ tcpSeconds: -1 })]) {
    assert.is((await rejection(answer)).code, 'KP_NETLINK_INVALID');
  }
  assert.is(kernel.requests.length, 0);
});

test('timeouts and version are read', async () => {
  const { ipvs } = openOn((_, command) => ({ objects: [command === 13 ? heard.CONFIG : heard.INFO] }));
  assert.equal(await ipvs.timeouts(), { tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 300 });
  assert.equal(await ipvs.info(), { version: '1.2.1', connectionTableSize: 4096 });
  const silent = openOn().ipvs;
  assert.is((await rejection(silent.info())).code, 'KP_NETLINK_MALFORMED');
});

test('timeouts of protocols that a kernel was built without are 0', async () => {
  const { ipvs } = openOn(() => ({ objects: [heard.CONFIG.subarray(0, 20)] }));
  assert.equal(await ipvs.timeouts(), { tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 0 });
});

test('only timeouts that are given are sent', async () => {
  const { ipvs, kernel } = openOn();
  await ipvs.setTimeouts({ udpSeconds: 30, tcpSeconds: 0 });
  assert.is(Buffer.from(kernel.requests[0]!.payload).toString('hex'), '0c010000080006001e000000');
});

test('a scheduler is probed by adding and deleting a virtual server that is nobody’s', async () => {
  const { ipvs, kernel } = openOn();
  await ipvs.probe('IPv4', 'rr');
  await ipvs.probe('IPv6', 'rr');
  const sent = kernel.requests.map(({ payload }) => Buffer.from(payload).toString('hex'));
  assert.equal(
    sent.map((hex) => hex.slice(0, 2)),
    ['01', '03', '01', '03'],
  );
  assert.match(sent[0]!, /14000300c6336400/);
  assert.match(sent[2]!, /1400030020010db8/);
});

test('a probe fails if the scheduler or the family is missing, not if another probe goes on', async () => {
  const answering = (add: number, remove: number) =>
    openOn((_, command) => ({ errno: command === COMMAND.newService ? add : remove })).ipvs;
  const missing = await rejection(answering(ENOENT, ESRCH).probe('IPv4', 'twos'));
  assert.is(missing.code, 'KP_NETLINK_UNSUPPORTED');
  assert.match(missing.message, /CONFIG_IP_VS_TWOS$/);
  assert.is(
    (await rejection(answering(EAFNOSUPPORT, EAFNOSUPPORT).probe('IPv6', 'rr'))).code,
    'KP_NETLINK_UNSUPPORTED',
  );
  await answering(EEXIST, 0).probe('IPv4', 'rr');
  await answering(EEXIST, ESRCH).probe('IPv4', 'rr');
});

test('a kernel without IPVS is told at once, with what to do', () => {
  const kernel = createGenericKernel('other');
  const error = fault(() =>
    openIPVS({
      open: () => createFakeTransport(kernel.answer),
      openNetfilter: () => createFakeTransport(() => []),
    }),
  );
  assert.is(error.code, 'KP_NETLINK_UNSUPPORTED');
  assert.is(
    error.message,
    'ipvs open: ENOENT (this kernel has no IPVS): load it ("modprobe ip_vs" on the host) or use a kernel with CONFIG_IP_VS',
  );
});

test('a kernel that does not know its module by the family’s name is asked for the match that needs it', () => {
  const kernel = createGenericKernel('IPVS');
  kernel.id = undefined;
  let asked = '';
  let closed: () => boolean = () => false;
  openIPVS({
    open: () => createFakeTransport(kernel.answer),
    openNetfilter() {
      const transport = createFakeTransport((request) => {
        asked = Buffer.from(request).toString('hex');
        kernel.id = 30;
        return [errorMessage(1, ENOENT)];
      });
      closed = () => transport.closed;
      return transport;
    },
  });
  assert.is(
    asked,
    '30000000000b05000100000000000000' + // type 11/0: NFT_COMPAT, GET; REQUEST|ACK
      '02000000' + // nfgenmsg: AF_INET
      '090001006970767300000000' + // NAME "ipvs"
      '0800020000000000' + // REV 0, network order
      '0800030000000000', // TYPE 0: a match
  );
  assert.ok(closed());
});

test('when the module was loaded again under another id, questions find it, and steps from the next call on', async () => {
  const { ipvs, kernel } = openOn(() => ({ objects: [heard.TCP_V4] }));
  kernel.id = 31;
  assert.is((await ipvs.virtualServers('IPv4')).length, 1);
  kernel.id = 33;
  const { refused } = await ipvs.apply([ADD]);
  assert.is(refused[0]?.errno, 'ENOENT');
  assert.equal((await ipvs.apply([ADD])).refused, []);
  kernel.id = undefined;
  assert.is((await ipvs.apply([ADD])).refused.length, 1);
  assert.is((await rejection(ipvs.apply([ADD]))).code, 'KP_NETLINK_UNSUPPORTED');
});

test('connections are read from the kernel’s text', async () => {
  const { open } = openOn();
  const lines = ['Pro …\nTCP 0A6000', '14 8160 0A600014 0050 7F000001 1F90 ESTABLISHED     899\n'];
  const ipvs = openIPVS({
    open,
    async *connections() {
      yield* lines;
    },
  });
  const seen: string[] = [];
  await ipvs.connections(({ clientIP, state }) => seen.push(`${clientIP} ${state}`));
  assert.equal(seen, ['10.96.0.20 ESTABLISHED']);
});

test('the host opens it when first asked, once, and again after being closed', async () => {
  let opened = 0;
  const host = createNetlink(undefined, undefined, undefined, undefined, () => {
    opened++;
    return openOn().ipvs;
  });
  const first = host.ipvs();
  assert.is(host.ipvs(), first);
  assert.is(opened, 1);
  host.close();
  for (const call of [first.apply([ADD]), first.virtualServer(SERVER)]) {
    assert.is((await rejection(call)).code, 'KP_NETLINK_INVALID');
  }
  host.ipvs();
  assert.is(opened, 2);
});

test.run();
