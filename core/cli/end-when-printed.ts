/**
 * A command that is done, in a process where a plugin may have left timers, sockets and listeners behind: they must
 * neither keep it alive nor give it another status. Who reads its output slowly may keep it.
 */
import { Writable } from 'node:stream';
import { endProcess } from '../node/end-process.ts';

/** As it is before a plugin is loaded, which may break that of a stream. */
const { write } = Writable.prototype;

/** `status` is asked once all is written: that may fail. */
export async function endWhenPrinted(status: () => number): Promise<never> {
  await Promise.all([process.stdout, process.stderr].map(written));
  endProcess(status());
}

function written(stream: NodeJS.WriteStream): Promise<void> {
  // Where it cannot be written, that is told to the stream's own listener.
  return new Promise((done) => void Reflect.apply(write, stream, ['', () => done()]));
}
