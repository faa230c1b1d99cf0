// The plugin API of kube-proxy, as one file to keep beside a backend. Types only; made by `npm run sdk`, do not edit.
//   in JavaScript:  /** @import { BackendPlugin } from './kube-proxy.d.ts' */
//   in TypeScript:  import type { BackendPlugin } from './kube-proxy.d.ts';

/**
 * The contract between the core and a data plane. Read this first if you write a backend.
 *
 *   objects ──▶ core (selection, policies, families: decided once, purely) ──Change──▶ backend ──▶ kernel
 *
 * The core decides which endpoints each service port of *this node* may use; a backend only translates
 * that into one data plane. A plugin module default-exports a `BackendPlugin` and imports nothing from
 * this project at run time: take the types with `import type`, everything else arrives through `Host`.
 *
 * Conventions, true everywhere below:
 * - IP addresses and CIDRs are canonical text: IPv6 compressed and lower-case (RFC 5952), CIDRs with the
 *   host bits cleared ("10.244.0.0/16"). Two equal addresses are equal strings.
 * - Ports are 1..65535; 0 means "none". Times are seconds unless a name says otherwise; 0 means "none".
 * - Data handed to a backend is frozen and may be kept by reference.
 * - A plugin shares the process with the core. Calls that end or change all of it (process.exit, process.chdir) throw; a
 *   call that keeps the processor keeps it from everything else. What cannot promise that runs under the exec backend.
 */

export type IPFamily = 'IPv4' | 'IPv6';
export type Protocol = 'TCP' | 'UDP' | 'SCTP';
export type TrafficPolicy = 'Cluster' | 'Local';

/** The version of this contract. A plugin states the one that it was written for. */
export type ApiVersion = 1;

/** One address that answers for a service port. Already chosen for this node; a backend filters nothing. */
export interface Endpoint {
  readonly ip: string;
  readonly port: number;
  /** Runs on this node (its `nodeName` is ours). */
  readonly isLocal: boolean;
  /** False for a serving-while-terminating endpoint, listed only when no ready one exists. */
  readonly ready: boolean;
  /** Node and zone as the EndpointSlice gives them; "" when it does not. */
  readonly nodeName: string;
  readonly zone: string;
  /** The `kube-proxy.io/*` annotations of the EndpointSlice that it is from, shared by all of them; absent if none. */
  readonly annotations?: Readonly<Record<string, string>>;
}

/**
 * One port of one Service, in one IP family, as this node must serve it.
 *
 * What answers a connection:
 * | destination                               | endpoints when policy is Cluster / Local |
 * | clusterIP:port                            | `internalPolicy`: `cluster` / `local`     |
 * | externalIPs, loadBalancerVIPs:port; node address:nodePort | `externalPolicy`: `cluster` / `local` |
 *
 * - Connections to an external destination that come from a pod of this node (see `LocalDetector`) or from
 *   the node itself use `cluster` even when `externalPolicy` is Local.
 * - The chosen list is empty: REJECT (TCP reset or ICMP unreachable) when `hasEndpoints` is false, else DROP.
 * - Masquerade (the endpoint sees an address of this node instead of the source), by source and destination, where
 *   "pod" means recognised by `NodeView.localDetector`, which with kind `none` recognises none:
 *   | to                         | itself (hairpin) | pod of this node | this node | others                      |
 *   | clusterIP                  | yes              | no               | yes*      | yes*   (* not if kind `none`) |
 *   | clusterIP, `masqueradeAll` | yes              | yes              | yes       | yes                         |
 *   | external, policy Cluster   | yes              | yes              | yes       | yes                         |
 *   | external, policy Local     | yes              | no, `cluster`    | yes, `cluster` | no, `local`            |
 * - `sourceRanges` guards `loadBalancerVIPs` only: other sources are dropped before anything else.
 * - Several service ports claim one destination: clusterIP beats loadBalancerVIP beats externalIP beats node port,
 *   among equals the smaller key in byte order. An address that is two of these in one service port is the stronger.
 */
