/**
 * Events (events.k8s.io/v1) as the API server takes them: what identifies one, how it is named, its limits, and the
 * bodies of the two requests there are.
 *
 *   POST  /apis/events.k8s.io/v1/namespaces/NS/events        the event; with a series if it has recurred already
 *   PATCH /apis/events.k8s.io/v1/namespaces/NS/events/NAME   { series: { count, lastObservedTime } }
 *
 * The server refuses notes of more than 1,024 bytes, reasons, actions and reporters of more than 128, a series of less
 * than two, and an event whose namespace is not its object's ("default" for objects without one).
 */
import { createHash } from 'node:crypto';

export interface ObjectReference {
  readonly apiVersion: string;
  readonly kind: string;
  /** "" for objects without one, such as Nodes. */
  readonly namespace: string;
  readonly name: string;
  /** "" when unknown; `kubectl describe` then does not find the event. */
  readonly uid: string;
}

export interface ProxyEvent {
  readonly type: 'Normal' | 'Warning';
  /** Why, as one word that tools can match: "Starting". */
  readonly reason: string;
  /** What was being done or was done about it: "StartKubeProxy". */
  readonly action: string;
  /** For people. Cut after 1,024 bytes. */
  readonly note: string;
  readonly regarding: ObjectReference;
  /**
   * The proxy of every node says the same of this object. All give the event one name then, so that a cluster of
   * thousands of nodes has one such event and not thousands; nobody counts how often it recurs.
   */
  readonly everyNode?: boolean;
}

/** How often an event was seen, and when last, in milliseconds since the epoch. */
export interface Recurrence {
  readonly count: number;
  readonly lastSeen: number;
}

const CONTROLLER = 'kube-proxy';
const NOTE_BYTES = 1024;
const WORD_BYTES = 128;
/** Of an object's name. */
const NAME_LENGTH = 253;

export const PATCH_TYPE = 'application/merge-patch+json';

/** The same for events that are one event recurring. */
export function eventKey({ type, reason, action, note, regarding }: ProxyEvent): string {
  return JSON.stringify([type, reason, action, note, objectKey(regarding)]);
}

export function objectKey({ apiVersion, kind, namespace, name, uid }: ObjectReference): string {
  return JSON.stringify([apiVersion, kind, namespace, name, uid]);
}

export function eventsPath({ namespace }: ObjectReference, name?: string): string {
  const folder = `/apis/events.k8s.io/v1/namespaces/${encodeURIComponent(namespace || 'default')}/events`;
  return name === undefined ? folder : `${folder}/${encodeURIComponent(name)}`;
}

/** As upstream names them: object and a time in nanoseconds, which the caller keeps from repeating. */
export function eventName(event: ProxyEvent, nanoseconds: bigint): string {
  const suffix = event.everyNode ? digestOf(event) : nanoseconds.toString(16);
  return `${namePart(event.regarding.name, NAME_LENGTH - suffix.length - 1)}.${suffix}`;
}

function digestOf(event: ProxyEvent): string {
  return createHash('sha256')
    .update(`${CONTROLLER}\n${eventKey(event)}`)
    .digest('hex')
    .slice(0, 16);
}

/** Objects of the API have names that fit; what a fault is told about may have any. */
function namePart(name: string, length: number): string {
  const allowed = name.toLowerCase().replaceAll(/[^a-z0-9.-]/g, '-');
  return allowed.slice(0, length).replaceAll(/^[^a-z0-9]+|[^a-z0-9]+$/g, '') || 'object';
}

/** The body of the POST. `firstSeen`: milliseconds since the epoch. */
export function eventBody(
  event: ProxyEvent,
  facts: {
    readonly name: string;
    readonly nodeName: string;
    readonly firstSeen: number;
    readonly recurrence: Recurrence;
  },
): string {
  const { apiVersion, kind, namespace, name, uid } = event.regarding;
  const { recurrence } = facts;
  return JSON.stringify({
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { name: facts.name, namespace: namespace || 'default' },
    eventTime: microTime(facts.firstSeen),
    type: event.type,
    reason: cut(event.reason, WORD_BYTES),
    action: cut(event.action, WORD_BYTES),
    note: cut(event.note, NOTE_BYTES),
    regarding: { apiVersion, kind, namespace: namespace || undefined, name, uid: uid || undefined },
    reportingController: CONTROLLER,
    reportingInstance: cut(`${CONTROLLER}-${facts.nodeName}`, WORD_BYTES),
    series: recurrence.count > 1 && !event.everyNode ? seriesOf(recurrence) : undefined,
  });
}

/** The body of the PATCH. */
export function seriesPatch(recurrence: Recurrence): string {
  return JSON.stringify({ series: seriesOf(recurrence) });
}

function seriesOf({ count, lastSeen }: Recurrence): object {
  return { count, lastObservedTime: microTime(lastSeen) };
}

/** metav1.MicroTime: RFC 3339 with exactly six digits of a second. */
function microTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString().replace('Z', '000Z');
}

/** At most so many bytes of UTF-8, with a mark where something is missing. */
function cut(text: string, bytes: number): string {
  const all = Buffer.from(text);
  if (all.length <= bytes) return all.toString();
  let end = bytes - 3;
  while ((all[end]! & 0xc0) === 0x80) end--; // Not inside of a character.
  return `${all.subarray(0, end).toString()}…`;
}
