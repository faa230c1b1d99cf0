/**
 * Asking, and reading what is answered as it comes, never waiting for good: every answer is given up when nothing of it
 * came for too long. Faults are values here, whoever they come from; nothing throws.
 */
import type { Clock } from '../../backend.ts';
import type { ApiConnection, ApiResponse } from './api-connection.ts';
import { type Fault, faultOfError, faultOfResponse, silent } from './fault.ts';
import { type JSONStream, jsonList } from './json-stream.ts';
import { watchSilence } from './silence.ts';

export interface Failed {
  readonly fault: Fault;
}

/** How a body was read: to its end without a fault, or as long as it was wanted. */
export interface Reading {
  readonly fault: Fault | undefined;
  /** Any byte came. */
  readonly heard: boolean;
}

/** One page of a list; its items were handed on already. */
export interface Page {
  readonly version: string;
  /** The token of the next page; "" at the end. */
  readonly next: string;
}

/** `attempt` is aborted when an answer is given up, and ends whatever else goes on under it. */
export interface Answers {
  /** An answer of status 200. */
  ask(
    attempt: AbortController,
    path: string,
    how: { readonly timeoutMs: number; readonly compressed?: boolean },
  ): Promise<ApiResponse | Failed>;
  /** `silenceMs` and `wanted` are asked again as it goes on. */
  read(
    attempt: AbortController,
    response: ApiResponse,
    into: JSONStream,
    how: { silenceMs(): number; wanted(): boolean },
  ): Promise<Reading>;
  readList(
    attempt: AbortController,
    path: string,
    timeoutMs: number,
    onItem: (raw: unknown) => void,
  ): Promise<Page | Failed>;
}

/** The longest pause inside a list, or inside an answer that is an error. */
const SILENCE_MS = 60_000;

/** `onContact` is called whenever anything is heard. */
export function createAnswers(options: { connection: ApiConnection; clock: Clock; onContact: () => void }): Answers {
  const { connection, clock, onContact } = options;

  const ask: Answers['ask'] = async (attempt, path, how) => {
    let response: ApiResponse;
    try {
      response = await connection.request({ path, signal: attempt.signal, ...how });
    } catch (error) {
      return { fault: faultOfError(error) };
    }
    onContact();
    if (response.status === 200) return response;
    const silence = watchSilence(
      clock,
      () => SILENCE_MS,
      () => attempt.abort(),
    );
    const fault = await faultOfResponse(response);
    silence.stop();
    return { fault };
  };

  const read: Answers['read'] = async (attempt, response, into, { silenceMs, wanted }) => {
    const silence = watchSilence(clock, silenceMs, () => attempt.abort());
    let heard = false;
    try {
      for await (const chunk of response.body) {
        silence.heard();
        onContact();
        heard = true;
        into.push(chunk);
        if (!wanted()) return { fault: undefined, heard };
      }
      if (silence.brokenMs() === undefined) into.end();
    } catch (error) {
      if (silence.brokenMs() === undefined) return { fault: faultOfError(error), heard };
    } finally {
      silence.stop();
    }
    const limitMs = silence.brokenMs();
    return { fault: limitMs === undefined ? undefined : silent(limitMs), heard };
  };

  return {
    ask,
    read,
    async readList(attempt, path, timeoutMs, onItem) {
      const response = await ask(attempt, path, { timeoutMs, compressed: true });
      if ('fault' in response) return response;
      const stream = jsonList(onItem);
      const { fault } = await read(attempt, response, stream, { silenceMs: () => SILENCE_MS, wanted: () => true });
      if (fault) return { fault };
      const metadata = stream.frame().metadata as Readonly<Record<string, unknown>> | null | undefined;
      return { version: textOf(metadata?.resourceVersion), next: textOf(metadata?.continue) };
    },
  };
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
