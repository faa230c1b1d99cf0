/**
 * The program that lives in a namespace and does there what the test says: it serves and it asks. One JSON object a
 * line comes in, one goes out for each (agent-protocol.ts); it ends when its stdin does. Idle, it costs nothing.
 */
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Call, CommandName, Commands, Flood, FloodReport, Reply } from './agent-protocol.ts';
import { converse, type Flow, openFlow, request, requestAll } from './agent-request.ts';
import { type Stop, serve } from './agent-serve.ts';

interface RunningFlood {
  stop(): void;
  readonly report: Promise<FloodReport>;
}

const servers = new Map<number, Stop>();
const flows = new Map<number, Flow>();
const floods = new Map<number, RunningFlood>();
let lastId = 0;

type Handlers = { readonly [K in CommandName]: (input: Commands[K]['input']) => Promise<Commands[K]['output']> };

const handlers: Handlers = {
  async serve(input) {
    const stop = await serve(input);
    return { id: keep(servers, stop) };
  },
  async stopServing({ id, whenIdle = false }) {
    await take(servers, id)(whenIdle);
    return null;
  },
  request: ({ requests, concurrency }) => requestAll(requests, concurrency),
  async hold(input) {
    const flow = openFlow(input);
    return { id: keep(flows, flow), first: await flow.ask() };
  },
  ping: ({ id, timeoutMs }) => find(flows, id).ask(timeoutMs),
  async release({ id, abruptly = false }) {
    take(flows, id).close(abruptly);
    return null;
  },
  async startFlood(input) {
    return { id: keep(floods, startFlood(input)) };
  },
  stopFlood({ id }) {
    const flood = take(floods, id);
    flood.stop();
    return flood.report;
  },
  waitFlood: ({ id }) => take(floods, id).report,
};

function startFlood(flood: Flood): RunningFlood {
  const { request: one, concurrency = 2, pauseMs = 5, limitMs, closing, sourcePorts = [] } = flood;
  const end = performance.now() + limitMs;
  let stopped = false;
  const outcomes: Record<string, number> = {};
  const answers: Record<string, number> = {};
  let total = 0;
  const worker = async (_: unknown, number: number) => {
    // Its own, so that no two are at one port at a time.
    const ports = sourcePorts.filter((_, index) => index % concurrency === number);
    for (let attempt = 0; !stopped && performance.now() < end; attempt++) {
      const sourcePort = ports[attempt % ports.length];
      const asked = sourcePort === undefined ? one : { ...one, sourcePort };
      const outcome = closing === undefined ? await request(asked, true) : await converse(asked, closing);
      total++;
      outcomes[outcome.outcome] = (outcomes[outcome.outcome] ?? 0) + 1;
      if (outcome.outcome === 'answered') answers[outcome.server] = (answers[outcome.server] ?? 0) + 1;
      await sleep(pauseMs);
    }
  };
  const workers = Promise.all(Array.from({ length: concurrency }, worker));
  const report = workers.then(() => ({ total, outcomes, servers: answers }));
  report.catch(() => undefined); // told to whoever asks for it
  return {
    stop() {
      stopped = true;
    },
    report,
  };
}

function keep<T>(map: Map<number, T>, value: T): number {
  map.set(++lastId, value);
  return lastId;
}

function find<T>(map: Map<number, T>, id: number): T {
  const value = map.get(id);
  if (value === undefined) throw new Error(`nothing has the id ${id} any more`);
  return value;
}

function take<T>(map: Map<number, T>, id: number): T {
  const value = find(map, id);
  map.delete(id);
  return value;
}

async function answer<K extends CommandName>({ sequence, command, input }: Call<K>): Promise<Reply> {
  try {
    return { sequence, output: await handlers[command](input) };
  } catch (error) {
    return { sequence, error: error instanceof Error ? error.message : String(error) };
  }
}

/** Until its stdin ends, and with it the process. */
export function runAgent(): void {
  const lines = createInterface({ input: process.stdin });
  lines.on('line', async (line) => {
    const reply = await answer(JSON.parse(line) as Call);
    process.stdout.write(`${JSON.stringify(reply)}\n`);
  });
  lines.on('close', () => process.exit());
  process.stdout.on('error', () => process.exit(1));
}
