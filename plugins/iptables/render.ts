/** What a first sync writes on an empty host, as text; pure, for `kube-proxy render` and golden tests. */
import type { Change } from '../../core/backend.ts';
import { parseOptions } from './options.ts';
import { createPlanner } from './plan.ts';
import { repair } from './repair.ts';
import { restoreInput } from './restore-text.ts';

export function render(changes: readonly Change[], rawOptions: Readonly<Record<string, unknown>>): string {
  const options = parseOptions(rawOptions);
  const nothing = { mangle: new Map(), nat: new Map(), filter: new Map() };
  const parts = changes.map((change) => {
    const { family } = change;
    const planner = createPlanner({
      family,
      masqueradeBit: options.masqueradeBit,
      affinity: options.affinity === 'recent' ? 'recent' : 'ipset',
      hairpin: options.hairpin === 'rules' ? 'rules' : 'bpf',
      counters: false,
    });
    const plan = planner.apply(change);
    const inet = family === 'IPv4' ? 'inet' : 'inet6';
    const sets = [...planner.sets()].map(
      ([name, seconds]) => `# ipset create ${name} hash:ip family ${inet} timeout ${seconds}\n`,
    );
    const command = family === 'IPv4' ? 'iptables-restore' : 'ip6tables-restore';
    return `# ${command} --noflush\n${sets.join('')}${restoreInput(repair(nothing, planner.desired, plan.localnet))}`;
  });
  return parts.join('\n');
}
