/**
 * One scene of the fault suite: the test API server, a real connection to it by a kubeconfig, the source, and the sink
 * that remembers. Whatever a scene is about, these hold at its end, or it fails:
 *
 *   - the sink and the store hold what the server has, down to changes made in every resource after the last fault
 *   - nothing was deleted more often than it went away on the server, and nothing was told twice
 *   - synced() once, never before the first whole state; nothing at all after stop(), and no timer or connection is left
 *   - no exit, no unhandled rejection or exception, no warning of the runtime, no "this is a bug" in the log
 *   - no resource was asked for more often than the shortest backoff allows, in any ten seconds
 *
 * Seconds are those of the loop clock, which both ends share.
 */
import type { ApiConnection } from '../../core/source/api/api-connection.ts';
import { type ConnectionOptions, openConnection } from '../../core/source/api/connection.ts';
import type { ResourceName } from '../../core/source/api/resource.ts';
import { type ApiSource, type ApiStatus, apiSource } from '../../core/source/api/source.ts';
import type { RequestRecord } from '../apiserver/http/handler.ts';
import type { KubeconfigFiles } from '../apiserver/kubeconfig.ts';
import { type ApiServer, type ApiServerOptions, startApiServer } from '../apiserver/server.ts';
import { type Random, seeded } from '../unit/model/random.ts';
import { type FakeLog, fakeLog } from '../unit/sync/fake-log.ts';
import { RESOURCES } from './bounds.ts';
import { type Churn, createChurn, nodeObject, rangeObject, serviceObject, sliceObject } from './churn.ts';
import { guarded, takeProblems } from './guard.ts';
import { type LoopClock, loopClock } from './loop-clock.ts';
import { createRecorder, type Recorder } from './recorder.ts';
import { differences } from './truth.ts';
import { problemsOf, report } from './verdict.ts';

export const NODE = 'node-1';
const USER = 'system:kube-proxy';

export interface SceneOptions {
  readonly seed?: number;
  /** Milliseconds per turn of the event loop. Default 200. */
  readonly pace?: number;
  readonly server?: Omit<ApiServerOptions, 'clock'>;
  /** Requests a second; default no limit, so that nothing but the source's own pauses keeps it from asking. */
  readonly qps?: number;
  readonly waitForPodCIDRs?: boolean;
  /** Default: by a kubeconfig with a token file. */
  readonly connect?: (server: ApiServer) => Partial<ConnectionOptions>;
  /** Services that exist from the start, each with a slice. Default 12. */
  readonly services?: number;
  /** Most requests for one resource in ten seconds. Default: a pause of 0.4 s between attempts of two requests. */
  readonly requestsIn10s?: number;
}

export interface Scene {
  readonly server: ApiServer;
  readonly clock: LoopClock;
  readonly random: Random;
  readonly log: FakeLog;
  readonly recorder: Recorder;
  readonly churn: Churn;
  /** Connect, and let the source begin. */
  start(): Promise<void>;
  status(): ApiStatus;
  /** Change something in every resource, then wait until the sink has it all. Default: within a minute. */
  settled(withinMs?: number): Promise<void>;
  until(what: string, holds: () => boolean, withinMs?: number): Promise<void>;
  /** What the server was asked, oldest first. */
  requests(resource?: ResourceName, verb?: 'list' | 'watch'): readonly RequestRecord[];
  /** When the client finished asking, whether anybody answered or not. */
  readonly asked: readonly number[];
  /** How long `run` took, and what was asked meanwhile. */
  during(run: () => Promise<void>): Promise<{ readonly requests: readonly RequestRecord[]; readonly asked: number }>;
}

/** A scene that begins when everything has been read once, and every watch is open. */
export function running(options: SceneOptions, play: (scene: Scene) => Promise<void>): Promise<void> {
  return scene(options, async (stage) => {
    await stage.start();
    await stage.settled();
    await stage.until('every watch is open', () => stage.server.watches().length === RESOURCES.length);
    await play(stage);
  });
}

export function scene(options: SceneOptions, play: (scene: Scene) => Promise<void>): Promise<void> {
  return guarded(() => run(options, play));
}

