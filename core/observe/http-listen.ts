/** server.listen as a promise. */
import type { ListenOptions, Server } from 'node:net';

/** Resolves when the server listens, rejects if it cannot. */
export type Listen = (server: Server, options: ListenOptions) => Promise<void>;

export const listenOn: Listen = (server, options) =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(options, () => {
      server.off('error', reject);
      resolve();
    });
  });
