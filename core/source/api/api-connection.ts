/**
 * What everything that talks to the API server is given: one way to send a request and read the answer as it comes.
 * Types only, so that the reflector, the Events sink and the tests share them without loading a client.
 */

export interface ApiRequest {
  /** Path and query, already percent-encoded: "/api/v1/services?limit=500". */
  readonly path: string;
  /** Default GET. */
  readonly method?: 'GET' | 'POST' | 'PATCH';
  /** Of `body`; default "application/json". */
  readonly contentType?: string;
  readonly body?: string;
  /** Ends the request or the reading of its body, whichever is going on. */
  readonly signal: AbortSignal;
  /** Milliseconds from the moment the rate limit lets it go until the response's headers must be there; default 30,000. */
  readonly timeoutMs?: number;
  /** Let the server compress the answer; worth its while for lists. */
  readonly compressed?: boolean;
}

export interface ApiResponse {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | undefined>>;
  /**
   * Already decompressed. To be read once: to its end, or until the loop is left, which closes the connection; who
   * does not want it calls `discard`. Throws if the connection breaks before the end.
   */
  readonly body: AsyncIterable<Uint8Array>;
  /** The rest of the body, of which nothing beyond `maxBytes` (default 64 KiB) is kept. For answers that are small. */
  text(maxBytes?: number): Promise<string>;
  /** Close without reading. */
  discard(): void;
}

export interface ApiConnection {
  /**
   * One request, one answer whatever its status. Rejects when there is none: no connection, timeout, aborted.
   * Never repeats anything by itself.
   */
  request(request: ApiRequest): Promise<ApiResponse>;
  /** After a 401 or a TLS fault: read the kubeconfig, token and certificates again. Logs what fails; never rejects. */
  reloadCredentials(reason: string): Promise<void>;
  /** End every request and close every socket. */
  close(): void;
  /** "https://10.0.0.1:6443", for messages. */
  readonly server: string;
}

/** One finished request, for the rest_client_* metrics. */
export interface RequestInfo {
  readonly verb: 'GET' | 'POST' | 'PATCH';
  readonly host: string;
  /** The HTTP status, or "<error>" when there was no answer. */
  readonly code: string;
  /** From sending (after the rate limit) to the response's headers. */
  readonly durationSeconds: number;
  /** Of the request's body. */
  readonly requestBytes: number;
  /** Seconds the rate limit held it back. */
  readonly rateLimitedSeconds: number;
}

/** What may differ between one program and the next: how often it may ask, and who wants to know. */
export interface ConnectionObserver {
  onRequest?(info: RequestInfo): void;
}
