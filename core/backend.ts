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
import type { DummyLink, IPVS } from './ipvs.ts';
import type { Nftables, Printers } from './nftables.ts';

export type * from './ipvs.ts';
export type * from './nftables.ts';

export type IPFamily = 'IPv4' | 'IPv6';
export type Protocol = 'TCP' | 'UDP' | 'SCTP';
export type TrafficPolicy = 'Cluster' | 'Local';

/** The version of this contract. A plugin states the one that it was written for. */
export const BACKEND_API_VERSION = 1;

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
  readonly apiVersion: typeof BACKEND_API_VERSION;
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
