/** An engine as a process, for tests that need one: forwards to the port of its argument, and tells its parent. */
import { listener, service, until, world } from './forward-world.ts';

const made = world();
let told = 0;

function tell(message: object): void {
  process.send?.(message);
}

function tellEvents(): void {
  for (const event of made.events.slice(told)) if (event.event === 'log') tell({ warned: event.message });
  told = made.events.length;
}

made.engine.update({
  upsert: [service({ cluster: [{ ip: '127.0.0.1', port: Number(process.argv[2]) }] })],
  listen: { open: [listener()] },
});
await until('it listens', () => made.events.length > 0);
tell({ port: made.port('web') });
process.on('message', () => {
  tellEvents();
  const { openConnections, outOfDescriptors } = made.engine.statistics();
  tell({ statistics: { openConnections, outOfDescriptors } });
});
process.on('disconnect', () => process.exit());
