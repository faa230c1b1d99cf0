/** Endpoints, Services and engines that go: nothing new comes to them, and what is open ends with the grace. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type FakeClock, fakeClock } from '../sync/fake-clock.ts';
import { ask, connect, type Endpoint, endpoint, listener, service, until, type World, world } from './forward-world.ts';

const test = suite('forward drain');
const KEY = service().key;
const cleanups: (() => unknown)[] = [];

interface Stage {
  readonly made: World;
  readonly clock: FakeClock;
  readonly one: Endpoint;
  readonly two: Endpoint;
  readonly port: number;
}

async function stage(): Promise<Stage> {
  const clock = fakeClock();
  const made = world({ graceSeconds: 30 }, { clock });
  const one = await endpoint((socket) => socket.pipe(socket));
  const two = await endpoint((socket) => socket.end('two'));
  made.engine.update({ upsert: [service({ cluster: [one] })], listen: { open: [listener()] } });
  cleanups.push(
    () => made.engine.close(0),
    () => one.close(),
    () => two.close(),
  );
  return { made, clock, one, two, port: made.port('web') };
}

async function echo(client: ReturnType<typeof connect>, text: string): Promise<void> {
  const all = client.received() + text;
  client.socket.write(text);
  await until(`${text} came back`, () => client.received() === all);
}

test.after.each(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

test('an endpoint that was removed gets nothing new, keeps what is open, and loses it after the grace', async () => {
  const { made, clock, two, port } = await stage();
  const client = connect(port);
  await echo(client, 'a');
  made.engine.update({ upsert: [service({ cluster: [two] })] });
  assert.equal([await ask(port), await ask(port)], ['two', 'two']);
  await clock.advance(29_999);
  await echo(client, 'b');
  await clock.advance(1);
  await until('it is reset', () => client.outcome() === 'ECONNRESET');
  assert.is(made.engine.statistics().services.get(KEY)!.failures.drained, 1);
  assert.is(await ask(port), 'two');
});

test('an endpoint that comes back within the grace keeps its connections', async () => {
  const { made, clock, one, two, port } = await stage();
  const client = connect(port);
  await echo(client, 'a');
  made.engine.update({ upsert: [service({ cluster: [two] })] });
  made.engine.update({ upsert: [service({ cluster: [two], affinitySeconds: 10 })] });
  await clock.advance(20_000);
  made.engine.update({ upsert: [service({ cluster: [one] })] });
  await clock.advance(100_000);
  await echo(client, 'b');
  client.socket.destroy();
});

test('the grace is not begun anew by a change of something else', async () => {
  const { made, clock, two, port } = await stage();
  const client = connect(port);
  await echo(client, 'a');
  made.engine.update({ upsert: [service({ cluster: [two] })] });
  await clock.advance(20_000);
  made.engine.update({ upsert: [service({ cluster: [two], affinitySeconds: 10 })] });
  await clock.advance(10_000);
  await until('it is reset', () => client.outcome() === 'ECONNRESET');
});

test('a Service that was removed is drained, and its counters go with its last connection', async () => {
  const { made, clock, port } = await stage();
  const client = connect(port);
  await echo(client, 'a');
  made.engine.update({ remove: [KEY] });
  assert.is(await ask(port), 'ECONNRESET');
  await echo(client, 'b');
  assert.is(made.engine.statistics().services.get(KEY)!.open, 1);
  await clock.advance(30_000);
  await until('it is reset', () => client.outcome() === 'ECONNRESET');
  const { services, ended } = made.engine.statistics();
  assert.is(services.size, 0);
  const { connections, open, bytesIn, failures } = ended.get(KEY)!;
  assert.equal([ended.size, connections, open, bytesIn, failures.drained], [1, 1, 0, 2, 1]);
  assert.is(made.engine.statistics().ended.size, 0, 'told once');
});

test('a Service that goes before anybody asked has not counted in vain, and one that comes back goes on', async () => {
  const { made, two, port } = await stage();
  const cluster = [two];
  made.engine.update({ upsert: [service({ cluster })] });
  const count = () => {
    const { services, ended } = made.engine.statistics();
    return [services.get(KEY)?.connections, ended.get(KEY)?.connections];
  };
  const nothingIsOpen = () => until('nothing is open', () => made.engine.statistics().openConnections === 0);
  await ask(port);
  await nothingIsOpen();
  made.engine.update({ remove: [KEY] });
  made.engine.update({ upsert: [service({ cluster })] });
  await ask(port);
  assert.equal(count(), [2, undefined], 'it never went, for who asks now');
  await nothingIsOpen();
  made.engine.update({ remove: [KEY] });
  assert.equal(count(), [undefined, 2]);
  made.engine.update({ upsert: [service({ cluster })] });
  assert.equal(count(), [undefined, undefined]);
  await ask(port);
  assert.equal(count(), [1, undefined], 'from 0, since its end was told');
});

test('a Service that comes back takes its connections and counters over', async () => {
  const { made, clock, one, port } = await stage();
  const client = connect(port);
  await echo(client, 'a');
  made.engine.update({ remove: [KEY] });
  made.engine.update({ upsert: [service({ cluster: [one] })] });
  await clock.advance(100_000);
  await echo(client, 'b');
  const { connections, open } = made.engine.statistics().services.get(KEY)!;
  assert.equal([connections, open], [1, 1]);
  client.socket.destroy();
});

test('an engine that closes lets open connections end, within the grace', async () => {
  const { made, clock, port } = await stage();
  const [ending, staying] = [connect(port), connect(port)];
  await echo(ending, 'a');
  await echo(staying, 'b');
  let isClosed = false;
  const closing = made.engine.close(5_000).then(() => {
    isClosed = true;
  });
  assert.is(await ask(port), 'ECONNREFUSED');
  ending.socket.end('c');
  await until('it ends by itself', () => ending.outcome() === 'end');
  assert.is(ending.received(), 'ac');
  await clock.advance(4_999);
  assert.is(isClosed, false);
  await clock.advance(1);
  await closing;
  await until('it is reset', () => staying.outcome() === 'ECONNRESET');
  assert.is(clock.pending(), 0);
});

test.run();
