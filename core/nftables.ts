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
