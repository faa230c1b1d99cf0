/**
 * Where connections and datagrams were going before a rule of this namespace brought them to a socket of ours, as the
 * kernel tells it: in this thread and in one of its own.
 */
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ArrivingFlow, IPFamily, SocketAddress } from '../../core/backend.ts';
import { createSocketFacts, type OpenSocketFacts } from '../../core/node/socket-facts.ts';
import { createThreads } from '../../core/node/thread.ts';
import { fakeLog } from '../unit/sync/fake-log.ts';
import { isolateTests } from './isolated.ts';

await isolateTests(['nftables', 'iproute2']);
const test = suite('original destinations');
const WORDS = {
  IPv4: { table: 'ip', service: '10.96.0.10', range: '10.96.0.0/16', own: '127.0.0.1', at: '127.0.0.1' },
  IPv6: { table: 'ip6', service: 'fd00:96::a', range: 'fd00:96::/64', own: '::1', at: '[::1]' },
} as const;
const PORTS = { tcp: 80, udp: 53 } as const;

function translate(family: IPFamily, protocol: 'tcp' | 'udp', port: number): void {
  const { table, service, at } = WORDS[family];
  const rule = `${table} daddr ${service} ${protocol} dport ${PORTS[protocol]} dnat to ${at}:${port}`;
  const chain = 'chain out { type nat hook output priority -100; }';
  const text = `table ${table} test { ${chain}; }\nflush chain ${table} test out\nadd rule ${table} test out ${rule}\n`;
  execFileSync('nft', ['-f', '-'], { input: text });
}

let facts: OpenSocketFacts;
test.before(() => {
  for (const { range } of Object.values(WORDS)) execFileSync('ip', ['route', 'add', 'local', range, 'dev', 'lo']);
});
test.before.each(() => {
  facts = createSocketFacts();
});
test.after.each(() => facts.close());

/** Node.js has no other way to tell. */
function descriptorOf(socket: Socket): number {
  return (socket as Socket & { readonly _handle: { readonly fd: number } })._handle.fd;
}

/** A listener for one connection: its port, and what the facts say of that connection. */
async function listening(host: string): Promise<{ port: number; original: Promise<SocketAddress | undefined> }> {
  const original = Promise.withResolvers<SocketAddress | undefined>();
  const server = createServer((socket) => {
    try {
      original.resolve(facts.originalDestination(descriptorOf(socket)));
    } catch (error) {
      original.reject(error);
    }
    socket.end();
    server.close();
  }).listen(0, host);
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, original: original.promise };
}

async function dial(host: string, port: number): Promise<void> {
  const socket = connect(port, host).resume();
  await once(socket, 'close');
}

/** One datagram to `host`, received at `own`: the flow as the receiving socket sees it. */
async function arriving(family: IPFamily, host: (port: number) => readonly [string, number]): Promise<ArrivingFlow> {
  const { own: ip } = WORDS[family];
  const type = family === 'IPv4' ? 'udp4' : 'udp6';
  const [server, client] = [createSocket(type), createSocket(type)];
  try {
    server.bind(0, ip);
    await once(server, 'listening');
    const { port } = server.address();
    const [toHost, toPort] = host(port);
    client.send('hello', toPort, toHost);
    const [, { address: clientIP, port: clientPort }] = await once(server, 'message');
    return { family, clientIP, clientPort, ip, port };
  } finally {
    server.close();
    client.close();
  }
}

for (const family of ['IPv4', 'IPv6'] as const) {
  const { service, own } = WORDS[family];

  test(`${family}: a TCP connection that was translated tells the Service's address and port`, async () => {
    const { port, original } = await listening(own);
    translate(family, 'tcp', port);
    await dial(service, 80);
    assert.equal(await original, { ip: service, port: 80 });
  });

  test(`${family}: a TCP connection to the listener itself was going nowhere else`, async () => {
    const { port, original } = await listening(own);
    translate(family, 'tcp', port);
    await dial(own, port);
    assert.is(await original, undefined);
  });

  test(`${family}: a UDP flow that was translated tells the Service's address and port`, async () => {
    const flow = await arriving(family, (port) => {
      translate(family, 'udp', port);
      return [service, 53];
    });
    assert.equal(facts.originalUDPDestination(flow), { ip: service, port: 53 });
  });

  test(`${family}: a UDP flow to the socket itself, and one that there is not, was going nowhere else`, async () => {
    const flow = await arriving(family, (port) => [own, port]);
    assert.is(facts.originalUDPDestination(flow), undefined);
    assert.is(facts.originalUDPDestination({ ...flow, clientPort: flow.port }), undefined);
  });
}

test('a listener for both families tells an IPv4 destination in plain text', async () => {
  const { port, original } = await listening('::');
  translate('IPv4', 'tcp', port);
  await dial(WORDS.IPv4.service, 80);
  assert.equal(await original, { ip: WORDS.IPv4.service, port: 80 });
});

test('a listener for both families tells that an IPv4 connection was not translated', async () => {
  const { port, original } = await listening('::');
  await dial(WORDS.IPv4.own, port);
  assert.is(await original, undefined);
});

test('a descriptor that is no socket is refused by name', () => {
  assert.throws(() => facts.originalDestination(0xffff), /original destination of descriptor 65535: EBADF/);
});

const THREAD = `
export default function main(host) {
  host.onMessage((flow) => host.post(host.sockets.originalUDPDestination(flow)));
}
`;

/** As the kernel shows it in a listing of descriptors. */
function openSockets(): readonly string[] {
  return readdirSync('/proc/self/fd').flatMap((descriptor) => {
    try {
      const target = readlinkSync(join('/proc/self/fd', descriptor));
      return target.startsWith('socket:') ? [target] : [];
    } catch {
      // That of the listing itself.
      return [];
    }
  });
}

test('a thread asks by a socket of its own, which is closed when it is ended in the middle of something', async () => {
  const folder = mkdtempSync('/run/thread-');
  chmodSync(folder, 0o755);
  try {
    const file = join(folder, 'asks.mjs');
    writeFileSync(file, THREAD);
    const flow = await arriving('IPv4', (port) => {
      translate('IPv4', 'udp', port);
      return [WORDS.IPv4.service, 53];
    });
    const before = openSockets();
    const answer = Promise.withResolvers<unknown>();
    const onExit = (reason: string): void => answer.reject(new Error(reason));
    const thread = createThreads(fakeLog()).thread(file, { data: undefined, onMessage: answer.resolve, onExit });
    thread.post(flow);
    assert.equal(await answer.promise, { ip: WORDS.IPv4.service, port: 53 });
    assert.is(openSockets().length, before.length + 1);
    await thread.end();
    assert.equal(openSockets(), before);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
