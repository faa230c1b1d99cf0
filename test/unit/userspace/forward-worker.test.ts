/** The module that a thread runs: an engine that obeys messages, and answers them. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createOccupancyMemory } from '../../../plugins/userspace/forward/occupancy.ts';
import type { FromThread, ToThread } from '../../../plugins/userspace/thread-messages.ts';
import runWorker from '../../../plugins/userspace/worker.ts';
import { ask, LIMITS, listener, named, noSocketFacts, service, until } from './forward-world.ts';

const test = suite('forward worker');
const KEY = service().key;

test('a thread does what it is told, says when, and forwards', async () => {
  const said: FromThread[] = [];
  let order: (message: ToThread) => void = () => {};
  runWorker(
    {
      post: (message) => said.push(structuredClone(message) as FromThread),
      onMessage: (listen) => {
        order = listen;
      },
      sockets: noSocketFacts,
    },
    { limits: LIMITS, affinity: undefined, occupancy: createOccupancyMemory(1), thread: 0 },
  );
  const server = await named('answer');
  const cluster = [{ ip: server.ip, port: server.port }];
  const upsert = [service({ cluster, affinitySeconds: 10 })];
  order(structuredClone({ type: 'update', id: 7, update: { upsert, listen: { open: [listener()] } } }));
  assert.equal(
    said.map(({ type }) => type),
    ['event', 'applied'],
  );
  const [first, second] = said;
  const event = first?.type === 'event' ? first.event : undefined;
  const port = event?.event === 'listening' ? event.port : 0;
  assert.equal(second, { type: 'applied', id: 7 });
  assert.equal([await ask(port), await ask(port)], ['answer', 'answer']);
  const statistics = () => {
    order({ type: 'statistics', id: 8 });
    const last = said.at(-1);
    return last?.type === 'statistics' ? last.statistics : undefined;
  };
  await until('both have ended', () => statistics()?.openConnections === 0);
  assert.is(statistics()?.services.get(KEY)?.connections, 2);
  order({ type: 'update', id: 9, update: { remove: [KEY], listen: { close: ['web'] } } });
  assert.equal(said.at(-1), { type: 'applied', id: 9 });
  assert.is(await ask(port), 'ECONNREFUSED');
  server.close();
});

test.run();