export interface ServicePort {
  /** "namespace/name:port/TCP", or "namespace/name/TCP" for an unnamed port. Unique and stable within a family. */
  readonly key: string;
  readonly namespace: string;
  readonly name: string;
  /** "" for an unnamed port. */
  readonly portName: string;
  readonly protocol: Protocol;
  readonly clusterIP: string;
  readonly port: number;
  readonly nodePort: number;
  readonly externalIPs: readonly string[];
  /** status.loadBalancer.ingress addresses whose ipMode is VIP. */
  readonly loadBalancerVIPs: readonly string[];
  /** CIDRs that may reach `loadBalancerVIPs`; empty = everyone. Where a range holds a node IP, the VIPs are in it, too. */
  readonly sourceRanges: readonly string[];
  readonly internalPolicy: TrafficPolicy;
  readonly externalPolicy: TrafficPolicy;
  /** ClientIP session affinity: seconds a client keeps its endpoint after its last new connection; 0 = no affinity. */
  readonly affinitySeconds: number;
  /** The Service's healthCheckNodePort: must be reachable on the node; the core answers on it. 0 = none. */
  readonly healthCheckNodePort: number;
  /** Endpoints for policy Cluster, in byte order of "ip:port". Empty too when no destination uses it. */
  readonly cluster: readonly Endpoint[];
  /** Endpoints of this node, for policy Local; same order. Empty too when neither a destination nor health checks use it. */
  readonly local: readonly Endpoint[];
  /** Something usable exists anywhere, even if neither list may use it: tells REJECT (false) from DROP (true). */
  readonly hasEndpoints: boolean;
  /**
   * UDP only; absent when there are none: endpoints that serve (ready or terminating or neither, wherever they are) but
   * are in neither list. They get no new flows, but flows that already reach them stay (see `UsesConntrack`).
   */
  readonly keepsFlowsUDP?: readonly Endpoint[];
  /** The Service's `kube-proxy.io/*` annotations, for settings of a backend's own. */
  readonly annotations: Readonly<Record<string, string>>;
}

/** How connections from this node's pods are told from all others. `none`: they cannot be told. */
export type LocalDetector =
  | { readonly kind: 'none' }
  | { readonly kind: 'cidr'; readonly cidr: string }
  | { readonly kind: 'interface'; readonly name: string }
  | { readonly kind: 'interfacePrefix'; readonly prefix: string };

/**
 * The node addresses that answer on node ports.
 * `all`: every address that is local to this host, except loopback, which is included only if `loopback` says so
 * (all of 127.0.0.0/8; never ::1). `list`: exactly these addresses, loopback already included or left out.
 */
export type NodePortAddresses =
  | { readonly match: 'all'; readonly loopback: boolean }
  | { readonly match: 'list'; readonly addresses: readonly string[] };

/** This node, as one IP family sees it. Travels with every change; compare with the last to find what moved. */
export interface NodeView {
  readonly name: string;
  readonly zone: string;
  /** The node's own addresses of this family from its Node object or --bind-address, primary first; may be empty. */
  readonly nodeIPs: readonly string[];
  /** Every address of this family on the host's interfaces, loopback included, sorted. */
  readonly addresses: readonly string[];
  readonly nodePortAddresses: NodePortAddresses;
  readonly localDetector: LocalDetector;
  /** Masquerade everything sent to a clusterIP, whoever the source. */
  readonly masqueradeAll: boolean;
  /** CIDRs from which ClusterIPs are allocated; empty when unknown. */
  readonly serviceCIDRs: readonly string[];
  /** nf_conntrack_tcp_be_liberal is to be on (kernel backends see to it): INVALID packets must not be dropped. */
  readonly tcpBeLiberal: boolean;
}

/**
 * What to make true, for one family.
 * `full`: `upsert` is everything that must exist; anything else of ours must go; `remove` is empty.
 * Otherwise only what changed since the last successful sync of this family: `upsert` holds each new or changed
 * service port whole, `remove` the keys that are gone. `node` may differ from the last one in both cases.
 */
export interface Change {
  readonly family: IPFamily;
  readonly full: boolean;
  readonly node: NodeView;
  readonly upsert: readonly ServicePort[];
  readonly remove: readonly string[];
}

/** What a sync did, for logs and metrics. */
export interface SyncReport {
  /** Rules, elements or servers written or deleted by this sync. 0: the data plane was right already. */
  readonly operations: number;
  /** Bytes handed to the kernel or to a tool. */
  readonly bytes: number;
  /** Sizes worth a gauge, by name, for example { nat_rules: 1200 }. */
  readonly totals?: Readonly<Record<string, number>>;
}

export interface Backend {
  /** Families that this backend can program on this host; the core syncs no other. */
  readonly families: readonly IPFamily[];
  /**
   * Make the data plane equal to the state described. The core never calls it for a family before the last call for
   * that family settled; calls for the two families may overlap. A call that takes over five minutes counts as failed,
   * and no other follows before it has settled. MUST be atomic where the kernel allows it. MUST throw when any part was
   * not applied: the core reports it, retries, and makes the next change of this family full. A change of the node alone
   * has neither `upsert` nor `remove`; `remove` names only keys that were in a sync of this family before.
   */
  sync(change: Change): Promise<SyncReport>;
  /**
   * Remove everything this backend ever made on this host, and nothing else. Works without a prior sync (after a
   * crash, or what another version left). MUST throw if something of ours could not be removed.
   */
  cleanup(): Promise<void>;
  /**
   * Stop timers, listeners and children within five seconds. The data plane stays as it is: rules outlive the process.
   * Called when the process ends and when another backend has taken over.
   */
  close(): Promise<void>;
}

