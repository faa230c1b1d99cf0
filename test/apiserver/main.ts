/**
 * The test API server as a program, for benchmarks and for trying things by hand:
 *
 *   node test/apiserver/main.ts --folder DIR [--port 0] [--host 127.0.0.1] [--manifests FILE|FOLDER]
 *                               [--services N --endpoints M]
 *
 * Prints the path of a kubeconfig when it is ready, and serves until SIGTERM or SIGINT. Besides the administrator's, it
 * leaves a kubeconfig of the user system:kube-proxy in DIR/kube-proxy/kubeconfig.
 */
import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { isJsonObject, type JsonObject } from './api/schema.ts';
import { startApiServer } from './server.ts';
import { workload } from './workload.ts';

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      folder: { type: 'string' },
      port: { type: 'string', default: '0' },
      host: { type: 'string', default: '127.0.0.1' },
      manifests: { type: 'string' },
      services: { type: 'string', default: '0' },
      endpoints: { type: 'string', default: '10' },
    },
  });
  if (values.folder === undefined) {
    console.error('--folder: missing; give a folder for the kubeconfig and the keys');
    return 2;
  }
  const numbers = { port: Number(values.port), services: Number(values.services), endpoints: Number(values.endpoints) };
  for (const [name, number] of Object.entries(numbers)) {
    if (Number.isInteger(number) && number >= 0) continue;
    console.error(`--${name}: not a whole number`);
    return 2;
  }
  mkdirSync(values.folder, { recursive: true });
  const { host, folder } = values;
  const server = await startApiServer({ host, folder, port: numbers.port });
  if (values.manifests !== undefined) server.objects.applyAll(readManifests(values.manifests));
  if (numbers.services > 0) {
    server.objects.applyAll(workload({ services: numbers.services, endpointsPerService: numbers.endpoints }));
  }
  const ended = new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve());
  });
  server.kubeconfigFor({ kind: 'token', token: server.tokens.issue('system:kube-proxy') }, 'kube-proxy');
  console.log(server.adminKubeconfig());
  await ended;
  await server.stop();
  return 0;
}

function readManifests(path: string): readonly JsonObject[] {
  const files = statSync(path).isDirectory()
    ? readdirSync(path)
        .filter((name) => /\.(ya?ml|json)$/.test(name))
        .sort()
        .map((name) => join(path, name))
    : [path];
  return files.flatMap((file) =>
    parseAllDocuments(readFileSync(file, 'utf8')).flatMap((document) => {
      const value: unknown = document.toJS();
      if (!isJsonObject(value)) return [];
      return value.kind === 'List' && Array.isArray(value.items) ? (value.items as JsonObject[]) : [value];
    }),
  );
}
