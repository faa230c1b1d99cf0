import { constants } from 'node:os';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ArrivingFlow } from '../../../core/backend.ts';
import { createFakeTransport, type FakeTransport } from '../../../core/netlink/fake-transport.ts';
import { createOriginalFlows } from '../../../core/netlink/original-flow.ts';
import { createConntrackKernel, type FakeEntry } from './conntrack-kernel.ts';
import { fault } from './fault.ts';

const test = suite('original destinations of UDP flows');

const TRANSLATED: FakeEntry = {
  source: '10.0.0.7:5000',
  destination: '10.96.0.10:53',
  answerer: '192.168.1.1:4053',
  id: 1,
};
const FLOW: ArrivingFlow = {
  family: 'IPv4',
  clientIP: '10.0.0.7',
  clientPort: 5000,
  ip: '192.168.1.1',
  port: 4053,
};

function openOn(entries: readonly FakeEntry[], refuse: () => number = () => 0) {
  const { answer } = createConntrackKernel({ entries, refuse });
  const transports: FakeTransport[] = [];
  const flows = createOriginalFlows(() => {
    const transport = createFakeTransport(answer);
    transports.push(transport);
    return transport;
  });
  return { flows, transports };
}

test('no socket is opened before the first question, and one for all of them', () => {
  const { flows, transports } = openOn([TRANSLATED]);
  assert.is(transports.length, 0);
  flows.find(FLOW);
  flows.find({ ...FLOW, clientPort: 1 });
  assert.is(transports.length, 1);
});

test('a flow that was translated is found by what goes back to its client', () => {
  const { flows } = openOn([{ ...TRANSLATED, source: '10.0.0.8:5000', id: 2 }, TRANSLATED]);
  assert.equal(flows.find(FLOW), { ip: '10.96.0.10', port: 53 });
});

test('an IPv6 destination is canonical text', () => {
  const { flows } = openOn([
    { family: 10, source: '[fd00::7]:5000', destination: '[fd00:96:0:0::a]:53', answerer: '[::1]:4053', id: 1 },
  ]);
  const flow: ArrivingFlow = { family: 'IPv6', clientIP: 'fd00::7', clientPort: 5000, ip: '::1', port: 4053 };
  assert.equal(flows.find(flow), { ip: 'fd00:96::a', port: 53 });
});

test('a flow that went to the socket itself, and one that there is not, has none', () => {
  const { flows } = openOn([{ ...TRANSLATED, destination: TRANSLATED.answerer }]);
  assert.is(flows.find(FLOW), undefined);
  assert.is(flows.find({ ...FLOW, port: 4054 }), undefined);
});

test('only the port, or only the address, may have been translated', () => {
  const samePort = openOn([{ ...TRANSLATED, destination: '10.96.0.10:4053' }]);
  assert.equal(samePort.flows.find(FLOW), { ip: '10.96.0.10', port: 4053 });
  const sameAddress = openOn([{ ...TRANSLATED, destination: '192.168.1.1:53' }]);
  assert.equal(sameAddress.flows.find(FLOW), { ip: '192.168.1.1', port: 53 });
});

test('what the kernel refuses names the flow and the remedy', () => {
  const forbidden = fault(() => openOn([], () => constants.errno.EPERM).flows.find(FLOW));
  assert.match(forbidden.message, /^conntrack get UDP from 10\.0\.0\.7 port 5000 to 192\.168\.1\.1 port 4053: EPERM/);
  assert.match(forbidden.message, 'CAP_NET_ADMIN');
  const lacking = fault(() => openOn([], () => constants.errno.EINVAL).flows.find(FLOW));
  assert.match(lacking.message, 'CONFIG_NF_CT_NETLINK');
});

test('an answer that cannot be read is told, and the next question has a socket of its own', () => {
  const { answer } = createConntrackKernel({ entries: [TRANSLATED] });
  let broken = true;
  const transports: FakeTransport[] = [];
  const flows = createOriginalFlows(() => {
    const transport = createFakeTransport((datagram) => (broken ? [Uint8Array.of(1, 2, 3)] : answer(datagram)));
    transports.push(transport);
    return transport;
  });
  assert.is(fault(() => flows.find(FLOW)).code, 'KP_NETLINK_MALFORMED');
  broken = false;
  assert.equal(flows.find(FLOW), { ip: '10.96.0.10', port: 53 });
  assert.equal(
    transports.map(({ closed }) => closed),
    [true, false],
  );
});

test('closing closes the socket, and asking again opens another', () => {
  const { flows, transports } = openOn([TRANSLATED]);
  flows.find(FLOW);
  flows.close();
  assert.ok(transports[0]?.closed);
  assert.equal(flows.find(FLOW), { ip: '10.96.0.10', port: 53 });
});

test.run();
