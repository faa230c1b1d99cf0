/**
 * Deadlines by the ten thousand: a lane is a queue of things that all wait equally long, so that the first in is the
 * first due, and one timer serves all. Entering, leaving and starting again cost the same at any length, and allocate
 * nothing: the links are in the things themselves. A thing waits in at most one lane.
 */
import type { Clock } from '../../../core/backend.ts';

export interface Waiting {
  lane: Lane | undefined;
  /** Neighbours; the lane itself is not among them. */
  earlier: Waiting | undefined;
  later: Waiting | undefined;
  /** By the clock. */
  due: number;
}

/** How a thing begins. */
export const NOT_WAITING: Readonly<Waiting> = { lane: undefined, earlier: undefined, later: undefined, due: 0 };

export interface Lane {
  first: Waiting | undefined;
  last: Waiting | undefined;
  length: number;
  readonly milliseconds: number;
  readonly clock: Clock;
  /** It has left the lane when it is called. */
  readonly onDue: (waiting: Waiting) => void;
  cancel: (() => void) | undefined;
}

export function openLane(clock: Clock, milliseconds: number, onDue: (waiting: Waiting) => void): Lane {
  return { first: undefined, last: undefined, length: 0, milliseconds, clock, onDue, cancel: undefined };
}

/** Wait from now on, at the end of the queue; leaves the lane where it waited before. */
export function enterLane(lane: Lane, waiting: Waiting): void {
  leaveLane(waiting);
  waiting.due = lane.clock.now() + lane.milliseconds;
  waiting.lane = lane;
  waiting.earlier = lane.last;
  if (lane.last === undefined) lane.first = waiting;
  else lane.last.later = waiting;
  lane.last = waiting;
  lane.length++;
  if (lane.cancel === undefined) arm(lane);
}

export function leaveLane(waiting: Waiting): void {
  const { lane, earlier, later } = waiting;
  if (lane === undefined) return;
  if (earlier === undefined) lane.first = later;
  else earlier.later = later;
  if (later === undefined) lane.last = earlier;
  else later.earlier = earlier;
  waiting.lane = undefined;
  waiting.earlier = undefined;
  waiting.later = undefined;
  lane.length--;
  // The timer is left as it is: it finds the next one when it fires. Dials end in under a millisecond as a rule, and
  // setting a timer for each would cost more than the rest of this.
}

/** What waits stays linked, but nothing falls due any more. */
export function closeLane(lane: Lane): void {
  lane.cancel?.();
  lane.cancel = undefined;
}

function arm(lane: Lane): void {
  const left = (lane.first as Waiting).due - lane.clock.now();
  lane.cancel = lane.clock.after(Math.max(0, Math.ceil(left)), () => fire(lane));
}

function fire(lane: Lane): void {
  lane.cancel = undefined;
  const now = lane.clock.now();
  for (let first = lane.first; first !== undefined && first.due <= now; first = lane.first) {
    leaveLane(first);
    lane.onDue(first);
  }
  if (lane.first !== undefined && lane.cancel === undefined) arm(lane);
}