/** What a backend may be able to do beyond that; each is described below. The core looks whether the member is there. */
export type Abilities = Partial<
  SelfChecking & HealthReporting & UsesConntrack & Initializing & Inspectable & Explainable
>;

/** What a plugin module default-exports. */
export interface BackendPlugin {
  /** As in --backend=NAME: lower-case letters, digits and dashes. */
  readonly name: string;
  readonly apiVersion: ApiVersion;
  /** One line for --help. */
  readonly summary: string;
  /** Of the plugin itself, shown by `kube-proxy plugins`. Those built in have the program's. */
  readonly version?: string;
  /**
   * It programs nothing that connections of this host pass through. Otherwise, once it has synced, the core removes what
   * built-in backends left on the host: two data planes would both see each packet.
   */
  readonly leavesHostAlone?: true;
  /**
   * It answers for endpoints itself, as a proxy does, instead of sending packets on: they see an address of this node,
   * whoever the client is. What the contract says of sources that are kept does not hold then.
   */
  readonly hidesSources?: true;
  /**
   * Connections pass through this process and end with it, so that its data plane does not outlive it, whatever the
   * contract says. A restart is an interruption then. Another backend that takes over programs beside it first; `close`,
   * which follows, takes away what still leads here (`Host.signal` is not aborted then).
   */
  readonly endsWithProcess?: true;
  /** What it can serve; default: all. Service ports of others come all the same, and are to be refused. */
  readonly protocols?: readonly Protocol[];
  /**
   * Probe, by trying, what this host supports, and return a backend, within two minutes. Changes nothing that outlives
   * the call. Throw an error that names what is missing and the remedy, with `code` "KP_BACKEND_UNSUPPORTED" if the host
   * lacks what this backend is built on (it can then have left nothing here either), "KP_BACKEND_OPTION" if an option is
   * wrong. Whatever is thrown ends the start of kube-proxy; while it runs with another backend, that one stays.
   * `options` is the plugin's own configuration, to be validated; values from the command line are text. Cleanup passes
   * those it knows, or none.
   */
  create(host: Host, options: Readonly<Record<string, unknown>>): Promise<Backend & Abilities>;
  /**
   * Optional: print exactly what a first sync of these full changes writes on an empty host. Pure: no I/O and no
   * privilege; one change per family. Used by `kube-proxy render` and by golden tests.
   */
  render?(changes: readonly Change[], options: Readonly<Record<string, unknown>>, printers: Printers): string;
}

// Optional abilities: a backend that has one simply implements it.

/** The backend can tell cheaply whether what it committed is still in place (someone may flush it). */
export interface SelfChecking {
  /**
   * Called every few seconds between syncs of this family, once one has succeeded, never during one; less often if it
   * takes long (1 % of the time). `intact: false` makes the next sync full, at once. A rejection is logged and changes nothing.
   */
  check(family: IPFamily): Promise<{ readonly intact: true } | { readonly intact: false; readonly reason: string }>;
}

/** The backend has parts that can fail between syncs (listeners, a child process). */
export interface HealthReporting {
  /** Asked for every /healthz and every scrape: answers at once, from memory. */
  health(): { readonly healthy: true } | { readonly healthy: false; readonly reason: string };
}

/**
 * The backend translates destinations through conntrack, which keeps a flow's translation for as long as packets
 * come: after each successful sync the core deletes the entries of UDP flows whose translation is no longer right.
 */
export interface UsesConntrack {
  readonly usesConntrack: true;
  /**
   * For a backend that answers in the endpoints' stead: the addresses and ports that destinations are translated to, as
   * of the last sync of this family that succeeded. Without it a flow is right where it leads to an endpoint; with it,
   * where it leads to one of these, and its Service has endpoints. Answers at once, from memory.
   */
  answersAt?(family: IPFamily): readonly AddressPort[];
}

export interface AddressPort {
  /** Canonical text. */
  readonly ip: string;
  readonly port: number;
}

