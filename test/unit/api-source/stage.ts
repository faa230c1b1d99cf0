/** A reflector of Services, or a whole source, between a fake API server and a sink that remembers. */
import { createMirror, type ObjectProblem } from '../../../core/source/api/mirror.ts';
import { createOutageLog } from '../../../core/source/api/outage-log.ts';
import { createReflector, type Reflector } from '../../../core/source/api/reflector.ts';
import { type Resource, services } from '../../../core/source/api/resource.ts';
import { fakeClock, settle } from '../sync/fake-clock.ts';
import { fakeLog } from '../sync/fake-log.ts';
import { type FakeRequest, fakeApi } from './fake-api.ts';

export interface Stage {
  readonly api: ReturnType<typeof fakeApi>;
  readonly clock: ReturnType<typeof fakeClock>;
  readonly log: ReturnType<typeof fakeLog>;
  readonly reflector: Reflector;
  /** What the sink holds, by "namespace/name". */
  readonly objects: Map<string, unknown>;
  /** What the sink was told, as "+ shop/a" and "- shop/a". */
  readonly told: string[];
  readonly problems: ObjectProblem[];
  /** Times that a whole state was published. */
  published(): number;
  request(): FakeRequest;
  /** Names of the objects that the sink holds. */
  names(): string;
}

interface StageOptions {
  readonly resource?: Resource<unknown>;
  readonly streams?: boolean;
  /** Called for each upsert; may throw. */
  readonly onUpsert?: (key: string) => void;
  readonly random?: () => number;
}

/** Started; `streams: false` as when WatchList was refused already. `random` is 1/2 unless told otherwise. */
export async function stage(options: StageOptions = {}): Promise<Stage> {
  const { resource = services() as Resource<unknown>, streams = true, random = () => 0.5 } = options;
  const api = fakeApi();
  const clock = fakeClock();
  const log = fakeLog();
  const objects = new Map<string, unknown>();
  const told: string[] = [];
  const problems: ObjectProblem[] = [];
  let published = 0;
  let refused = !streams;
  const mirror = createMirror<unknown>({
    resource,
    log,
    onProblem: (problem) => problems.push(problem),
    delivery: {
      upsert(value) {
        const { namespace, name } = value as { namespace?: string; name: string };
        const key = namespace === undefined ? name : `${namespace}/${name}`;
        options.onUpsert?.(key);
        objects.set(key, value);
        told.push(`+ ${key}`);
      },
      remove(namespace, name) {
        const key = namespace === '' ? name : `${namespace}/${name}`;
        objects.delete(key);
        told.push(`- ${key}`);
      },
    },
  });
  const reflector = createReflector({
    resource,
    mirror,
    connection: api.connection,
    onPublished: () => published++,
    streaming: {
      isRefused: () => refused,
      refused: () => {
        refused = true;
      },
    },
    outages: createOutageLog({ log, clock, server: () => api.connection.server }),
    clock,
    log,
    random,
  });
  reflector.start();
  await settle();
  return {
    api,
    clock,
    log,
    reflector,
    objects,
    told,
    problems,
    published: () => published,
    request: () => api.request(resource.name),
    names: () =>
      [...objects.keys()]
        .map((key) => key.replace('shop/', ''))
        .sort()
        .join(' '),
  };
}
