/** The serving side of an agent: TCP, UDP and SCTP servers that tell everybody who they are and whom they see. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, isIPv6, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { type Answer, hostPort, type Serve } from './agent-protocol.ts';
import { serveSctp } from './agent-sctp.ts';

/** Stops the servers that one `serve` started, and drops their connections. */
export type Stop = () => void;

/** Resolves once every server listens. */
export async function serve({ protocol, addresses = ownAddresses(), port, server }: Serve): Promise<Stop> {
  const start = { TCP: serveTcp, UDP: serveUdp, SCTP: serveSctp }[protocol];
  const stops = await Promise.all(addresses.map((ip) => start(ip, port, server)));
  return () => {
    for (const stop of stops) stop();
  };
}

async function serveTcp(ip: string, port: number, name: string): Promise<Stop> {
  const connections = new Set<Socket>();
  const server = createServer((socket) => {
    connections.add(socket);
    const answer: Answer = {
      server: name,
      address: hostPort(ip, port),
      peer: socket.remoteAddress ?? '',
      peerPort: socket.remotePort ?? 0,
    };
    const say = () => socket.write(`${JSON.stringify(answer)}\n`);
    socket.setNoDelay(true);
    socket.on('data', say);
    socket.on('error', () => undefined);
    socket.on('close', () => connections.delete(socket));
    say();
  });
  server.listen({ host: ip, port, ipv6Only: true, backlog: 4096 });
  await once(server, 'listening');
  return () => {
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
  return () => socket.close();
}

function ownAddresses(): readonly string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .map(({ address }) => address)
    .filter((address) => !address.startsWith('fe80:'));
}
