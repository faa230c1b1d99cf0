/**
 * IPVS and the interface that makes its addresses local, as plugins see them, without `ipvsadm` and `ip`. Types only.
 *
 *   client ──▶ VirtualServer (protocol, address, port; or a mark) ── scheduler ──▶ RealServer (address, port, weight)
 *
 * The kernel balances only packets that it takes for its own, so that each virtual server's address must be local: on
 * a dummy interface (`DummyLink`) if on no other.
 */

/** Identifies a virtual server by where packets go. */
export interface VirtualServerAddress {
  readonly protocol: 'TCP' | 'UDP' | 'SCTP';
  readonly ip: string;
  /** Only others' have 0: all ports of an address that no other virtual server has; those must be persistent. */
  readonly port: number;
}

/**
 * Identifies a virtual server by the mark that packets carry (a "firewall mark"; nf_tables' `meta mark set`), whatever
 * their protocol, address and port. New connections of such packets are its, also where one of their address exists.
 */
export interface VirtualServerMark {
  /** 1 to 2^32 - 1. */
  readonly mark: number;
  readonly family: 'IPv4' | 'IPv6';
}

/** What identifies a virtual server in its network namespace: `'mark' in key` tells which of both. */
export type VirtualServerKey = VirtualServerAddress | VirtualServerMark;

/** What a virtual server does, whatever identifies it. */
export interface VirtualServerSettings {
  /** As `ipvsadm -s` names it: "rr", "wrr", "lc", "mh", …; "none" refuses new connections. At most 15 bytes. */
  readonly scheduler: string;
  /**
   * Seconds a client keeps its real server after its last new connection, at least as long as it has connections;
   * 0 = it does not. At most 2147483. Of a mark's virtual server this costs the translation of ports: what the kernel
   * remembers of a client is an address alone, and connections keep the port that they asked for, whatever the real
   * server's.
   */
  readonly persistenceSeconds: number;
  /** Clients whose addresses agree in so many bits are one, 1 to 32 or 128. Default: all bits. */
  readonly persistencePrefix?: number;
  /** Of "sh" and "mh": the client's port is hashed, too (sh-port, mh-port). Default: false. */
  readonly hashPort?: boolean;
  /** Of "sh" and "mh": a real server of weight 0 is passed over (sh-fallback, mh-fallback). Default: false. */
  readonly hashFallback?: boolean;
  /** Of UDP: each packet is scheduled by itself. Default: false. */
  readonly onePacket?: boolean;
  /** "sip", or "" for none. Default: none. */
  readonly persistenceEngine?: string;
}

export type VirtualServer = VirtualServerKey & VirtualServerSettings;

/** What identifies a real server of a virtual server. */
export interface RealServerAddress {
  readonly ip: string;
  /** 0, of virtual servers of a mark or of all ports: the one that the client asked for. */
  readonly port: number;
}

export interface RealServer extends RealServerAddress {
  /** 0: no new connections (but what persistence sends there, unless net/ipv4/vs/expire_quiescent_template). To 65535. */
  readonly weight: number;
  /**
   * How packets get there: by translating the destination (the default), to its MAC address, or in an IPIP tunnel. The
   * last two keep the port: it must be the virtual server's. "local" and "bypass" are others' only.
   */
  readonly forwarding?: 'masquerade' | 'direct' | 'tunnel' | 'local' | 'bypass';
  /** From so many connections on it gets no new ones … 0 = no limit, the default. */
  readonly upperThreshold?: number;
  /** … until it has fewer than so many; 0, the default: three quarters of the upper one. */
  readonly lowerThreshold?: number;
}

/**
 * Since it was made, or since its counters were reset. Exact up to 2^53. The kernel adds them up every two seconds, and
 * only if net/ipv4/vs/run_estimation is on, which costs it time for each server.
 */
