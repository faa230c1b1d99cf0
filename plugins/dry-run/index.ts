/**
 * A backend that changes nothing and says what it would serve: to try manifests, to watch what the control plane
 * does to a node, and, at a few hundred lines with everything a backend needs, to begin one's own from.
 *
 *   Change ──▶ plan.ts: compare with the last state ──▶ text.ts: lines for the log
 *                                                   └─▶ JSON lines on standard output
 */
import type { Backend, BackendPlugin, Change, Host, Inspectable, IPFamily } from '../../core/backend.ts';
import { EMPTY, plan, type State } from './plan.ts';
import { differenceText, stateText } from './text.ts';

interface Options {
  readonly format: 'text' | 'json';
}

/** `print` receives the JSON lines. */
export function dryRunPlugin(print: (text: string) => void): BackendPlugin {
  return {
    name: 'dry-run',
    apiVersion: 1,
    summary: 'changes nothing; prints what would be served',
    leavesHostAlone: true,
    create: async (host, options) => createBackend(host, parseOptions(options), print),
    render(changes, options) {
      const { format } = parseOptions(options);
      const states = changes.map((change) => ({ change, plan: plan(EMPTY, change) }));
      if (format === 'text') return states.map((each) => stateText(each.change.family, each.plan.next)).join('\n');
      return states.map((each) => jsonLines(each.plan.differences)).join('');
    },
  };
}

export default dryRunPlugin((text) => process.stdout.write(text));

function createBackend(host: Host, { format }: Options, print: (text: string) => void): Backend & Inspectable {
  const states = new Map<IPFamily, State>();
  return {
    families: ['IPv4', 'IPv6'],
    async sync(change: Change) {
      const { differences, next } = plan(states.get(change.family) ?? EMPTY, change);
      const counts = { operations: differences.length, totals: { service_ports: next.ports.size } };
      if (format === 'json') {
        const { family, full } = change;
        const commit = { op: 'commit', family, full, operations: differences.length, servicePorts: next.ports.size };
        print(jsonLines([...differences, commit]));
      } else {
        for (const difference of differences) host.log.info(differenceText(difference));
      }
      states.set(change.family, next);
      return { ...counts, bytes: 0 };
    },
    async dump() {
      return [...states].map(([family, state]) => stateText(family, state)).join('\n');
    },
    async cleanup() {},
    async close() {},
  };
}

function jsonLines(records: readonly unknown[]): string {
  return records.map((record) => `${JSON.stringify(record)}\n`).join('');
}

function parseOptions(raw: Readonly<Record<string, unknown>>): Options {
  const faults: string[] = [];
  let format: Options['format'] = 'text';
  for (const [name, value] of Object.entries(raw)) {
    if (name !== 'format') faults.push(`${name}: unknown option; known is format`);
    else if (value === 'text' || value === 'json') format = value;
    else faults.push(`format: ${JSON.stringify(value)} is neither text nor json`);
  }
  if (faults.length > 0) {
    throw Object.assign(new Error(`dry-run backend options: ${faults.join('; ')}`), { code: 'KP_BACKEND_OPTION' });
  }
  return { format };
}
