/** The seam between the protocol (pure, tested with a fake) and the kernel's socket. */
export interface Transport {
  /** Send one datagram to the kernel. */
  send(datagram: Uint8Array): void;
  /**
   * The same from another thread: what a large one asks for keeps the kernel busy inside the call. Neither the
   * datagram's bytes nor the transport may be touched before it ends; a `close` waits for it. Absent: use `send`.
   */
  sendOffLoop?(datagram: Uint8Array): Promise<void>;
  /** See to it, as far as our rights go, that a datagram of so many bytes can be sent. */
  reserveSendBuffer?(bytes: number): void;
  /**
   * Wait for one datagram. What it returns is good until the next call. Throws KP_NETLINK_TIMEOUT when none comes in
   * time and KP_NETLINK_OVERRUN when some were lost.
   */
  receive(): Uint8Array;
  /** `receive` from another thread, for what keeps the kernel busy: see `sendOffLoop`. */
  receiveOffLoop?(): Promise<Uint8Array>;
  /** May be called twice. */
  close(): void;
}
