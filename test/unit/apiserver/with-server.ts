/** Registers tests that need a running server; without openssl they are left out and counted. */
import { suite, type Test } from 'uvu';
import { opensslProblem } from '../../apiserver/certificates.ts';
import { type ApiServer, type ApiServerOptions, startApiServer } from '../../apiserver/server.ts';
import { skip } from '../../skip.ts';
import { type Client, type ClientOptions, createClient } from './client.ts';

export interface ServerSuite {
  /** A test with a server of its own and a client of it. */
  test(title: string, run: (server: ApiServer, client: Client) => Promise<void>, options?: ApiServerOptions): void;
  client(server: ApiServer, options?: ClientOptions): Client;
  run: Test['run'];
}

export function serverSuite(name: string): ServerSuite {
  const tests = suite(name);
  const problem = opensslProblem();
  let clients: Client[] = [];
  const client = (server: ApiServer, options: ClientOptions = {}): Client => {
    const made = createClient(server, options);
    clients.push(made);
    return made;
  };
  return {
    client,
    run: tests.run,
    test(title, run, options = {}) {
      if (problem !== undefined) {
        skip(title, problem);
        return;
      }
      tests(title, async () => {
        const server = await startApiServer(options);
        try {
          await run(server, client(server));
        } finally {
          for (const one of clients) one.close();
          clients = [];
          await server.stop();
        }
      });
    },
  };
}

export const SERVICES = '/api/v1/namespaces/default/services';

export function service(name: string, more: Readonly<Record<string, unknown>> = {}) {
  return { apiVersion: 'v1', kind: 'Service', metadata: { name, ...more }, spec: { ports: [{ port: 80 }] } };
}
