/**
 * Sockets of this network namespace that wait for connections or datagrams: the data plane of a backend that serves in
 * user space, which no list of the kernel's rules shows. From /proc/net, as proc_pid_net(5) says:
 *
 *   sl  local_address rem_address   st tx_queue:rx_queue tr:tm->when retrnsmt   uid  timeout inode
 *    0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345
 *
 * Addresses are 32-bit words in the byte order of the machine, which is little-endian on all that we are built for.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { parseIP } from '../../core/model/ip.ts';

export interface Listener {
  /** "tcp 0.0.0.0:30001" */
  readonly name: string;
  readonly port: number;
  readonly inode: string;
  /** Of this process, and so gone with it. */
  readonly isOwn: boolean;
}

/** TCP_LISTEN, and for UDP TCP_CLOSE: not connected to anybody. include/net/tcp_states.h */
const WAITING = { tcp: '0A', udp: '07' } as const;

/** None where /proc cannot be read. `whose`: `own` is quick where this process has no socket at all. */
export function listeners(whose: 'all' | 'own' = 'all'): readonly Listener[] {
  try {
    const own = ownSockets();
    if (whose === 'own' && own.size === 0) return [];
    return (
      (['tcp', 'udp'] as const)
        .flatMap((protocol) =>
          ['', '6'].flatMap((version) =>
            parse(protocol, readFileSync(`/proc/self/net/${protocol}${version}`, 'utf8'), own),
          ),
        )
        .filter(({ isOwn }) => whose === 'all' || isOwn)
        // The kernel lists them by a hash.
        .sort((a, b) => (a.name < b.name ? -1 : 1))
    );
  } catch {
    return [];
  }
}

/** Inodes of all sockets of this process. */
export function ownSockets(): ReadonlySet<string> {
  const found = new Set<string>();
  for (const descriptor of readdirSync('/proc/self/fd')) {
    try {
      const [, inode] = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${descriptor}`)) ?? [];
      if (inode !== undefined) found.add(inode);
    } catch {
      // That of the folder itself is closed again.
    }
  }
  return found;
}

export function parse(protocol: 'tcp' | 'udp', text: string, own: ReadonlySet<string>): readonly Listener[] {
  return text
    .split('\n')
    .slice(1)
    .flatMap((line): readonly Listener[] => {
      const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/);
      if (state !== WAITING[protocol]) return [];
      const [address = '', port = ''] = local.split(':');
      const number = Number.parseInt(port, 16);
      return [{ name: `${protocol} ${endpoint(address, number)}`, port: number, inode, isOwn: own.has(inode) }];
    });
}

function endpoint(hex: string, port: number): string {
  const bytes = Buffer.from(hex, 'hex').swap32();
  if (bytes.length === 4) return `${bytes.join('.')}:${port}`;
  const words = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16)).join(':');
  return `[${parseIP(words)?.ip ?? words}]:${port}`;
}