async function run(options: SceneOptions, play: (scene: Scene) => Promise<void>): Promise<void> {
  const { seed = 1, pace = 200, qps = -1, services = 12, waitForPodCIDRs = false } = options;
  takeProblems();
  const clock = loopClock(pace);
  const ours = clock.view();
  const random = seeded(seed);
  const chances = seeded(seed + 1);
  const log = fakeLog();
  const server = await startApiServer({ ...options.server, clock });
  const recorder = createRecorder(NODE, log);
  const churn = createChurn(server.objects, random, NODE);
  const asked: number[] = [];
  let connection: ApiConnection | undefined;
  let source: ApiSource | undefined;
  let beacons = 0;
  populate(churn, services);

  const until: Scene['until'] = async (what, holds, withinMs = 60_000) => {
    const end = clock.now() + withinMs;
    while (!holds()) {
      if (clock.now() > end) throw new Error(`after ${withinMs / 1000} s still not: ${what}`);
      await turn();
    }
  };

  const stage: Scene = {
    server,
    clock,
    random,
    log,
    recorder,
    churn,
    asked,
    async start() {
      const own = options.connect?.(server) ?? { kubeconfig: tokenKubeconfig(server).path };
      connection = await openConnection({
        kubeconfig: '',
        master: '',
        qps,
        burst: 0,
        userAgent: 'kube-proxy/test',
        clock: ours,
        log,
        observer: { onRequest: () => void asked.push(clock.now()) },
        environment: {},
        ...own,
      });
      source = apiSource({
        connection,
        nodeName: NODE,
        waitForPodCIDRs,
        clock: ours,
        log,
        random: () => chances.below(1_000_000) / 1_000_000,
      });
      await source.start(recorder);
    },
    status() {
      if (source === undefined) throw new Error('the scene has not started');
      return source.status();
    },
    until,
    async settled(withinMs = 60_000) {
      light(server, churn, ++beacons);
      const end = clock.now() + withinMs;
      for (;;) {
        const begin = performance.now();
        const found =
          recorder.syncs() === 0 ? ['not synced'] : differences(server.objects, recorder.state, recorder.store, NODE);
        if (found.length === 0) return;
        if (clock.now() > end) {
          const some = found.slice(0, 5).join('; ');
          throw new Error(`after ${withinMs / 1000} s the state is not the server's: ${some} (${found.length} in all)`);
        }
        // Comparing thousands of objects is not to take all the time.
        for (const wait = performance.now() + (performance.now() - begin) * 3; ; ) {
          await turn();
          if (performance.now() >= wait) break;
        }
      }
    },
    requests: (resource, verb) =>
      server
        .requests()
        .filter(
          (request) => (resource ?? request.resource) === request.resource && (verb ?? request.verb) === request.verb,
        ),
    async during(run) {
      const before = { requests: server.requests().length, asked: asked.length };
      await run();
      return { requests: server.requests().slice(before.requests), asked: asked.length - before.asked };
    },
  };

  let failure: unknown;
  try {
    await play(stage);
    await stage.settled(240_000);
  } catch (error) {
    failure = error;
  }
  churn.stop();
  await source?.stop();
  recorder.close();
  // Would anything still be told?
  light(server, churn, ++beacons);
  await clock.sleep(2_000);
  connection?.close();
  const left = await until('no connection is left', () => server.connections() === 0, 20_000).then(
    () => [],
    (error: Error) => [error.message],
  );
  const timers = ours.pending();
  await server.stop();
  clock.stop();
  const problems = [...left, ...problemsOf(stage, timers, options.requestsIn10s), ...takeProblems()];
  if (failure !== undefined || problems.length > 0) throw report(seed, failure, problems, log);
}

export function tokenKubeconfig(server: ApiServer): KubeconfigFiles {
  return server.kubeconfigFor({ kind: 'token', token: server.tokens.issue(USER), files: true }, 'proxy');
}

function populate(churn: Churn, services: number): void {
  churn.apply(nodeObject(NODE, 'zone-a', 1));
  for (let index = 0; index < services; index++) {
    churn.apply(serviceObject('steady', `steady-${index}`));
    churn.apply(sliceObject('steady', `steady-${index}`, index));
  }
}

/** Something new in every resource. */
function light({ objects }: ApiServer, churn: Churn, number: number): void {
  churn.apply(serviceObject('beacon', 'beacon', 1 + (number % 60_000)));
  churn.apply(sliceObject('beacon', 'beacon', number));
  churn.apply(nodeObject(NODE, `zone-${number}`, 1 + (number % 250)));
  if (objects.get('ServiceCIDR', '', 'beacon')) churn.remove('ServiceCIDR', '', 'beacon');
  else churn.apply(rangeObject('beacon', 0));
}

function turn(): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, 1));
}
