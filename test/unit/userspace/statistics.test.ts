/** Totals over threads and service ports that come and go: what is shown never falls. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { countDial, openCounters, statisticsOf } from '../../../plugins/userspace/forward/counters.ts';
import {
  type EngineStatistics,
  FAILURES,
  type ServiceStatistics,
} from '../../../plugins/userspace/forward/messages.ts';
import { createStatistics, type Statistics } from '../../../plugins/userspace/statistics.ts';
import { type Random, seeded } from '../model/random.ts';

const test = suite('userspace statistics');
const SEQUENCES = 200;
const STEPS = 150;

type Answer = Pick<EngineStatistics, 'services' | 'ended'>;

/** Connections by service port, as a thread tells them; twice as many bytes, one open. */
function answer(services: Readonly<Record<string, number>>, ended: Readonly<Record<string, number>> = {}): Answer {
  const told = (counts: Readonly<Record<string, number>>, open: number) =>
    new Map(
      Object.entries(counts).map(([key, connections]) => {
        const counted = { ...openCounters(), connections, bytesIn: 2 * connections, open };
        return [key, statisticsOf(counted)];
      }),
    );
  return { services: told(services, 1), ended: told(ended, 0) };
}

/** "web 5" for five connections; "web 5, 1 open". */
function shown(statistics: Statistics): string[] {
  return [...statistics.services()].map(
    ([key, { connections, open }]) => `${key} ${connections}${open > 0 ? `, ${open} open` : ''}`,
  );
}

function serving(...keys: string[]): Statistics {
  const statistics = createStatistics(2);
  statistics.learn(keys, []);
  return statistics;
}

test('threads are added up, each by what it has counted since it answered last', () => {
  const statistics = serving('web', 'dns', 'quiet');
  const [one, two] = [{}, {}];
  statistics.answered(one, answer({ web: 3 }));
  statistics.answered(two, answer({ web: 2, dns: 1 }));
  assert.equal(shown(statistics), ['web 5, 2 open', 'dns 1, 1 open']);
  statistics.answered(one, answer({ web: 4 }));
  statistics.answered(two, answer({ web: 2, dns: 7 }));
  assert.equal(shown(statistics), ['web 6, 2 open', 'dns 7, 1 open']);
});

test('what begins anew goes on counting where the one before it ended, and shows what it serves', () => {
  const statistics = serving('web', 'dns');
  const [before, after] = [{}, {}];
  statistics.answered(before, answer({ web: 3, dns: 1 }));
  statistics.rest();
  statistics.ended(before);
  assert.equal(shown(statistics), []);
  statistics.learn(['web'], []);
  statistics.answered(after, answer({ web: 2 }));
  assert.equal(shown(statistics), ['web 5, 1 open']);
});

test('everything that is counted is added up, latencies and reasons included', () => {
  const statistics = serving('web');
  const counters = openCounters();
  const thread = {};
  for (const milliseconds of [2, 9_000]) {
    countDial(counters, milliseconds);
    for (const failure of FAILURES) counters.failures[failure]++;
    counters.bytesIn += 10;
    counters.bytesOut += 100;
    statistics.answered(thread, { services: new Map([['web', statisticsOf(counters)]]), ended: new Map() });
  }
  assert.equal(statistics.services().get('web'), statisticsOf(counters));
});

test('a thread that ends leaves what it counted, and takes what was open; the next one counts from 0', () => {
  const statistics = serving('web');
  const [one, two] = [{}, {}];
  statistics.answered(one, answer({ web: 5 }));
  statistics.ended(one);
  assert.equal(shown(statistics), ['web 5']);
  statistics.answered(two, answer({ web: 2 }));
  assert.equal(shown(statistics), ['web 7, 1 open']);
});

test('a service port that is gone is not shown, and goes on where it was when it comes back', () => {
  const statistics = serving('web');
  const thread = {};
  statistics.answered(thread, answer({ web: 5 }));
  statistics.learn([], ['web']);
  statistics.answered(thread, answer({}, { web: 6 }));
  assert.equal(shown(statistics), []);
  statistics.learn(['web'], []);
  assert.equal(shown(statistics), ['web 6']);
  statistics.answered(thread, answer({ web: 1 }));
  assert.equal(shown(statistics), ['web 7, 1 open']);
});

test('one that is gone is shown while its connections are drained', () => {
  const statistics = serving('web');
  const thread = {};
  statistics.answered(thread, answer({ web: 5 }));
  statistics.learn([], ['web']);
  statistics.answered(thread, answer({ web: 5 }));
  assert.equal(shown(statistics), ['web 5, 1 open']);
  statistics.ended(thread);
  assert.equal(shown(statistics), []);
});

test('what ended and came back between two answers is counted whole', () => {
  const statistics = serving('web');
  const thread = {};
  statistics.answered(thread, answer({ web: 5 }));
  statistics.answered(thread, answer({ web: 7 }, { web: 6 }));
  assert.equal(shown(statistics), ['web 13, 1 open']);
});

test('a thread that has forgotten an end counts from 0 for all that', () => {
  const statistics = serving('web');
  const thread = {};
  statistics.answered(thread, answer({ web: 5 }));
  statistics.answered(thread, answer({ web: 3 }));
  assert.equal(shown(statistics), ['web 8, 1 open']);
});

