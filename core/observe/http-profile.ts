/**
 * /debug/pprof/: where this process spends its time, under the paths that people know. What comes out is V8's, not
 * Go's: `profile` is a .cpuprofile (Chrome DevTools, VS Code and speedscope.app open it), `heap` is sizes as JSON.
 * There is no heap snapshot: it stops the process for seconds, doubles its memory, and has the credentials in it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { getHeapSpaceStatistics, getHeapStatistics } from 'node:v8';
import { type HttpReply, type HttpRequest, json, NO_SNIFF, plain, type Route } from './http-reply.ts';

/** Samples for so many seconds, fewer if `signal` aborts; resolves to a .cpuprofile's text. */
export type TakeProfile = (seconds: number, signal: AbortSignal) => Promise<string>;

const DEFAULT_SECONDS = 30;
const MOST_SECONDS = 60;
const INDEX = [
  'profile?seconds=N  where CPU time goes, as a V8 .cpuprofile; 1 to 60 seconds, default 30',
  "heap               sizes of V8's heap, as JSON",
  '',
].join('\n');

export function profileRoutes(take: TakeProfile = takeProfile): Readonly<Record<string, Route>> {
  let taking = false;

  async function profile(request: HttpRequest): Promise<HttpReply> {
    const asked = request.query.get('seconds') ?? String(DEFAULT_SECONDS);
    const seconds = /^\d+$/.test(asked) ? Number(asked) : 0;
    if (seconds < 1 || seconds > MOST_SECONDS) return plain(`seconds must be from 1 to ${MOST_SECONDS}\n`, 400);
    const headers = { ...NO_SNIFF, 'Content-Disposition': 'attachment; filename="kube-proxy.cpuprofile"' };
    if (request.method === 'HEAD') return { type: 'application/json', headers, body: '' };
    if (taking) return plain('a profile is being taken already\n', 409);
    taking = true;
    try {
      return { type: 'application/json', headers, body: await take(seconds, request.signal) };
    } finally {
      taking = false;
    }
  }

  return {
    '/debug/pprof/': {
      methods: ['GET'],
      handle: ({ path }) => (path === '/debug/pprof/' ? plain(INDEX) : plain('404 page not found\n', 404)),
    },
    '/debug/pprof/profile': { methods: ['GET'], handle: profile },
    '/debug/pprof/heap': {
      methods: ['GET'],
      handle: () =>
        json({ memory: process.memoryUsage(), heap: getHeapStatistics(), spaces: getHeapSpaceStatistics() }),
    },
  };
}

/** Within the process: no debugger port is opened. */
async function takeProfile(seconds: number, signal: AbortSignal): Promise<string> {
  const { Session } = await import('node:inspector/promises');
  const session = new Session();
  session.connect();
  try {
    await session.post('Profiler.enable');
    await session.post('Profiler.start');
    // A client that goes away ends it early; nobody reads the answer then.
    await sleep(seconds * 1000, undefined, { signal, ref: false }).catch(() => {});
    const { profile } = await session.post('Profiler.stop');
    return JSON.stringify(profile);
  } finally {
    session.disconnect();
  }
}
