/**
 * Virtual and real servers in the words of `ipvsadm -Sn`, which `ipvsadm -R` reads; and with their thresholds, which
 * ipvsadm 1.31 leaves out there. Marks from 2^31 on, which it shows as negative numbers, are printed as it reads them.
 */
import type { RealServer, VirtualServer, VirtualServerKey } from '../ipvs.ts';
import { endpointName, wholeLength } from './ipvs-protocol.ts';

export interface PrintedServer {
  readonly server: Required<VirtualServer>;
  readonly reals: readonly Required<RealServer>[];
}

const PROTOCOL_OPTIONS = { TCP: '-t', UDP: '-u', SCTP: '--sctp-service' } as const;
const FORWARDING_OPTIONS = { masquerade: '-m', direct: '-g', tunnel: '-i', local: '-m', bypass: '-m' } as const;

/** A line for each server, sorted, with an end to each. */
export function printServers(servers: readonly PrintedServer[]): string {
  const lines = servers.flatMap(({ server, reals }) => [
    `-A ${keyText(server)} ${optionsText(server)}`,
    ...reals.map((real) => `-a ${keyText(server)} ${realText(real)}`),
  ]);
  return lines.sort().join('\n') + (lines.length > 0 ? '\n' : '');
}

function keyText(server: VirtualServerKey): string {
  if ('mark' in server) return `-f ${server.mark}${server.family === 'IPv6' ? ' -6' : ''}`;
  return `${PROTOCOL_OPTIONS[server.protocol]} ${endpointName(server)}`;
}

function optionsText(server: Required<VirtualServer>): string {
  const words = ['-s', server.scheduler];
  if (server.persistenceSeconds > 0) {
    words.push('-p', String(server.persistenceSeconds));
    const mask = maskText(server);
    if (mask !== '') words.push('-M', mask);
  }
  if (server.onePacket) words.push('-o');
  if (server.persistenceEngine !== '') words.push('--pe', server.persistenceEngine);
  const flags = schedulerFlags(server);
  if (flags !== '') words.push('-b', flags);
  return words.join(' ');
}

function schedulerFlags({ scheduler, hashFallback, hashPort }: Required<VirtualServer>): string {
  const isHash = scheduler === 'sh' || scheduler === 'mh';
  const names = isHash ? [`${scheduler}-fallback`, `${scheduler}-port`] : ['flag-1', 'flag-2'];
  return names.filter((_, index) => (index === 0 ? hashFallback : hashPort)).join(',');
}

/** "" for all bits. */
function maskText(server: Required<VirtualServer>): string {
  const { persistencePrefix } = server;
  const longest = wholeLength(server);
  if (persistencePrefix === longest) return '';
  if (longest === 128) return String(persistencePrefix);
  const mask = (0xffff_ffff << (32 - persistencePrefix)) >>> 0;
  return [mask >>> 24, (mask >>> 16) & 255, (mask >>> 8) & 255, mask & 255].join('.');
}

function realText(real: Required<RealServer>): string {
  const words = ['-r', endpointName(real), FORWARDING_OPTIONS[real.forwarding], '-w', String(real.weight)];
  if (real.forwarding === 'tunnel') words.push('--tun-type', 'ipip');
  if (real.upperThreshold > 0) words.push('-x', String(real.upperThreshold), '-y', String(real.lowerThreshold));
  return words.join(' ');
}
