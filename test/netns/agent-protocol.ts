/**
 * What world.ts and the agents say to each other: one JSON object a line, `Call` on the agent's stdin, `Reply` on its
 * stdout. Addresses are text, ports numbers, times milliseconds.
 */
export type Transport = 'TCP' | 'UDP' | 'SCTP';

/** What a server says to each connection and to each line or datagram that it gets. */
export interface Answer {
  readonly server: string;
  /** Its own "ip:port" or "[ip]:port", as it sees it. */
  readonly address: string;
  /** Where the client seems to be, as the server sees it. */
  readonly peer: string;
  readonly peerPort: number;
}

export interface Serve {
  readonly protocol: Transport;
  /** Default: every address of the namespace, loopback included, link-local ones left out. */
  readonly addresses?: readonly string[];
  readonly port: number;
  /** The name to answer with. */
  readonly server: string;
}

export interface Request {
  readonly protocol: Transport;
  readonly destinationIP: string;
  readonly destinationPort: number;
  /** Default: as the kernel chooses. */
  readonly sourceIP?: string;
  readonly sourcePort?: number;
  /** How long to wait before calling it a timeout. Default 400. */
  readonly timeoutMs?: number;
}

/**
 * answered     the server's answer came
 * refused      a TCP reset or an ICMP port unreachable
 * unreachable  another ICMP error, or no route
 * closed       a connection opened, then ended without an answer
 * timeout      nothing came
 */
export type Outcome =
  | ({ readonly outcome: 'answered'; readonly localPort: number } & Answer)
  | { readonly outcome: 'refused' | 'unreachable' | 'closed'; readonly code: string }
  | { readonly outcome: 'timeout' };

export interface Flood {
  readonly request: Request;
  /** How many connections are attempted at a time. Default 2. */
  readonly concurrency?: number;
  /** Pause of each between two attempts. Default 5: the machine has other work. */
  readonly pauseMs?: number;
  /**
   * Of TCP: ask once more, then close in this way. 'reset' leaves nothing in TIME_WAIT; 'by client' leaves it to the
   * client's kernel, which then chooses other ports; 'by server' to the server's: the client may come from the same port
   * again at once. Default: reset after the first answer.
   */
  readonly closing?: Closing;
  /** Each attempt comes from the next of these ports, in turn; more of them than attempts at a time. */
  readonly sourcePorts?: readonly number[];
  /** Ends by itself after this. */
  readonly limitMs: number;
}

/** What a client says over TCP for the server to end the connection. */
export const LAST_WORD = 'bye\n';

export type Closing = 'reset' | 'by client' | 'by server';

export interface FloodReport {
  readonly total: number;
  readonly outcomes: Readonly<Partial<Record<Outcome['outcome'], number>>>;
  /** Answers by server. */
  readonly servers: Readonly<Record<string, number>>;
}

/** Every command: what goes in, what comes out. An `id` names what an earlier command began. */
export interface Commands {
  serve: { input: Serve; output: { id: number } };
  /** With `whenIdle`, it goes on until no connection is left and none has come for a while; else it resets them. */
  stopServing: { input: { id: number; whenIdle?: boolean }; output: null };
  request: { input: { requests: readonly Request[]; concurrency: number }; output: readonly Outcome[] };
  hold: { input: Request; output: { id: number; first: Outcome } };
  ping: { input: { id: number; timeoutMs?: number }; output: Outcome };
  release: { input: { id: number; abruptly?: boolean }; output: null };
  startFlood: { input: Flood; output: { id: number } };
  stopFlood: { input: { id: number }; output: FloodReport };
  waitFlood: { input: { id: number }; output: FloodReport };
}

export type CommandName = keyof Commands;

export interface Call<K extends CommandName = CommandName> {
  readonly sequence: number;
  readonly command: K;
  readonly input: Commands[K]['input'];
}

export type Reply =
  | { readonly sequence: number; readonly output: unknown }
  | { readonly sequence: number; readonly error: string };

/** The outcome of a failed attempt, or undefined if the error is not the network's but the test's own. */
export function outcomeOfError(code: string | undefined): Outcome | undefined {
  switch (code) {
    case 'ECONNREFUSED':
      return { outcome: 'refused', code };
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'EACCES': // ICMPv6 "administratively prohibited"
    case 'EPERM': // dropped on the way out of this very host
    case 'EPROTO':
    case 'ENOPROTOOPT':
      return { outcome: 'unreachable', code };
    case 'ECONNRESET':
    case 'EOF': // ours, for an end without an error
    case 'EPIPE':
      return { outcome: 'closed', code };
    case 'ETIMEDOUT':
      return { outcome: 'timeout' };
    default:
      return undefined;
  }
}

export function hostPort(ip: string, port: number): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}
