/** The sockets on which an engine waits for clients, opened and closed as it is told. */
import { getSystemErrorMessage, getSystemErrorName } from 'node:util';
import type { SocketAddress } from '../../../core/backend.ts';
import type { Half } from './connection.ts';
import { countOutOfDescriptors, type Forwarding } from './forwarding.ts';
import { bindTCP, bindUDP, type HandleAddress, type TCPHandle, tcpServer, udpSocket } from './handles.ts';
import type { EngineEvent, ForwardedProtocol, ListenSpec, ListenUpdate } from './messages.ts';
import { acceptTCP, type TCPForwarding } from './tcp.ts';
import { closeEntrance, openEntrance, type UDPEntrance, type UDPForwarding } from './udp.ts';

/** The kernel cuts it to net.core.somaxconn. */
const BACKLOG = 4096;

export interface Listeners {
  /** All of it is done, and told, when this returns. */
  update(update: ListenUpdate): void;
  closeAll(): void;
  listensAt(protocol: ForwardedProtocol, address: SocketAddress): boolean;
}

interface Listening {
  readonly port: number;
  readonly close: () => void;
}

interface Listener extends Listening {
  readonly spec: ListenSpec;
}

export function openListeners(
  forwarding: Forwarding,
  { tcp, udp }: { readonly tcp: TCPForwarding; readonly udp: UDPForwarding },
  emit: (event: EngineEvent) => void,
): Listeners {
  const open = new Map<string, Listener>();
  const addresses = new Set<string>();

  const listen = (spec: ListenSpec): void => {
    const result = spec.protocol === 'TCP' ? listenTCP(forwarding, tcp, spec) : listenUDP(udp, spec);
    if (typeof result === 'number') {
      const [code, message] = [getSystemErrorName(result), getSystemErrorMessage(result)];
      emit({ event: 'listen failed', id: spec.id, code, message: `${spec.ip} port ${spec.port}: ${message}` });
      return;
    }
    open.set(spec.id, { spec, ...result });
    addresses.add(addressOf(spec.protocol, { ip: spec.ip, port: result.port }));
    emit({ event: 'listening', id: spec.id, port: result.port });
  };

  const close = (id: string): void => {
    const listener = open.get(id);
    if (listener === undefined) return;
    listener.close();
    addresses.delete(addressOf(listener.spec.protocol, { ip: listener.spec.ip, port: listener.port }));
    open.delete(id);
  };

  return {
    update({ close: gone = [], open: wanted = [] }) {
      for (const id of gone) close(id);
      const others = wanted.filter((spec) => {
        const listener = open.get(spec.id);
        if (listener === undefined || !isSame(spec, listener.spec)) return true;
        emit({ event: 'listening', id: spec.id, port: listener.port });
        return false;
      });
      for (const { id } of others) close(id);
      for (const spec of others) listen(spec);
    },
    closeAll() {
      for (const id of [...open.keys()]) close(id);
    },
    listensAt: (protocol, address) => addresses.has(addressOf(protocol, address)),
  };
}

function addressOf(protocol: ForwardedProtocol, { ip, port }: SocketAddress): string {
  return `${protocol} ${ip} ${port}`;
}

function listenTCP(forwarding: Forwarding, tcp: TCPForwarding, spec: ListenSpec): Listening | number {
  const handle = tcpServer<never>();
  let result = bindTCP(handle, spec.ip, spec.port, spec.shared);
  if (result === 0) {
    // Without descriptors libuv accepts and closes what waits, and tells nobody: what is counted are dials that fail.
    handle.onconnection = (status, client) => {
      if (status === 0) acceptTCP(tcp, spec, client as TCPHandle<Half>);
      else countOutOfDescriptors(forwarding, status);
    };
    result = handle.listen(BACKLOG);
  }
  if (result !== 0) {
    handle.close();
    return result;
  }
  // Linux hands these down to the sockets that are accepted: two system calls less for each.
  handle.setNoDelay(true);
  if (forwarding.limits.keepAliveSeconds > 0) handle.setKeepAlive(true, forwarding.limits.keepAliveSeconds);
  return { port: portOf(handle), close: () => handle.close() };
}

function listenUDP(udp: UDPForwarding, spec: ListenSpec): Listening | number {
  const handle = udpSocket<UDPEntrance>();
  const result = bindUDP(handle, spec.ip, spec.port, spec.shared);
  if (result !== 0) {
    handle.close();
    return result;
  }
  const port = portOf(handle);
  const entrance = openEntrance(udp, spec, handle, port);
  return { port, close: () => closeEntrance(entrance) };
}

function portOf(handle: { getsockname(out: HandleAddress): number }): number {
  const out: HandleAddress = {};
  handle.getsockname(out);
  return out.port ?? 0;
}

function isSame(one: ListenSpec, other: ListenSpec): boolean {
  return (
    one.protocol === other.protocol &&
    one.ip === other.ip &&
    one.port === other.port &&
    one.shared === other.shared &&
    one.clients === other.clients &&
    one.serves?.service === other.serves?.service &&
    one.serves?.kind === other.serves?.kind
  );
}