export interface IPVSStatistics {
  readonly connections: number;
  readonly packetsIn: number;
  readonly packetsOut: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** A virtual server as the kernel has it; whoever made it. */
export type VirtualServerState = VirtualServerKey &
  Required<VirtualServerSettings> & { readonly statistics: IPVSStatistics };

export interface RealServerState extends Required<RealServer> {
  /** TCP: established. UDP: all. */
  readonly activeConnections: number;
  /** TCP: being opened or closed. What must be 0 together with the active ones before it can go without harm. */
  readonly inactiveConnections: number;
  /** Clients that persistence keeps here; not connections. */
  readonly persistentConnections: number;
  readonly statistics: IPVSStatistics;
}

export type IPVSStep =
  /** 'add' is refused (EEXIST) if there is one, 'set' (ESRCH) if there is none; the real servers stay. */
  | { readonly do: 'add virtual server' | 'set virtual server'; readonly server: VirtualServer }
  /** With its real servers. Succeeds if there is none. */
  | { readonly do: 'delete virtual server'; readonly server: VirtualServerKey }
  /**
   * 'add' is refused (EEXIST) if there is one, 'set' (ENOENT) if there is none, both (ESRCH) without the virtual
   * server. 'add' after 'delete', within two minutes, keeps the counters of connections.
   */
  | {
      readonly do: 'add real server' | 'set real server';
      readonly server: VirtualServerKey;
      readonly real: RealServer;
    }
  /** Its connections go on, unless net/ipv4/vs/expire_nodest_conn. Succeeds if there is none. */
  | { readonly do: 'delete real server'; readonly server: VirtualServerKey; readonly real: RealServerAddress };

export interface IPVSRefusal {
  readonly step: IPVSStep;
  /** "EEXIST", "ENOENT", "ESRCH", …; "" if it could not be sent, being no possible server. */
  readonly errno: string;
  /** Names the step and the object, and how to get on. `code` is KP_NETLINK_REFUSED, _UNSUPPORTED or _INVALID. */
  readonly error: Error & { readonly code: string };
}

export interface IPVSOutcome {
  /** Steps that changed something. */
  readonly operations: number;
  readonly bytes: number;
  /** Steps that were refused, in order; all others took effect. */
  readonly refused: readonly IPVSRefusal[];
}

/** A connection that IPVS tracks, or what persistence remembers of a client, whose port is 0 then. */
export interface IPVSConnection {
  /** "TCP", "UDP", "SCTP"; "IP" for a client that a virtual server of a mark remembers; others of others. */
  readonly protocol: string;
  readonly clientIP: string;
  readonly clientPort: number;
  /** Of protocol "IP" no address but the mark: 10 is "0.0.0.10", or "0:a::". */
  readonly ip: string;
  readonly port: number;
  readonly realIP: string;
  readonly realPort: number;
  /** The kernel's word: "ESTABLISHED", "FIN_WAIT", … */
  readonly state: string;
  readonly expiresSeconds: number;
}

/** Seconds that idle connections are remembered. */
export interface IPVSTimeouts {
  readonly tcpSeconds: number;
  readonly tcpFinSeconds: number;
  readonly udpSeconds: number;
}

/**
 * Methods reject with a NetlinkError that names operation and object: KP_NETLINK_REFUSED (`errno` "EPERM": needs
 * CAP_NET_ADMIN), KP_NETLINK_UNSUPPORTED (the module has gone), KP_NETLINK_INVALID, and KP_NETLINK_TIMEOUT, _OVERRUN
 * and _MALFORMED, after which the outcome is unknown: list what there is. Virtual servers of other protocols are never
 * shown.
 */
export interface IPVS {
  /**
   * Take steps in order, off the event loop where they may take long; one call at a time. Not a transaction: the kernel
   * takes each by itself and goes on after one that it refuses. Rejects only if the outcome of some is unknown.
   *
   * Rather 'set' than 'delete' and 'add': the kernel keeps what was deleted for two minutes, and searches all of that for
   * each real server that is added (110,000 that came back took minutes instead of seconds). A 'set' to another scheduler
   * waits until nobody uses the old one, some milliseconds.
   */
  apply(steps: Iterable<IPVSStep>): Promise<IPVSOutcome>;
  /**
   * All of a family, whoever made them and whatever identifies them, in no order. What is added or deleted meanwhile may
   * make others be missed or come twice.
   */
  virtualServers(family: 'IPv4' | 'IPv6'): Promise<readonly VirtualServerState[]>;
  /** Undefined if there is none. */
  virtualServer(key: VirtualServerKey): Promise<VirtualServerState | undefined>;
  /** The last added first. Empty, too, if there is no such virtual server. One listing for each: the dear part of a full comparison. */
  realServers(of: VirtualServerKey): Promise<readonly RealServerState[]>;
  /** All connections of both families, in no order. Reads text: nothing to do often. */
  connections(each: (connection: IPVSConnection) => void): Promise<void>;
  /**
   * Find out by trying whether there is such a scheduler, which loads its module, and whether the family can be served:
   * rejects with KP_NETLINK_UNSUPPORTED that names what is missing. For an instant there is a virtual server
   * UDP 198.51.100.0:9 or [2001:db8::]:9 (addresses for documentation).
   */
  probe(family: 'IPv4' | 'IPv6', scheduler: string): Promise<void>;
  timeouts(): Promise<IPVSTimeouts>;
  /** What is absent or 0 stays as it is. */
  setTimeouts(timeouts: Partial<IPVSTimeouts>): Promise<void>;
  /** The kernel's version of IPVS ("1.2.1"), and how many hash buckets its connections have. */
  info(): Promise<{ readonly version: string; readonly connectionTableSize: number }>;
}

/**
 * A dummy interface: it is never up and carries no packet, but its addresses are local. Methods throw a NetlinkError:
 * KP_NETLINK_CONFLICT if the name belongs to a link of another kind, KP_NETLINK_UNSUPPORTED if the kernel has no dummy
 * interfaces, KP_NETLINK_REFUSED (EPERM).
 */
export interface DummyLink {
  /** Create it; succeeds if it exists. */
  ensure(): void;
  /** With its addresses. Succeeds if there is none. */
  delete(): void;
  /** Undefined: there is no such interface. Those on it with their whole length (/32, /128), IPv6 link-local ones left out. */
  addresses(family: 'IPv4' | 'IPv6'): readonly string[] | undefined;
  /**
   * Remove and add addresses, off the event loop if they are many. Those that are gone, or there, are no error.
   * `operations` counts what changed. All are tried; rejects with the first error, which says how many there are.
   */
  change(addresses: {
    readonly add?: Iterable<string>;
    readonly remove?: Iterable<string>;
  }): Promise<{ readonly operations: number; readonly bytes: number }>;
}
