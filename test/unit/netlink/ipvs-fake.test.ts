/** The IPVS in memory; test/vm/ipvs-netlink.test.ts compares it with the kernel's. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPVSStep, RealServer, VirtualServer, VirtualServerMark } from '../../../core/ipvs.ts';
import { createFakeIPVS, createFakeIPVSState } from '../../../core/netlink/ipvs-fake.ts';
import { serverName } from '../../../core/netlink/ipvs-protocol.ts';
import { rejection } from './fault.ts';

const SERVER = { protocol: 'TCP', ip: '10.96.0.1', port: 80 } as const;
const RR: VirtualServer = { ...SERVER, scheduler: 'rr', persistenceSeconds: 0 };
const REAL: RealServer = { ip: '10.0.0.1', port: 8080, weight: 1 };
const ADD: IPVSStep = { do: 'add virtual server', server: RR };
const ADD_REAL: IPVSStep = { do: 'add real server', server: SERVER, real: REAL };
const DELETE_REAL: IPVSStep = { do: 'delete real server', server: SERVER, real: REAL };

const test = suite('an IPVS in memory');

test('shows what was added as ipvsadm -Sn does, sorted', async () => {
  const kernel = createFakeIPVS();
  const v6 = { protocol: 'UDP', ip: 'fd00::1', port: 53 } as const;
  const outcome = await kernel.apply([
    {
      do: 'add virtual server',
      server: { ...v6, scheduler: 'mh', persistenceSeconds: 50, persistencePrefix: 64, hashPort: true },
    },
    { do: 'add real server', server: v6, real: { ip: 'fd00::2', port: 53, weight: 0, forwarding: 'direct' } },
    ADD,
    ADD_REAL,
  ]);
  assert.is(outcome.operations, 4);
  assert.ok(outcome.bytes > 400);
  assert.is(
    kernel.dump(),
    '-A -t 10.96.0.1:80 -s rr\n' +
      '-A -u [fd00::1]:53 -s mh -p 50 -M 64 -b mh-port\n' +
      '-a -t 10.96.0.1:80 -r 10.0.0.1:8080 -m -w 1\n' +
      '-a -u [fd00::1]:53 -r [fd00::2]:53 -g -w 0\n',
  );
  assert.is(kernel.dump('IPv4'), '-A -t 10.96.0.1:80 -s rr\n-a -t 10.96.0.1:80 -r 10.0.0.1:8080 -m -w 1\n');
  assert.equal((await kernel.virtualServers('IPv6')).map(serverName), ['UDP [fd00::1]:53']);
});

test('virtual servers of marks are others than those of addresses, and one mark has one of each family', async () => {
  const kernel = createFakeIPVS();
  const marked = (family: 'IPv4' | 'IPv6', mark = 1234): VirtualServerMark => ({ mark, family });
  const settings = { scheduler: 'rr', persistenceSeconds: 60 };
  const { refused } = await kernel.apply([
    ADD,
    { do: 'add virtual server', server: { ...marked('IPv4'), ...settings } },
    { do: 'add virtual server', server: { ...marked('IPv6'), ...settings, persistencePrefix: 64 } },
    { do: 'add virtual server', server: { ...marked('IPv4', 0xffffffff), ...settings, persistencePrefix: 24 } },
    { do: 'add virtual server', server: { ...marked('IPv4'), ...settings } },
    { do: 'add real server', server: marked('IPv4'), real: REAL },
    { do: 'add real server', server: marked('IPv6'), real: REAL },
    { do: 'add real server', server: marked('IPv6'), real: { ...REAL, ip: 'fd00::2' } },
    { do: 'delete virtual server', server: marked('IPv6', 9) },
  ]);
  assert.equal(
    refused.map(({ errno }) => errno),
    ['EEXIST', 'EINVAL'],
  );
  assert.match(refused[0]!.error.message, /^ipvs add virtual server FWM 1234: EEXIST/);
  assert.match(refused[1]!.error.message, /^ipvs add real server 10\.0\.0\.1:8080 of FWM 1234 IPv6: EINVAL/);
  assert.is(
    kernel.dump(),
    '-A -f 1234 -6 -s rr -p 60 -M 64\n' +
      '-A -f 1234 -s rr -p 60\n' +
      '-A -f 4294967295 -s rr -p 60 -M 255.255.255.0\n' +
      '-A -t 10.96.0.1:80 -s rr\n' +
      '-a -f 1234 -6 -r [fd00::2]:8080 -m -w 1\n' +
      '-a -f 1234 -r 10.0.0.1:8080 -m -w 1\n',
  );
  assert.equal((await kernel.virtualServers('IPv6')).map(serverName), ['FWM 1234 IPv6']);
  assert.is((await kernel.virtualServer(marked('IPv4')))?.persistencePrefix, 32);
  assert.is(await kernel.virtualServer(marked('IPv6', 9)), undefined);
  kernel.connect(marked('IPv6'), { ip: 'fd00::2', port: 8080 }, { active: 3 });
  assert.is((await kernel.realServers(marked('IPv6')))[0]?.activeConnections, 3);
  await kernel.apply([{ do: 'delete virtual server', server: marked('IPv4') }]);
  assert.is(kernel.dump('IPv4'), '-A -f 4294967295 -s rr -p 60 -M 255.255.255.0\n-A -t 10.96.0.1:80 -s rr\n');
});

test('refuses what the kernel refuses, and goes on', async () => {
  const kernel = createFakeIPVS(undefined, { schedulers: ['rr'], families: ['IPv4'] });
  const { operations, refused } = await kernel.apply([
    ADD_REAL,
    { do: 'set virtual server', server: RR },
    { do: 'add virtual server', server: { ...RR, scheduler: 'mh' } },
    ADD,
    ADD,
    { do: 'set real server', server: SERVER, real: REAL },
    ADD_REAL,
    ADD_REAL,
    { do: 'add real server', server: SERVER, real: { ...REAL, ip: '224.0.0.1' } },
    { do: 'add virtual server', server: { ...RR, ip: 'fd00::1' } },
    { do: 'add real server', server: SERVER, real: { ...REAL, ip: 'fd00::1' } },
    { do: 'add real server', server: SERVER, real: { ...REAL, weight: -1 } },
  ]);
  assert.is(operations, 2);
  assert.equal(
    refused.map(({ errno }) => errno),
    ['ESRCH', 'ESRCH', 'ENOENT', 'EEXIST', 'ENOENT', 'EEXIST', 'EINVAL', 'EAFNOSUPPORT', 'EAFNOSUPPORT', ''],
  );
  assert.match(refused[2]!.error.message, /CONFIG_IP_VS_MH/);
  assert.match(refused[9]!.error.message, /^ipvs add real server .*the weight/);
});

test('lets real servers of the other family be reached through tunnels only', async () => {
  const kernel = createFakeIPVS();
  const mixed = (forwarding: 'masquerade' | 'tunnel'): IPVSStep => ({
    do: 'add real server',
    server: SERVER,
    real: { ...REAL, ip: 'fd00::1', forwarding },
  });
  const { refused } = await kernel.apply([ADD, mixed('masquerade'), mixed('tunnel')]);
  assert.equal(
    refused.map(({ errno }) => errno),
    ['EINVAL'],
  );
});

test('forgives deleting what is not there', async () => {
  const kernel = createFakeIPVS();
  const { operations, refused } = await kernel.apply([
    DELETE_REAL,
    { do: 'delete virtual server', server: SERVER },
    ADD,
    DELETE_REAL,
    { do: 'delete virtual server', server: SERVER },
  ]);
  assert.equal([operations, refused], [2, []]);
  assert.equal(
    kernel.steps.map((step) => step.do),
    ['add virtual server', 'delete virtual server'],
  );
});

test('a virtual server takes its real servers with it, and keeps them when it is set', async () => {
  const kernel = createFakeIPVS();
  await kernel.apply([ADD, ADD_REAL, { do: 'set virtual server', server: { ...RR, scheduler: 'wrr' } }]);
  assert.is((await kernel.realServers(SERVER)).length, 1);
  assert.is((await kernel.virtualServer(SERVER))?.scheduler, 'wrr');
  await kernel.apply([{ do: 'delete virtual server', server: SERVER }, ADD]);
  assert.equal(await kernel.realServers(SERVER), []);
});

test('the last real server added is the first listed', async () => {
  const kernel = createFakeIPVS();
  const second = { ...REAL, ip: '10.0.0.2' };
  await kernel.apply([ADD, ADD_REAL, { ...ADD_REAL, real: second } as IPVSStep]);
  await kernel.apply([{ do: 'set real server', server: SERVER, real: { ...REAL, weight: 5 } }]);
  assert.equal(
    (await kernel.realServers(SERVER)).map(({ ip, weight }) => [ip, weight]),
    [
      ['10.0.0.2', 1],
      ['10.0.0.1', 5],
    ],
  );
});

test('connections are counted where they are said to be, also behind a real server that comes back', async () => {
  const kernel = createFakeIPVS();
  await kernel.apply([ADD, ADD_REAL]);
  const counted = async () => {
    const [real] = await kernel.realServers(SERVER);
    return [real?.activeConnections, real?.inactiveConnections, real?.persistentConnections];
  };
  assert.equal(await counted(), [0, 0, 0]);
  kernel.connect(SERVER, REAL, { active: 2, persistent: 1 });
  await kernel.apply([DELETE_REAL, ADD_REAL]);
  assert.equal(await counted(), [2, 0, 1]);
  kernel.connect(SERVER, REAL, { inactive: 1 });
  assert.equal(await counted(), [0, 1, 0]);
});

test('an outcome that is unknown may have taken effect or not', async () => {
  const kernel = createFakeIPVS();
  kernel.failNext({ code: 'KP_NETLINK_OVERRUN', text: 'ENOBUFS' });
  kernel.failNext({ code: 'KP_NETLINK_TIMEOUT', text: 'silence' }, 'after');
  assert.is((await rejection(kernel.apply([ADD]))).code, 'KP_NETLINK_OVERRUN');
  assert.is(kernel.dump(), '');
  assert.is((await rejection(kernel.apply([ADD]))).code, 'KP_NETLINK_TIMEOUT');
  assert.not.equal(kernel.dump(), '');
  assert.is((await kernel.apply([ADD_REAL])).operations, 1);
});

test('two with one state are two processes on one host', async () => {
  const state = createFakeIPVSState();
  const [one, two] = [createFakeIPVS(state), createFakeIPVS(state)];
  await one.apply([ADD]);
  assert.is((await two.apply([ADD])).refused[0]?.errno, 'EEXIST');
  one.close();
  assert.is((await rejection(one.apply([ADD_REAL]))).code, 'KP_NETLINK_INVALID');
  assert.is((await two.virtualServers('IPv4')).length, 1);
});

test('probes, timeouts and version are as a kernel of the options', async () => {
  const kernel = createFakeIPVS(undefined, { schedulers: ['rr'], families: ['IPv4'] });
  await kernel.probe('IPv4', 'rr');
  assert.match((await rejection(kernel.probe('IPv4', 'mh'))).message, /CONFIG_IP_VS_MH/);
  assert.match((await rejection(kernel.probe('IPv6', 'rr'))).message, /CONFIG_IP_VS_IPV6/);
  assert.equal(kernel.steps, []);
  await kernel.setTimeouts({ tcpSeconds: 10, udpSeconds: 0 });
  assert.equal(await kernel.timeouts(), { tcpSeconds: 10, tcpFinSeconds: 120, udpSeconds: 300 });
  assert.is((await kernel.info()).version, '1.2.1');
});

test.run();
