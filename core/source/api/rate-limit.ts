/**
 * How often this node may ask the API server, whatever happens here: `burst` requests at once, `qps` a second over
 * time, the others in the order in which they came. Requests count, events of a watch do not.
 */
import type { Clock } from '../../backend.ts';

export interface RateLimit {
  /** Resolves when one request may be sent; rejects with the signal's reason. */
  acquire(signal: AbortSignal): Promise<void>;
}

/** As the reference's client does: 0 means these, below 0 no limit. */
const STANDARD_QPS = 5;
const STANDARD_BURST = 10;

export function createRateLimit(options: { qps: number; burst: number; clock: Clock }): RateLimit {
  const { clock } = options;
  const qps = options.qps || STANDARD_QPS;
  const burst = Math.max(1, options.burst || STANDARD_BURST);
  let tokens = burst;
  let countedAt = clock.now();
  const waiting = new Set<() => void>();
  let timed = false;

  function refill(): void {
    const now = clock.now();
    tokens = Math.min(burst, tokens + ((now - countedAt) / 1000) * qps);
    countedAt = now;
  }

  /** Let go whom the tokens suffice for, and come back for the next. */
  function serve(): void {
    refill();
    for (const go of waiting) {
      // What is missing of a whole token by rounding would only make a timer of no length.
      if (tokens < 1 - 1e-9) break;
      tokens--;
      waiting.delete(go);
      go();
    }
    if (waiting.size === 0 || timed) return;
    timed = true;
    clock.after(Math.max(1, ((1 - tokens) / qps) * 1000), () => {
      timed = false;
      serve();
    });
  }

  return {
    acquire(signal) {
      if (signal.aborted) return Promise.reject(signal.reason);
      if (qps < 0) return Promise.resolve();
      return new Promise((resolve, reject) => {
        const abandon = (): void => {
          waiting.delete(go);
          reject(signal.reason);
        };
        const go = (): void => {
          signal.removeEventListener('abort', abandon);
          resolve();
        };
        signal.addEventListener('abort', abandon, { once: true });
        waiting.add(go);
        serve();
      });
    },
  };
}
