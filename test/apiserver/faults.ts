/**
 * The script of what the server does wrong. A fault is added with whom it strikes and how often; each request that
 * matches uses up one of its times. Several faults may strike one request, except that one answer replaces all else.
 *
 *   server.faults.add({ kind: 'answer', status: 503 }, { verb: 'list', resource: 'services' }, 3);
 *   server.faults.add({ kind: 'cut', how: 'reset', afterEvents: 5 }, { verb: 'watch' });
 */

export type Fault =
  /** Instead of the real answer. Without `body` a Status of that code, but 429 and 503 in the plain text that a real server's filters send. */
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly body?: string;
      readonly contentType?: string;
      readonly retryAfterSeconds?: number;
      /** The header's whole text instead, for example a date. */
      readonly retryAfter?: string;
    }
  /** "Too old": on lists HTTP 410; on watches HTTP 410 too, or (default) an ERROR event in a stream of status 200. */
  | { readonly kind: 'expired'; readonly as?: 'http' | 'event' }
  /** Drop the TCP connection with RST, before any byte of an answer. */
  | { readonly kind: 'reset' }
  /** Read the request, keep the connection, never answer. */
  | { readonly kind: 'silence' }
  /** Status 200 and headers, and nothing in the body: an invitation to ask again at once. */
  | { readonly kind: 'empty' }
  /**
   * Break the answer off, after so many bytes of body (which may be inside a frame) or so many watch events, 0 = after
   * the headers of a watch:
   * `reset` RST; `close` the connection ends inside the answer; `end` the answer ends properly, however much of it is
   * missing; `freeze` half-open: nothing more is sent, bookmarks neither, and the connection stays.
   */
  | {
      readonly kind: 'cut';
      readonly how: 'reset' | 'close' | 'end' | 'freeze';
      readonly afterBytes?: number;
      readonly afterEvents?: number;
    }
  /** Send the body in pieces of `bytes` with a pause after each. */
  | { readonly kind: 'slow'; readonly milliseconds: number; readonly bytes: number }
  /** Put a line that is no event into a watch, after so many events. */
  | { readonly kind: 'garbage'; readonly text: string; readonly afterEvents?: number }
  /** Send each event of a watch twice. */
  | { readonly kind: 'duplicate' }
  /** After each MODIFIED send the object's state before it again: older than what the client has. */
  | { readonly kind: 'replay' }
  | { readonly kind: 'noBookmarks' }
  /** As a server whose WatchList feature gate is off: 422. */
  | { readonly kind: 'watchListRefused' }
  /** As a server that has never heard of sendInitialEvents: a plain watch, whose initial events nothing ends. */
  | { readonly kind: 'watchListIgnored' };

export interface Match {
  /** get, list, watch, create, update, patch, delete; also 'discovery'. Default: any. */
  readonly verb?: string | readonly string[];
  /** Plural, for example 'endpointslices'. Default: any. */
  readonly resource?: string | readonly string[];
  readonly user?: string;
}

export interface Struck {
  readonly verb: string;
  readonly resource: string;
  readonly user: string;
}

export interface ArmedFault {
  /** How many requests it has struck. */
  hits(): number;
  remove(): void;
}

export interface Faults {
  /** `times`: requests that it strikes before it is used up. Default 1; Infinity = until removed. */
  add(fault: Fault, match?: Match, times?: number): ArmedFault;
  /** Take those that strike this request, each once less to come. */
  strike(request: Struck): readonly Fault[];
  clear(): void;
}

export function createFaults(): Faults {
  let armed: { readonly fault: Fault; readonly match: Match; left: number; hits: number }[] = [];
  return {
    add(fault, match = {}, times = 1) {
      const entry = { fault, match, left: times, hits: 0 };
      armed.push(entry);
      return {
        hits: () => entry.hits,
        remove: () => {
          armed = armed.filter((other) => other !== entry);
        },
      };
    },
    strike(request) {
      const struck = armed.filter(({ match }) => matches(match, request));
      for (const entry of struck) {
        entry.left--;
        entry.hits++;
      }
      armed = armed.filter(({ left }) => left > 0);
      return struck.map(({ fault }) => fault);
    },
    clear() {
      armed = [];
    },
  };
}

export function matches(match: Match, { verb, resource, user }: Struck): boolean {
  const fits = (wanted: string | readonly string[] | undefined, value: string) =>
    wanted === undefined || (typeof wanted === 'string' ? wanted === value : wanted.includes(value));
  return fits(match.verb, verb) && fits(match.resource, resource) && fits(match.user, user);
}

export function faultOf<K extends Fault['kind']>(
  faults: readonly Fault[],
  kind: K,
): Extract<Fault, { kind: K }> | undefined {
  return faults.find((fault): fault is Extract<Fault, { kind: K }> => fault.kind === kind);
}
