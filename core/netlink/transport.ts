/** The seam between the protocol (pure, tested with a fake) and the kernel's socket. */
export interface Transport {
  /** Send one datagram to the kernel. */
  send(datagram: Uint8Array): void;
  /**
   * Wait for one datagram. What it returns is good until the next call. Throws KP_NETLINK_TIMEOUT when none comes in
   * time and KP_NETLINK_OVERRUN when some were lost.
   */
  receive(): Uint8Array;
  /** May be called twice. */
  close(): void;
}
