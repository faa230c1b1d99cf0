/** The IPVS backend. How its data plane works and how to look at it: README.md beside this file. */
import type { BackendPlugin } from '../../core/backend.ts';
import { createBackend } from './backend.ts';
import { createCleaner } from './cleanup.ts';
import { parseOptions } from './options.ts';
import { probe } from './probe.ts';
import { render } from './render.ts';

const plugin: BackendPlugin = {
  name: 'ipvs',
  apiVersion: 1,
  summary:
    "virtual servers in the kernel's IPVS, written over netlink; schedulers, weights, graceful ends; IPv4 and IPv6",
  async create(host, rawOptions) {
    const options = parseOptions(rawOptions);
    return options.cleanupOnly ? createCleaner(host, options) : createBackend(host, await probe(host, options));
  },
  render,
};

export default plugin;
