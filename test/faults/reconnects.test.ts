/** Months of broken connections in seconds: nothing may be left of them, neither memory nor anything that is counted. */
import { readdirSync } from 'node:fs';
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as assert from 'uvu/assert';
import { RESOURCES } from './bounds.ts';
import { faultSuite } from './fault-suite.ts';
import { running, type Scene } from './scene.ts';

const test = faultSuite('faults: reconnects');
const RECONNECTS = 3_000;
/** Less than the smallest object for each reconnect, and more than what comes and goes by chance. */
const MOST_GROWTH_BYTES = 256 * 1024;
/** Compiled code, which the runtime makes for as long as anything gets hotter. */
const CODE = /code|trusted|read_only|shared/;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Bytes of objects and buffers when all garbage is gone. */
async function inUse({ server, log, asked }: Scene): Promise<number> {
  // What the server remembers of the past is its own.
  server.compact();
  server.forgetRequests();
  log.lines.length = 0;
  (asked as number[]).length = 0;
  for (let round = 0; round < 3; round++) {
    await new Promise((resolve) => void setTimeout(resolve, 20));
    collect();
  }
  const objects = getHeapSpaceStatistics().filter(({ space_name }) => !CODE.test(space_name));
  return objects.reduce((sum, space) => sum + space.space_used_size, process.memoryUsage().external);
}

test(`${RECONNECTS} reconnects leave no memory, no socket, no listener and no file behind`, () =>
  running({ pace: 400, requestsIn10s: 400 }, async (stage) => {
    const { server, churn, clock, random, until, status, settled } = stage;
    const watches = () => RESOURCES.reduce((sum, resource) => sum + status().resources[resource].watches, 0);
    const reconnect = async (times: number): Promise<void> => {
      const end = watches() + times;
      while (watches() < end) {
        for (const watch of server.watches()) watch[random.pick(['reset', 'close', 'end', 'end', 'end'] as const)]();
        if (random.chance(0.02)) server.compact();
        for (let write = 0; write < 8; write++) churn.step();
        await clock.sleep(1_200);
        server.forgetRequests();
        stage.log.lines.length = 0;
      }
      await until('every watch is open', () => server.watches().length === RESOURCES.length);
    };
    const files = () => readdirSync('/proc/self/fd').length;

    await reconnect(1_000);
    await settled();
    const before = { bytes: await inUse(stage), files: files() };
    await reconnect(RECONNECTS);
    await settled();
    const after = { bytes: await inUse(stage), files: files() };

    const grown = after.bytes - before.bytes;
    assert.ok(grown < MOST_GROWTH_BYTES, `${grown} bytes more than before, ${Math.round(grown / RECONNECTS)} for each`);
    // Both ends of a connection are files of this process, and a resource may have two while one takes over.
    const inFlight = RESOURCES.length * 4;
    assert.ok(after.files <= before.files + inFlight, `${after.files} open files, ${before.files} before`);
    assert.ok(server.connections() <= RESOURCES.length * 2, `${server.connections()} connections`);
    assert.is(server.watches().length, RESOURCES.length);
  }));

test.run();