/** The backend sets kernel parameters, and needs more privilege for that than for the rest. */
export interface Initializing {
  /**
   * For --init-only: set those that a sync of this node would set, so that later syncs find them right and need no
   * more than CAP_NET_ADMIN. Throws if one cannot be set.
   */
  initialize(family: IPFamily, node: NodeView): void;
}

/** The backend can show what it believes to be committed, as text an operator can read. Not asked for yet. */
export interface Inspectable {
  dump(): Promise<string>;
}

/** A connection's first packet, as a question. */
export interface Packet {
  readonly family: IPFamily;
  readonly protocol: Protocol;
  readonly sourceIP: string;
  /** Where it enters: sent by this host itself, by a pod of this node, or from elsewhere. */
  readonly origin: 'node' | 'pod' | 'outside';
  /** Input interface, for detectors that look at it; "" when unknown or sent by the host. */
  readonly inputInterface: string;
  readonly destinationIP: string;
  readonly destinationPort: number;
}

/** The backend can say, step by step, what its data plane does with a packet. Not asked for yet. */
export interface Explainable {
  explain(packet: Packet): Promise<readonly string[]>;
}

/**
 * What the core gives a plugin: programs, kernel interfaces, time. A plugin that takes these from here can be tested
 * with others in their place. (Files and sockets it takes from Node.js.)
 */
export interface Host {
  readonly log: Logger;
  /**
   * Run a program, without a shell. Resolves whatever its exit status is; rejects ("KP_EXEC") only if it cannot be
   * started.
   */
  exec(command: string, args: readonly string[], options?: ExecOptions): Promise<ExecResult>;
  /**
   * Start a program that stays, without a shell, and talk with it in lines. Rejects ("KP_EXEC") if it cannot be started,
   * or if others than root may change its file. It ends with kube-proxy: what connections pass through, and so must
   * outlive it, is to be started as a daemon of its own.
   */
  spawn(command: string, args: readonly string[], options: SpawnOptions): Promise<Child>;
  /**
   * Run a module in a thread of this process, which has a loop and memory of its own: what computes there keeps nothing
   * here from running. It ends with the plugin, right after `close`. Whatever it throws, and its process.exit(), ends the
   * thread alone. Throws "KP_THREAD" if it cannot be started, and as a plugin's file is refused
   * ("KP_PLUGIN_NOT_FOUND", "KP_PLUGIN_WRITABLE"); what is wrong with its code is told to `onExit`.
   */
  thread(module: ThreadModule, options: ThreadOptions): Thread;
  readonly sysctl: Sysctl;
  readonly netlink: Netlink;
  /** For sockets of this thread; those started by `thread` have their own. */
  readonly sockets: SocketFacts;
  readonly clock: Clock;
  /**
   * Aborted before `close` when the process is told to end, and when the same backend is to begin anew with other
   * options. Another backend's taking over only calls `close`.
   */
  readonly signal: AbortSignal;
  /** Ask for a full sync soon, for example because something else removed our rules. */
  requestFullSync(reason: string): void;
  readonly metrics: PluginMetrics;
  /** Tell the author of a Service what is wrong with it. */
  readonly events: ServiceEvents;
}

/** For `kubectl describe service`: what only the Service's author can put right. */
export interface ServiceEvents {
  /**
   * An event of type Warning on the Service, and a warning in the log. Returns at once; may be called in each sync:
   * what was said within the last minutes is not said again. `reason`: a word in CamelCase for programs, of at most 128
   * letters and digits ("UnknownScheduler"); `note`: one sentence that says what is wrong and the remedy. What several
   * nodes say in the same words is one event: what is this node's alone should name it. Throws "KP_EVENT" if a name,
   * the reason or the note cannot be one.
   */
  warn(service: { readonly namespace: string; readonly name: string }, reason: string, note: string): void;
}

/** Metrics of a plugin's own, read when someone scrapes. What every backend has, the core measures. */
export interface PluginMetrics {
  /**
   * Show a metric from now on; the returned function takes it back, which the plugin does at the latest in `close`.
   * While a backend takes over from another, two may go by one name: the one registered last is read.
   */
  register(metric: PluginMetric): () => void;
}

export interface PluginMetric {
  /**
   * "kubeproxy_" is put before it unless it is there. Lower-case letters, digits and underscores; `register` throws
   * "KP_METRIC" for others and for names of the core's own.
   */
  readonly name: string;
  /** A counter's values never fall while the process runs. */
  readonly type: 'counter' | 'gauge';
  /** One sentence for whoever reads /metrics. */
  readonly help: string;
  /** Names of its labels; each value names them all. Default: none. */
  readonly labels?: readonly string[];
  /** Called for every scrape, so that it should be cheap. Throwing, or two seconds, leave it out of that scrape. */
  read(): readonly MetricValue[] | Promise<readonly MetricValue[]>;
}

