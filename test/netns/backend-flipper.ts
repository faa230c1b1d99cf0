/**
 * A program of the tests: makes a backend and gives it one change after another as fast as it takes them, without the
 * core's pauses, until stdin ends. One service port, whose endpoints grow, shrink and change places. The argument is a
 * `FlipperInput` as JSON; it prints "begun" once all is served, and in the end how often it changed what.
 */
import { setImmediate as turn } from 'node:timers/promises';
import type { ServicePort } from '../../core/backend.ts';
import { BUILT_IN, loadBackend } from '../../core/cli/backends.ts';
import { createHost } from '../../core/node/host.ts';
import { endpoint, full, node, partial, servicePort } from '../unit/iptables/samples.ts';

interface FlipperInput {
  readonly backend: { readonly name: string; readonly options: Readonly<Record<string, string>> };
  readonly servicePort: Partial<ServicePort>;
  /** Addresses of endpoints on port 8080. */
  readonly endpoints: readonly string[];
}

const input = JSON.parse(process.argv[2] ?? '') as FlipperInput;
const log = { error: console.error, warn: console.error, info() {}, verbose() {}, enabled: () => false };
const host = createHost({ log, signal: new AbortController().signal, requestFullSync() {} });
const plugin = await loadBackend(BUILT_IN.find(({ name }) => name === input.backend.name)!);
const backend = await plugin.create(host, input.backend.options);
const view = node({
  addresses: ['127.0.0.1', '192.168.50.10', '192.168.60.10'],
  localDetector: { kind: 'cidr', cidr: '10.244.0.0/16' },
});

/** A window of 1 to all endpoints, beginning anywhere. */
function state(round: number): ServicePort {
  const all = input.endpoints;
  const length = 1 + ((round * 7) % all.length);
  const chosen = [...all, ...all].slice(round % all.length, (round % all.length) + length).sort();
  return servicePort({ ...input.servicePort, cluster: chosen.map((ip) => endpoint(ip)) });
}

await backend.sync(full([state(0)], view));
console.log('begun');
let ended = false;
process.stdin.resume().on('end', () => {
  ended = true;
});
const begin = performance.now();
let rounds = 0;
while (!ended) {
  await backend.sync(partial([state(++rounds)], [], view));
  if (rounds % 16 === 0) await turn();
}
console.log(`${rounds} changes, ${Math.round((1000 * rounds) / (performance.now() - begin))} a second`);
await backend.close();
process.exit(0);
