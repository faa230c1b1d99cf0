/** A process without descriptors: an engine in a process of its own, under a low limit of open files. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { EngineStatistics } from '../../../plugins/userspace/forward/messages.ts';
import { type Client, connect, endpoint, until } from './forward-world.ts';

const test = suite('forward descriptors');
const CHILD = fileURLToPath(new URL('./forward-child.ts', import.meta.url));

interface Told {
  readonly port?: number;
  readonly statistics?: Pick<EngineStatistics, 'openConnections' | 'outOfDescriptors'>;
  readonly warned?: string;
}

test('without descriptors new clients are refused, those that are served go on, and later ones again', async () => {
  const server = await endpoint((socket) => socket.pipe(socket));
  const child = spawn('sh', ['-c', `ulimit -n 80; exec "${process.execPath}" "${CHILD}" ${server.port}`], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const told: Told[] = [];
  child.on('message', (message) => told.push(message as Told));
  const last = <K extends keyof Told>(what: K): Told[K] | undefined =>
    told.findLast((one) => one[what] !== undefined)?.[what];
  try {
    await until('it listens', () => last('port') !== undefined);
    const port = last('port')!;
    const clients: Client[] = [];
    const first = connect(port);
    first.socket.write('1');
    await until('the first is served', () => first.received() === '1');
    for (let index = 0; index < 100; index++) {
      const client = connect(port);
      client.socket.write('x');
      clients.push(client);
    }
    await until('each is served or refused', () =>
      clients.every((client) => client.received() !== '' || client.outcome() !== undefined),
    );
    const refused = clients.filter((client) => client.outcome() !== undefined);
    assert.ok(refused.length > 30 && refused.length < 100, `${refused.length} refused`);
    first.socket.write('2');
    await until('the first is still served', () => first.received() === '12');
    for (const { socket } of clients) socket.destroy();
    child.send('statistics');
    await until('they have ended', () => {
      if (last('statistics')?.openConnections === 1) return true;
      child.send('statistics');
      return false;
    });
    const statistics = last('statistics')!;
    assert.ok(statistics.outOfDescriptors > 0, 'counted');
    assert.ok(
      told.some(({ warned }) => warned?.startsWith('No descriptor is left')),
      'said',
    );
    const later = connect(port);
    later.socket.write('y');
    await until('a later one is served', () => later.received() === 'y');
    later.socket.destroy();
    first.socket.destroy();
    assert.is(child.exitCode, null);
  } finally {
    child.kill();
    await once(child, 'exit');
    server.close();
  }
});

test.run();
