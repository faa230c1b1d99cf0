/** An API server's end of events, as functions of the test, and events to send it. */
import type { EventApi, EventRequest } from '../../../core/observe/event-delivery.ts';
import type { ObjectReference, ProxyEvent } from '../../../core/observe/event-format.ts';
import { createEvents, type Events } from '../../../core/observe/events.ts';
import { type FakeClock, fakeClock } from '../sync/fake-clock.ts';
import { type FakeLog, fakeLog } from '../sync/fake-log.ts';

export interface Reply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** A reply, or a status for short; throws for a connection that breaks. */
export type Respond = (request: EventRequest, number: number) => Reply | number | Promise<Reply | number>;

export interface Stage {
  readonly clock: FakeClock;
  readonly log: FakeLog;
  readonly events: Events;
  readonly requests: readonly (EventRequest & { readonly signal: AbortSignal })[];
  /** Bodies of the requests, parsed. */
  bodies(): readonly EventBody[];
  /** How often credentials were read again. */
  reloads(): number;
}

/** As much of the Event as the tests look at. */
export interface EventBody {
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly eventTime: string;
  readonly reason: string;
  readonly action: string;
  readonly note: string;
  readonly regarding: Readonly<Record<string, string>>;
  readonly reportingController: string;
  readonly reportingInstance: string;
  readonly series?: { readonly count: number; readonly lastObservedTime: string };
}

/** 2026-01-02T03:04:05.678Z when the clock shows 0. */
const EPOCH = Date.UTC(2026, 0, 2, 3, 4, 5, 678);

/** Everything is accepted unless told otherwise. */
export function stage(respond: Respond = () => 201): Stage {
  const clock = fakeClock();
  const log = fakeLog();
  const requests: (EventRequest & { signal: AbortSignal })[] = [];
  let reloads = 0;
  const api: EventApi = {
    async request(request) {
      requests.push(request);
      const answer = await respond(request, requests.length);
      const reply = typeof answer === 'number' ? { status: answer } : answer;
      return { status: reply.status, headers: reply.headers ?? {}, text: async () => reply.body ?? '{}' };
    },
    async reloadCredentials() {
      reloads++;
    },
  };
  const now = () => EPOCH + clock.now();
  const events = createEvents({ api, nodeName: 'node-1', clock, now, log, random: () => 1 });
  const bodies = () => requests.map(({ body }) => JSON.parse(body) as EventBody);
  return { clock, log, events, requests, bodies, reloads: () => reloads };
}

export function service(name = 'web'): ObjectReference {
  return { apiVersion: 'v1', kind: 'Service', namespace: 'shop', name, uid: `uid-${name}` };
}

export function event(rest: Partial<ProxyEvent> = {}): ProxyEvent {
  return {
    type: 'Warning',
    reason: 'FailedToStartServiceHealthcheck',
    action: 'Listen',
    note: 'port 31000: address in use',
    regarding: service(),
    ...rest,
  };
}
