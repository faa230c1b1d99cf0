/** What a first sync makes of an empty host: servers as `ipvsadm -S -n`, addresses, and the table; pure. */
import type { Change, Printers, RealServer, VirtualServer } from '../../core/backend.ts';
import { tableOf } from '../shared/table/whole.ts';
import type { ServerSpec } from './frontends.ts';
import { INTERFACE } from './layout.ts';
import { parseOptions } from './options.ts';
import { createPlanner } from './plan.ts';

export function render(
  changes: readonly Change[],
  rawOptions: Readonly<Record<string, unknown>>,
  { nftables }: Printers,
): string {
  const { scheduler, comments } = parseOptions(rawOptions);
  return changes
    .map((change) => {
      const balance = { scheduler, lack: () => undefined };
      const planner = createPlanner({ family: change.family, comments, balance });
      planner.adopt(change, () => undefined);
      const servers = [...planner.servers()].flatMap(serverLines);
      const prefix = change.family === 'IPv4' ? 32 : 128;
      const addresses = [...planner.addresses()].map((ip) => `ip address add ${ip}/${prefix} dev ${INTERFACE}`);
      const lines = [...servers, ...addresses].map((line) => `${line}\n`).join('');
      return lines + nftables(tableOf(planner));
    })
    .join('\n');
}

const PROTOCOL_OPTIONS = { TCP: '-t', UDP: '-u', SCTP: '--sctp-service' } as const;

function serverLines({ server, reals }: ServerSpec): readonly string[] {
  const key = keyText(server);
  const { scheduler, persistenceSeconds, hashPort, hashFallback } = server;
  const flags = [hashFallback ? `${scheduler}-fallback` : '', hashPort ? `${scheduler}-port` : ''].filter(Boolean);
  const words = [
    `-A ${key} -s ${scheduler}`,
    persistenceSeconds > 0 ? `-p ${persistenceSeconds}` : '',
    flags.length > 0 ? `-b ${flags.join(',')}` : '',
  ];
  return [
    words.filter(Boolean).join(' '),
    ...reals.map((real) => `-a ${key} -r ${endpointText(real)} -m -w ${real.weight}`),
  ];
}

function keyText(server: VirtualServer): string {
  if ('mark' in server) return `-f ${server.mark}${server.family === 'IPv6' ? ' -6' : ''}`;
  return `${PROTOCOL_OPTIONS[server.protocol]} ${endpointText(server)}`;
}

function endpointText({ ip, port }: Pick<RealServer, 'ip' | 'port'>): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}
