/**
 * A backend in any language: a program that is told the desired state as JSON lines on its standard input, and
 * acknowledges on its output. See README.md for the protocol.
 *
 *   Change ──▶ desired.ts ──▶ backend.ts ──▶ session.ts ──lines of protocol.ts──▶ the program
 *              all of it      keeps it up    one run of it
 */
import type { BackendPlugin } from '../../core/backend.ts';
import { createBackend } from './backend.ts';
import { wholeChange } from './desired.ts';
import { optionFault, parseOptions } from './options.ts';
import { helloLine, syncLine } from './protocol.ts';

const plugin: BackendPlugin = {
  name: 'exec',
  apiVersion: 1,
  summary: 'a program of your own, told the desired state in JSON lines',
  async create(host, raw) {
    const options = parseOptions(raw);
    if (options.command !== '') return createBackend(host, options);
    const remedy = 'name it: --backend-option command=/path/of/the/program';
    throw optionFault(`command: missing; ${remedy}`);
  },
  render(changes, raw) {
    const { families, options } = parseOptions(raw);
    const served = changes.filter(({ family }) => families.includes(family));
    const syncs = served.flatMap(({ family, node, upsert }, index) => [
      ...syncLine(index + 1, wholeChange(family, node, upsert)),
    ]);
    return helloLine(families, options) + syncs.join('');
  },
};

export default plugin;
