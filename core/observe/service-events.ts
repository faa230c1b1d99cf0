/**
 * Host.events: what a backend tells the author of a Service. Each warning is an event on the Service, which the API
 * server keeps for `kubectl describe service`, and a line of the log, which is all there is without an API server.
 *
 *   warn ──▶ checked ──┬──▶ events.ts, which counts what recurs
 *    (KP_EVENT)        └──▶ log, once per text in six minutes, and no Service more than its share
 */
import type { Clock, Logger, ServiceEvents } from '../backend.ts';
import type { ProxyEvent } from './event-format.ts';
import { type ServiceName, serviceWarning } from './event-reasons.ts';
import { createSpamFilter } from './event-spam.ts';

export interface ServiceEventsOptions {
  /** Of the backend that warns. */
  readonly log: Logger;
  readonly clock: Clock;
  readonly record: (event: ProxyEvent) => void;
  /** metadata.uid of the Service as it is now; "" when it is not known. */
  readonly uid: (namespace: string, name: string) => string;
}

const QUIET_MS = 6 * 60_000;
/** Texts remembered at once. */
const MOST = 1000;
/** Characters; no more of a note would reach the API server either. */
const LONGEST_NOTE = 1024;

const REASON = /^[A-Z][A-Za-z0-9]{0,127}$/;
/** What parsing lets pass as the name of an object; everything else was made up. */
const NAME = /^[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?$/;

export function createServiceEvents({ log, clock, record, uid }: ServiceEventsOptions): ServiceEvents {
  /** When each text was logged, the oldest first. */
  const logged = new Map<string, number>();
  const spam = createSpamFilter();

  function isNews(service: string, text: string): boolean {
    const now = clock.now();
    for (const [old, at] of logged) {
      if (logged.size <= MOST && now - at < QUIET_MS) break;
      logged.delete(old);
    }
    if (logged.has(text) || !spam.take(service, now)) return false;
    logged.set(text, now);
    return true;
  }

  return {
    warn(service, reason, note) {
      const named = checkedWarning(service, reason, note);
      const shown = `${named.namespace}/${named.name}`;
      const text = note.slice(0, LONGEST_NOTE);
      if (isNews(shown, JSON.stringify([shown, reason, text]))) {
        log.warn('A Service is not served as its author asks', { service: shown, reason, note: text });
      }
      record(serviceWarning({ ...named, uid: uid(named.namespace, named.name) }, reason, text));
    },
  };
}

/** Throws (KP_EVENT) for what could not be an event on a Service. A plugin in plain JavaScript may give anything. */
export function checkedWarning(service: unknown, reason: unknown, note: unknown): Omit<ServiceName, 'uid'> {
  const { namespace, name } = (service ?? {}) as Readonly<Record<string, unknown>>;
  if (!isName(namespace) || !isName(name)) {
    const remedy = 'give namespace and name of the ServicePort that it is about';
    throw fault(`${shown(namespace)}/${shown(name)} is no Service: ${remedy}`);
  }
  const about = `for ${namespace}/${name}`;
  if (typeof reason !== 'string' || !REASON.test(reason)) {
    throw fault(`${about}: reason ${shown(reason)} is no word in CamelCase: use up to 128 letters and digits`);
  }
  if (typeof note !== 'string' || note.trim() === '') {
    throw fault(`${about}: note ${shown(note)} is no sentence: say what is wrong and what to do`);
  }
  return { namespace, name };
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && NAME.test(value);
}

function shown(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value.slice(0, 100)) : value === null ? 'null' : typeof value;
}

function fault(what: string): Error {
  return Object.assign(new Error(`event ${what}`), { code: 'KP_EVENT' });
}
