/**
 * What the main thread and the engines say to each other. All of it can be cloned into another thread.
 *
 *   main thread ──EngineUpdate──▶ engine (one in each thread) ──EngineEvent──▶ main thread
 *
 * An engine knows nothing of Services' addresses but what it must look up: a listener either serves one service port
 * (`ListenSpec.service`), or asks the kernel where a client wanted to go and finds that among the frontends.
 */
import type { IPFamily, TrafficPolicy } from '../../../core/backend.ts';

export type ForwardedProtocol = 'TCP' | 'UDP';

/** What a destination is to its service port: says which policy counts, and whether source ranges guard it. */
export type FrontendKind = 'clusterIP' | 'external' | 'loadBalancerVIP';

/** Applied in the order of the members; each is only what changed, but for `inside`, which is whole. */
export interface EngineUpdate {
  /** Clients from these addresses and CIDRs, of either family, are inside: this node's own, and its pods'. */
  readonly inside?: readonly string[];
  /** Service ports, new or changed, each whole. */
  readonly upsert?: readonly ForwardedService[];
  /** Keys of service ports. Their connections are drained. */
  readonly remove?: readonly string[];
  readonly frontends?: FrontendsUpdate;
  readonly listen?: ListenUpdate;
}

/** Listeners close before others open, so that one may have the port that another one gives up. */
export interface ListenUpdate {
  /** By `ListenSpec.id`. They close at once; their connections go on. */
  readonly close?: readonly string[];
  /** Each is answered by an event. One that listens already stays; where it has other contents it is replaced. */
  readonly open?: readonly ListenSpec[];
}

export interface FrontendsUpdate {
  readonly delete?: readonly FrontendAddress[];
  readonly set?: readonly Frontend[];
}

export interface FrontendAddress {
  readonly protocol: ForwardedProtocol;
  readonly family: IPFamily;
  /** "": any address, as node ports have it. One that names the address is found first. */
  readonly ip: string;
  readonly port: number;
}

export interface Frontend extends FrontendAddress {
  readonly kind: FrontendKind;
  /** `ForwardedService.key` */
  readonly service: string;
}

/** A listener is told apart by its `id`: the same id with other contents is another listener. */
export interface ListenSpec {
  readonly id: string;
  readonly protocol: ForwardedProtocol;
  readonly ip: string;
  /** 0: any free one, which the event `listening` tells. Of several threads only one may choose. */
  readonly port: number;
  /** Several threads listen on this address and port, and share its connections. */
  readonly shared: boolean;
  /** What is served here. Undefined: the client's original destination is asked of the kernel and looked up. */
  readonly serves: { readonly service: string; readonly kind: FrontendKind } | undefined;
  /** Who connects here: those inside, those outside, or both, told apart by `EngineUpdate.inside`. */
  readonly clients: 'inside' | 'outside' | 'by address';
}

/** An address of an endpoint. (An `Endpoint` of the contract would do, but more of it would be copied to each thread.) */
export interface Target {
  readonly ip: string;
  readonly port: number;
}

/** A service port as far as forwarding needs it. */
export interface ForwardedService {
  /** Unique over both families: the caller puts the family in. */
  readonly key: string;
  readonly protocol: ForwardedProtocol;
  readonly cluster: readonly Target[];
  readonly local: readonly Target[];
  readonly internalPolicy: TrafficPolicy;
  readonly externalPolicy: TrafficPolicy;
  /** 0: no affinity. */
  readonly affinitySeconds: number;
  /** CIDRs that may reach a `loadBalancerVIP`; empty: everyone. */
  readonly sourceRanges: readonly string[];
  /** Endpoints are told the client's address by a PROXY protocol header (version 2). TCP only. */
  readonly proxyProtocol: boolean;
  /** UDP: endpoints in neither list whose sessions stay for as long as datagrams come. */
  readonly keepsSessions: readonly Target[];
}

/** Seconds unless the name says otherwise; bounds are of all threads together. */
export interface EngineLimits {
  /** How long connections to what is no longer served go on. 0: they are reset at once. */
  readonly graceSeconds: number;
  /** A connection without a byte either way for so long is reset. 0: never. */
  readonly idleSeconds: number;
  /** TCP keep-alive, both ways: the first probe after so long. 0: off. */
  readonly keepAliveSeconds: number;
  /** A session that the endpoint never answered ends after so long without a datagram. */
  readonly unrepliedSeconds: number;
  /** One that it did answer. */
  readonly repliedSeconds: number;
  readonly maxConnections: number;
  readonly maxSessions: number;
}

export type EngineEvent =
  | { readonly event: 'listening'; readonly id: string; readonly port: number }
  /** `code` as of Node.js: EADDRINUSE, EACCES, EADDRNOTAVAIL, … */
  | { readonly event: 'listen failed'; readonly id: string; readonly code: string; readonly message: string }
  /** For the log: rare by itself, or said at most once a minute. */
  | {
      readonly event: 'log';
      readonly level: 'error' | 'warn' | 'info';
      readonly message: string;
      readonly values: Readonly<Record<string, string | number>>;
    };

/** Why a connection, or a UDP session, was not served to its end. */
export const FAILURES = [
  /** The list of the policy is empty. */
  'no_endpoint',
  /** A source that the source ranges leave out. */
  'source_range',
  /** No endpoint took the connection in time, or a datagram was answered with an ICMP error. */
  'dial',
  /** As many are open as may be, or as the process may have descriptors. */
  'limit',
  'client_reset',
  'endpoint_reset',
  /** Reset because nothing came for `idleSeconds`. */
  'idle',
  /** Reset because the endpoint, or the service port, went away `graceSeconds` ago. */
  'drained',
] as const;
export type Failure = (typeof FAILURES)[number];

/** Upper bounds, in seconds, of the buckets of dial latency; one more bucket holds all above. */
export const DIAL_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5] as const;

export interface ServiceStatistics {
  /** Connections, or UDP sessions, taken so far, those that failed included. */
  readonly connections: number;
  readonly open: number;
  /** From clients, and from endpoints. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly failures: Readonly<Record<Failure, number>>;
  /** Of successful dials, from the first attempt on. */
  readonly dialSeconds: number;
  readonly dials: number;
  /** Not cumulative: `DIAL_BUCKETS`, and those above. */
  readonly dialBuckets: readonly number[];
}

export interface EngineStatistics {
  readonly openConnections: number;
  readonly sessions: number;
  /** Clients that were not for any service port: no such frontend, or an original destination that was not found. */
  readonly strays: number;
  /** Times that the process had no descriptor left, and connections and sessions that gave way to the bounds. */
  readonly outOfDescriptors: number;
  readonly overLimit: number;
  /** By key of those that have met a connection here; one that is gone stays until its last connection ends. */
  readonly services: ReadonlyMap<string, ServiceStatistics>;
  /** What those counted to their end that have ended since the last answer: told once. They count from 0 afterwards. */
  readonly ended: ReadonlyMap<string, ServiceStatistics>;
}