test('of those that are gone the first is forgotten first, but none that is drained', () => {
  const statistics = serving('a', 'b', 'c', 'd');
  const thread = {};
  statistics.answered(thread, answer({ a: 1, b: 2, c: 3, d: 4 }));
  statistics.learn([], ['b', 'a', 'c', 'd']);
  statistics.answered(thread, answer({ b: 2 }, { a: 1, c: 3, d: 4 }));
  statistics.learn(['a', 'b', 'c', 'd'], []);
  assert.equal(shown(statistics).sort(), ['b 2, 1 open', 'd 4']);
});

/** A thread as engines are: service ports that it has met, those that are drained, and those whose end is untold. */
interface Model {
  readonly counts: Map<string, { readonly statistics: ServiceStatistics; readonly isDrained: boolean }>;
  readonly ended: Map<string, ServiceStatistics>;
}

function count(random: Random, before: ServiceStatistics): ServiceStatistics {
  const counters = { ...before, failures: { ...before.failures }, dialBuckets: [...before.dialBuckets] };
  counters.connections++;
  counters.bytesIn += random.below(1_000);
  counters.failures[random.pick(FAILURES)] += random.below(3);
  countDial(counters, random.below(3_000));
  return counters;
}

/** Every counter of it, in a fixed order. */
function numbers({ connections, bytesIn, bytesOut, failures, dialSeconds, dials, dialBuckets }: ServiceStatistics) {
  return [connections, bytesIn, bytesOut, dialSeconds, dials, ...dialBuckets, ...Object.values(failures)];
}

test('whatever threads and service ports do, no counter that is shown ever falls, and nothing that was told is lost', () => {
  for (let seed = 1; seed <= SEQUENCES; seed++) {
    const random = seeded(seed);
    const statistics = createStatistics();
    const keys = ['a', 'b', 'c', 'd', 'e'];
    const served = new Set<string>();
    const threads: Model[] = Array.from({ length: 3 }, () => ({ counts: new Map(), ended: new Map() }));
    const highest = new Map<string, readonly number[]>();
    /** Connections that threads told, or will if they live to. */
    const told = new Map<string, number>();
    const untold = threads.map(() => new Map<string, number>());
    const remove = (key: string): void => {
      served.delete(key);
      statistics.learn([], [key]);
      for (const { counts, ended } of threads) {
        const found = counts.get(key);
        if (found === undefined) continue;
        if (random.chance(0.5)) counts.set(key, { ...found, isDrained: true });
        else {
          counts.delete(key);
          ended.set(key, found.statistics);
        }
      }
    };
    const serve = (key: string): void => {
      served.add(key);
      statistics.learn([key], []);
      for (const { counts } of threads) {
        const found = counts.get(key);
        if (found !== undefined) counts.set(key, { ...found, isDrained: false });
      }
    };
    const meet = (index: number, key: string): void => {
      const { counts, ended } = threads[index]!;
      const before = counts.get(key)?.statistics ?? ended.get(key) ?? statisticsOf(openCounters());
      ended.delete(key);
      counts.set(key, { statistics: count(random, before), isDrained: false });
      untold[index]!.set(key, (untold[index]!.get(key) ?? 0) + 1);
    };
    const answerOf = (index: number): void => {
      const { counts, ended } = threads[index]!;
      const services = new Map([...counts].map(([key, one]) => [key, one.statistics]));
      statistics.answered(threads[index]!, { services, ended: new Map(ended) });
      ended.clear();
      for (const [key, connections] of untold[index]!) told.set(key, (told.get(key) ?? 0) + connections);
      untold[index]!.clear();
    };
    const drained = (index: number): void => {
      const { counts, ended } = threads[index]!;
      for (const [key, { statistics: one, isDrained }] of counts) {
        if (!isDrained) continue;
        counts.delete(key);
        ended.set(key, one);
      }
    };
    const crash = (index: number): void => {
      statistics.ended(threads[index]!);
      threads[index] = { counts: new Map(), ended: new Map() };
      untold[index]!.clear();
    };
    for (let step = 0; step < STEPS; step++) {
      const [key, index] = [random.pick(keys), random.below(threads.length)];
      const what = random.below(20);
      if (what < 2) (served.has(key) ? remove : serve)(key);
      else if (what < 3) crash(index);
      else if (what < 5) drained(index);
      else if (what < 9) answerOf(index);
      else if (served.has(key)) meet(index, key);
      for (const [name, row] of statistics.services()) {
        const [now, before] = [numbers(row), highest.get(name) ?? []];
        assert.ok(
          before.every((value, at) => now[at]! >= value),
          `seed ${seed}, step ${step}: ${name} fell from ${before} to ${now}`,
        );
        highest.set(name, now);
        assert.is(row.connections, told.get(name), `seed ${seed}, step ${step}: ${name}`);
      }
      const shownKeys = new Set(statistics.services().keys());
      for (const name of served) assert.is(shownKeys.has(name), told.has(name), `seed ${seed}, step ${step}: ${name}`);
    }
  }
});

test.run();
