/** The iptables backend. How its data plane works and how to look at it: README.md beside this file. */
import type { BackendPlugin } from '../../core/backend.ts';
import { createBackend } from './backend.ts';
import { cleanup } from './cleanup.ts';
import { parseOptions } from './options.ts';
import { probe } from './probe.ts';
import { render } from './render.ts';

const plugin: BackendPlugin = {
  name: 'iptables',
  apiVersion: 1,
  summary: 'DNAT rules written with iptables-restore; nft and legacy variants, IPv4 and IPv6',
  async create(host, rawOptions) {
    const options = parseOptions(rawOptions);
    return createBackend(host, options, await probe(host, options), () => cleanup(host));
  },
  render,
};

export default plugin;