export interface MetricValue {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface ExecOptions {
  readonly stdin?: string | Uint8Array;
  /** Milliseconds after which the program is ended; the result then has `timedOut: true`. Default: no limit. */
  readonly timeoutMs?: number;
}

export interface ExecResult {
  /** Exit status; -1 when ended by a signal. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly timedOut: boolean;
}

export interface SpawnOptions {
  /** A line of its standard output (UTF-8), without its end. */
  readonly onLine: (line: string) => void;
  /** A line of its standard error. */
  readonly onErrorLine: (line: string) => void;
  /** Once, after its last line. `reason` is a sentence's end: "ended with status 1", "was ended by SIGKILL". */
  readonly onExit: (reason: string) => void;
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Bytes; a longer line ends the program. Default: 1 MiB. */
  readonly longestLine?: number;
}

/** A program that runs. It is ended, with its descendants in its process group, when `Host.signal` aborts. */
export interface Child {
  readonly pid: number;
  /** Resolves when it was handed over to the system; rejects if the program has ended or closed its input. */
  write(text: string): Promise<void>;
  /** Closes its input, and ends it if it does not end by itself within this time. Resolves when it has ended. */
  end(graceMs: number): Promise<void>;
}

/**
 * A file of JavaScript or TypeScript that default-exports a `ThreadMain`: its absolute path, or its URL, as
 * `new URL('./worker.js', import.meta.url)`.
 */
export type ThreadModule = string | URL;

export interface ThreadOptions {
  /** Handed to the module as it begins. As all messages it is copied, and so must be plain data (structuredClone). */
  readonly data: unknown;
  readonly onMessage: (message: unknown) => void;
  /**
   * Once, after its last message, whoever ended it. `reason` is a sentence's end: "ended with status 0", "was ended",
   * "ended by an error: …".
   */
  readonly onExit: (reason: string) => void;
}

export interface Thread {
  /**
   * In order; what is posted before the thread listens waits for it, and what is posted after its end is lost. Throws
   * "KP_THREAD" for what cannot be copied.
   */
  post(message: unknown): void;
  /** Ends it wherever it is, and closes what it opened. Resolves when it has ended. */
  end(): Promise<void>;
}

/**
 * What a thread's module default-exports; called once. The thread ends when nothing is left that could call it: a
 * listener for messages, a socket, a timer. A rejection ends it.
 */
export type ThreadMain = (host: ThreadHost, data: unknown) => void | Promise<void>;

/** What the core gives a thread. */
export interface ThreadHost {
  /** To `ThreadOptions.onMessage`. Throws "KP_THREAD" for what cannot be copied. */
  post(message: unknown): void;
  /** What `Thread.post` sends. Another one replaces the first. */
  onMessage(listener: (message: unknown) => void): void;
  readonly sockets: SocketFacts;
}

/** What the kernel knows of sockets and Node.js does not tell. */
export interface SocketFacts {
  /**
   * Where a TCP connection was going before conntrack translated its destination to ours, by the descriptor of the
   * accepted socket (Node.js has it in `socket._handle.fd`). Undefined: it was not translated, or conntrack knows nothing
   * of it. Needs no privilege. Throws a "KP_NETLINK_…" error if the descriptor is no connection's.
   */
  originalDestination(fd: number): SocketAddress | undefined;
  /**
   * The same for a UDP client whose datagrams arrive at this address and port of ours; asks conntrack, which takes as
   * long as some datagrams. Needs CAP_NET_ADMIN: throws a "KP_NETLINK_…" error without.
   */
  originalUDPDestination(flow: ArrivingFlow): SocketAddress | undefined;
}

export interface SocketAddress {
  readonly ip: string;
  readonly port: number;
}

/** A client as a socket sees it, and the socket's own address, which is a certain one (not "0.0.0.0"). */
export interface ArrivingFlow extends SocketAddress {
  readonly family: IPFamily;
  readonly clientIP: string;
  readonly clientPort: number;
}

/** Kernel parameters, named as in sysctl(8) with slashes: "net/ipv4/conf/all/route_localnet". */
export interface Sysctl {
  /** The value without its line end; undefined when the parameter does not exist. */
  read(name: string): string | undefined;
  /** Read, compare, and write only if different, so that a read-only /proc/sys with the right values suffices. */
  ensure(name: string, value: string): void;
}

/** Kernel interfaces spoken directly. Each opens its socket at first use and throws if the kernel lacks it. */
export interface Netlink {
  ipset(): IPSets;
  /** A number that every commit to nf_tables in this network namespace changes, whoever commits. */
  nftablesGeneration(): number;
  nftables(): Nftables;
  nfacct(): PacketCounters;
  ipvs(): IPVS;
  /** A dummy interface of that name, which need not exist yet. Throws "KP_NETLINK_INVALID" if none can have it. */
  dummyLink(name: string): DummyLink;
}

/** The kernel's IP sets (nfnetlink subsystem ipset), without the `ipset` tool. */
export interface IPSets {
  /** Create a `hash:ip` set with per-element timeouts. Succeeds if the same set exists. At most 31 bytes of name. */
  createHashIP(set: {
    readonly name: string;
    readonly family: IPFamily;
    /** Default seconds until an element expires; at most 2147483. */
    readonly timeoutSeconds: number;
    readonly maxElements: number;
    /**
     * Hash buckets, a power of two from 64 on; default 1024. Of 16 bytes each, with room for 12 elements. A set that
     * rules fill (-j SET) never grows beyond them: it begins to lose elements at about 5 per bucket.
     */
    readonly buckets?: number;
  }): void;
  /** Succeeds if the set does not exist; throws if a rule still refers to it. */
  destroy(name: string): void;
  /** Empty a set, keeping it. */
  flush(name: string): void;
  /** Names of all sets of this network namespace. */
  names(): readonly string[];
  /** Elements of a `hash:ip` set, in no order; throws if it does not exist. */
  members(name: string): readonly IPSetMember[];
}

export interface IPSetMember {
  readonly ip: string;
  /** Seconds until it expires; 0 = never. */
  readonly remainingSeconds: number;
}

/**
 * The kernel's named packet counters (nfnetlink subsystem acct), which rules count into (-m nfacct) and which outlive
 * the rules. Names have at most 31 bytes. Throws "KP_NETLINK_UNSUPPORTED" if the kernel has none.
 */
export interface PacketCounters {
  /** Create a counter at zero; one that exists keeps its value. */
  ensure(name: string): void;
  /** Both are exact up to 2^53; undefined if there is no such counter. */
  read(name: string): { readonly packets: number; readonly bytes: number } | undefined;
  /** Succeeds if there is no such counter; throws if a rule still refers to it. */
  delete(name: string): void;
}

export interface Clock {
  /** Monotonic milliseconds; only differences mean anything. */
  now(): number;
  /** Call back once after `milliseconds`; the returned function cancels. Does not keep the process alive. */
  after(milliseconds: number, callback: () => void): () => void;
}

/** Structured log. Messages are constant sentences; what varies goes into `values`. */
export interface Logger {
  error(message: string, values?: LogValues): void;
  warn(message: string, values?: LogValues): void;
  info(message: string, values?: LogValues): void;
  /** Shown from -v=LEVEL on. */
  verbose(level: number, message: string, values?: LogValues): void;
  /** Is -v at least LEVEL? For messages that are costly to build. */
  enabled(level: number): boolean;
}
export type LogValues = Readonly<Record<string, unknown>>;

/**
 * nf_tables as plugins see it: typed tables, chains, rules, sets and elements, without the `nft` tool. Types only; the
 * core encodes them, prints them as `nft list` does, and speaks to the kernel.
 *
 * A rule is a list of statements over fields; what varies belongs into elements. Only shapes that every version of
 * `nft` can list are offered: an `nft list ruleset` that aborts on ours is broken for the whole host.
 */

export type NftFamily = 'ip' | 'ip6';

/**
 * | type           | value                                      | bytes in the kernel                    |
 * |----------------|--------------------------------------------|----------------------------------------|
 * | `ipv4_addr`    | canonical text                             | 4                                      |
 * | `ipv6_addr`    | canonical text                             | 16                                     |
 * | `inet_proto`   | 'tcp', 'udp', 'sctp'                       | 1, padded to 4                         |
 * | `inet_service` | a port                                     | 2, big-endian, padded to 4             |
 * | `mark`         | an unsigned number of 32 bits              | 4, host-endian                         |
 */
export type NftType = 'ipv4_addr' | 'ipv6_addr' | 'inet_proto' | 'inet_service' | 'mark';
export type NftValue = string | number;

/** A set, or a map if it has a `data` type. A key of several types is a concatenation, at most 64 bytes long. */
export interface NftSet {
  readonly name: string;
  readonly key: readonly NftType[];
  readonly data?: readonly NftType[] | 'verdict';
  /** Elements are ranges (`keyEnd`): of one address, or of a concatenation (then each part is a range). */
  readonly interval?: boolean;
  /** Rules may add elements, which then expire; from user space it gets none but may lose some. */
  readonly dynamic?: boolean;
  /** Most elements; loading is faster when it is known. Required if dynamic. */
  readonly size?: number;
  readonly comment?: string;
}

export type NftVerdict =
  | { readonly verdict: 'accept' | 'drop' | 'return' }
  | { readonly verdict: 'jump' | 'goto'; readonly chain: string };

export interface NftElement {
  readonly key: readonly NftValue[];
  /** Last value of the range, for `interval` sets; the same as `key` for one value. */
  readonly keyEnd?: readonly NftValue[];
  readonly data?: readonly NftValue[] | NftVerdict;
  /** Kernel memory for each: use it where it leads to what an operator knows. At most 120 bytes of UTF-8. */
  readonly comment?: string;
}

/** What a rule can look at. `ip` fields belong into tables of family `ip`, `ip6` ones into `ip6`. */
export type NftField =
  | 'ip saddr'
  | 'ip daddr'
  | 'ip6 saddr'
  | 'ip6 daddr'
  /** Ports of TCP, UDP and SCTP alike. */
  | 'th sport'
  | 'th dport'
  | 'meta l4proto'
  | 'meta iifname'
  | 'meta oifname'
  /** 32 bits that travel with the packet to the next hook at most; the way to hand a number from rule to rule. */
  | 'meta priority'
  /**
   * 32 bits that travel with the packet as long as it is in this host, and that routing and IPVS look at; others may set
   * bits of it, too.
   */
  | 'meta mark'
  /** The connection's first packet as it was before any translation. */
  | 'ct original ip daddr'
  | 'ct original ip6 daddr'
  | 'ct original proto-dst';

export type NftExpression =
  | NftField
  /** A random number below `modulus`. */
  | { readonly random: number }
  /** The field's bits under a mask; only of 'meta priority'. */
  | { readonly field: 'meta priority'; readonly and: number };

export interface NftLookup {
  readonly map: string;
  readonly key: readonly NftExpression[];
}

export type NftStatement =
  /**
   * Goes on if the field is (or with `not`, is not) this value. Interface names may end in "*"; where there is no
   * interface the name is "".
   */
  | { readonly match: NftField; readonly is: NftValue; readonly not?: boolean }
  /** A canonical CIDR, or an address alone. */
  | { readonly match: NftField; readonly within: string; readonly not?: boolean }
  /** Goes on if the connection is in one of these states (with `not`, in none). */
  | { readonly ctState: readonly ('invalid' | 'new' | 'established' | 'related')[]; readonly not?: boolean }
  /** Goes on if the connection's destination is translated. */
  | { readonly ctStatus: 'dnat' }
  /** Goes on if the address is (not) one of this host, loopback included. */
  | { readonly fib: 'saddr' | 'daddr'; readonly not?: boolean }
  /** Goes on if the set (not a map) has (not) this key. */
  | { readonly in: string; readonly key: readonly NftExpression[]; readonly not?: boolean }
  /** `meta priority` becomes a number, or a map's answer; without an answer the rule ends here. */
  | { readonly priority: number | NftLookup }
  /** All bits of `meta mark` become a number, or a map's answer; without an answer the rule ends here. */
  | { readonly mark: number | NftLookup }
  /** Goes where a verdict map says; goes on if it says nothing. */
  | { readonly vmap: NftLookup }
  /** Translates the destination to the address and port that a map holds; without an answer the rule ends here. */
  | { readonly dnat: NftLookup }
  | { readonly masquerade: 'fully-random' }
  /** Only in hooks prerouting, input, forward and output; `tcp reset` only for TCP packets. */
  | { readonly reject: 'tcp reset' | 'port unreachable' }
  | NftVerdict
  /** Deletes the element of a dynamic set, if there is one; goes on in any case. A map wants `data`, whatever it is. */
  | { readonly delete: string; readonly key: readonly NftExpression[]; readonly data?: readonly NftExpression[] }
  /** Adds the element, or lets it live this long again. What a map holds for a key that exists stays as it is. */
  | {
      readonly update: string;
      readonly key: readonly NftExpression[];
      readonly timeoutSeconds: number;
      readonly data?: readonly NftExpression[];
    }
  | { readonly counter: true };

export interface NftRule {
  readonly statements: readonly NftStatement[];
  /** At most 120 bytes of UTF-8. */
  readonly comment?: string;
}

/** Makes a chain one that the kernel calls. */
export interface NftHook {
  readonly type: 'nat' | 'filter';
  readonly hook: 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting';
  readonly priority: number;
}

export interface NftChain {
  readonly name: string;
  /** Absent: only other chains lead here. */
  readonly hook?: NftHook;
  readonly rules: readonly NftRule[];
}

/** A table as it is to be, for printing and for tests. */
export interface NftTable {
  readonly family: NftFamily;
  readonly name: string;
  readonly comment?: string;
  readonly sets: readonly (NftSet & { readonly elements: Iterable<NftElement> })[];
  readonly chains: readonly NftChain[];
}

/**
 * One step of a transaction, in the order in which the kernel takes them: what is referred to must exist by then, and
 * what is deleted must not be referred to any more.
 */
export type NftOperation =
  /**
   * Create the table, or take over one without an owner. `owned`: as long as our socket is open no other process can
   * change it, and it survives `nft flush ruleset` and our end (kernel 6.9; see `Nftables.supportsOwnership`).
   */
  | { readonly do: 'add table'; readonly owned: boolean; readonly comment?: string }
  | { readonly do: 'delete table' }
  /** Without its rules, which follow as 'add rule'. */
  | { readonly do: 'add chain'; readonly chain: Omit<NftChain, 'rules'> }
  | { readonly do: 'flush chain' | 'delete chain'; readonly chain: string }
  /** At the chain's end. */
  | { readonly do: 'add rule'; readonly chain: string; readonly rule: NftRule }
  | { readonly do: 'add set'; readonly set: NftSet }
  | { readonly do: 'flush set' | 'delete set'; readonly set: NftSet }
  /** 'add' of a key that exists with other data fails; 'delete' of one that does not exist, too. */
  | { readonly do: 'add elements' | 'delete elements'; readonly set: NftSet; readonly elements: Iterable<NftElement> };

/** All or nothing, of one table. */
export interface NftTransaction {
  readonly family: NftFamily;
  readonly table: string;
  readonly operations: Iterable<NftOperation>;
}

export interface NftTableInfo {
  readonly family: NftFamily;
  readonly name: string;
  /** Made as an owned one: nobody but its owner can change it; without one anybody can, or take it over. */
  readonly owned: boolean;
  /** Netlink port id of the process that owns it now; 0 = none. */
  readonly owner: number;
  readonly comment: string;
  /** Only if somebody has switched the table off; 'add table' switches it on again. */
  readonly dormant?: true;
}

/** What a table holds, elements left aside. */
export interface NftTableContent extends NftTableInfo {
  readonly chains: readonly {
    readonly name: string;
    readonly hook?: NftHook;
    /** Only if somebody has changed it from accepting; 'add chain' changes it back. */
    readonly policy?: 'drop';
    /** Comparable with `Nftables.fingerprint`; in order. */
    readonly rules: readonly string[];
  }[];
  /** Comparable with `Nftables.setFingerprint`. */
  readonly sets: readonly { readonly name: string; readonly fingerprint: string }[];
}

export interface Nftables {
  /**
   * Apply a transaction off the event loop; one at a time, in the order of the calls. Rejects with a NetlinkError that
   * names the operation and object refused (code KP_NETLINK_REFUSED: nothing was applied; KP_NETLINK_OVERRUN,
   * _TIMEOUT, _MALFORMED: the outcome is unknown, so read what there is).
   * Returns how many messages' worth of objects and elements, and how many bytes, were sent.
   */
  commit(transaction: NftTransaction): Promise<{ readonly operations: number; readonly bytes: number }>;
  /** Whether this kernel knows `owned` tables that persist; tried once. */
  supportsOwnership(): Promise<boolean>;
  /** Tables of a family, all owners'. */
  tables(family: NftFamily): Promise<readonly NftTableInfo[]>;
  /** Undefined if there is no such table. Consistent: read again while others commit. */
  read(family: NftFamily, table: string): Promise<NftTableContent | undefined>;
  /**
   * Every element of a set of ours, in no order, in slices that leave the event loop free between them. While the
   * kernel rearranges a set that was just filled, some come twice and as many not at all: list again then. The time
   * grows with the square of their number: 0.2 s for 110,000, 38 s for 1,100,000.
   */
  elements(
    family: NftFamily,
    table: string,
    set: NftSet,
    each: (element: NftElement & { readonly expiresSeconds?: number }) => void,
  ): Promise<void>;
  /** How `read` would show this rule or set; equal exactly if the kernel would do the same. */
  fingerprint(family: NftFamily, rule: NftRule): string;
  setFingerprint(family: NftFamily, set: NftSet): string;
}

/** What `render` of a plugin gets to print with. Pure. */
export interface Printers {
  /** The table as `nft list table` prints it. */
  nftables(table: NftTable): string;
}

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
