/** The serving side of an agent: TCP, UDP and SCTP servers that tell everybody who they are and whom they see. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, isIPv6, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Answer, hostPort, LAST_WORD, type Serve } from './agent-protocol.ts';
import { serveSctp } from './agent-sctp.ts';
import { SLOW } from './slow.ts';

/**
 * Stops the servers that one `serve` started, and resets their connections; with `whenIdle`, those of TCP not before
 * none is left and none has come for a while: whoever comes to an ended server's address is refused.
 */
export type Stop = (whenIdle?: boolean) => Promise<void>;

/** How often it is looked, and how often in vain at most. */
const [IDLE_MS, IDLE_LOOKS] = [100 * SLOW, 50];

/** Resolves once every server listens. */
export async function serve({ protocol, addresses = ownAddresses(), port, server }: Serve): Promise<Stop> {
  const start = { TCP: serveTcp, UDP: serveUdp, SCTP: serveSctp }[protocol];
  const stops = await Promise.all(addresses.map((ip) => start(ip, port, server)));
  return async (whenIdle) => void (await Promise.all(stops.map((stop) => stop(whenIdle))));
}

async function serveTcp(ip: string, port: number, name: string): Promise<Stop> {
  const connections = new Set<Socket>();
  let accepted = 0;
  const server = createServer((socket) => {
    accepted++;
    connections.add(socket);
    const answer: Answer = {
      server: name,
      address: hostPort(ip, port),
      peer: socket.remoteAddress ?? '',
      peerPort: socket.remotePort ?? 0,
    };
    const say = () => socket.write(`${JSON.stringify(answer)}\n`);
    socket.setNoDelay(true);
    socket.on('data', (text) => {
      if (text.toString() === LAST_WORD) socket.end();
      else say();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => connections.delete(socket));
    say();
  });
  server.listen({ host: ip, port, ipv6Only: true, backlog: 4096 });
  await once(server, 'listening');
  const idle = async (): Promise<void> => {
    for (let look = 0; look < IDLE_LOOKS; look++) {
      const before = accepted;
      await sleep(IDLE_MS);
      if (connections.size === 0 && accepted === before) return;
    }
    throw new Error(`${name} at ${hostPort(ip, port)} is never idle: connections keep coming, or stay`);
  };
  return async (whenIdle = false) => {
    if (whenIdle) await idle();
    server.close();
    for (const socket of connections) socket.resetAndDestroy();
  };
}

async function serveUdp(ip: string, port: number, name: string): Promise<Stop> {
  // Bound to the very address, so that answers leave from it.
  const socket = createSocket({ type: isIPv6(ip) ? 'udp6' : 'udp4', ipv6Only: isIPv6(ip) });
  socket.on('message', (_, { address: peer, port: peerPort }) => {
    const answer: Answer = { server: name, address: hostPort(ip, port), peer, peerPort };
    socket.send(JSON.stringify(answer), peerPort, peer, () => undefined);
  });
  socket.bind(port, ip);
  await once(socket, 'listening');
  socket.on('error', () => undefined);
  return async () => void socket.close();
}

function ownAddresses(): readonly string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .map(({ address }) => address)
    .filter((address) => !address.startsWith('fe80:'));
}
