/** The userspace backend. How connections come in and how they are forwarded: README.md beside this file. */
import { randomBytes } from 'node:crypto';
import type { BackendPlugin } from '../../core/backend.ts';
import { createBackend } from './backend.ts';
import { createAffinityMemory } from './forward/affinity-table.ts';
import { freePort } from './free-port.ts';
import { parseOptions } from './options.ts';
import { probe } from './probe.ts';
import { render } from './render.ts';
import { createStatistics } from './statistics.ts';

/** Clients that session affinity remembers at a time. */
const CLIENTS = 65_536;

/** Counters never fall while the process runs, whichever backends come and go. */
const statistics = createStatistics();

const plugin: BackendPlugin = {
  name: 'userspace',
  apiVersion: 1,
  summary: 'forwards TCP and UDP in this process; needs no rights, uses nf_tables where it may; IPv4 and IPv6',
  hidesSources: true,
  endsWithProcess: true,
  protocols: ['TCP', 'UDP'],
  async create(host, rawOptions) {
    const options = parseOptions(rawOptions);
    return createBackend(host, {
      ...(await probe(host, options)),
      options,
      module: new URL('./worker.ts', import.meta.url),
      affinity: createAffinityMemory(CLIENTS, [seed(), seed()]),
      statistics,
      freePort,
    });
  },
  render,
};

function seed(): number {
  return randomBytes(4).readInt32LE();
}

export default plugin;
