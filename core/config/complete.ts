/**
 * What a configuration leaves to be worked out from the rest of it: which data plane, where the servers listen. After
 * this an effective configuration says in full what holds.
 */
import { parseIP } from '../model/ip.ts';
import { formatBindAddress, parseBindAddress } from './bind-address.ts';
import { DEFAULTS, type KubeProxyConfiguration, LOCAL_MODES, MODES, NO_SERVER } from './configuration.ts';

export const HEALTHZ_PORT = 10256;
export const METRICS_PORT = 10249;

export function complete(given: KubeProxyConfiguration): KubeProxyConfiguration {
  const { clientConnection: client, logging } = given;
  const isMode = MODES.some((mode) => mode === given.backend);
  return {
    ...given,
    mode: isMode ? given.backend : given.mode === '' && given.backend === '' ? MODES[0] : given.mode,
    backend: isMode ? '' : given.backend,
    hostnameOverride: canonicalHostname(given.hostnameOverride) || given.hostnameOverride,
    detectLocalMode: given.detectLocalMode || LOCAL_MODES[0],
    healthzBindAddress: serverAddress(given.healthzBindAddress, defaultHealthzHost(given.bindAddress), HEALTHZ_PORT),
    metricsBindAddress: serverAddress(given.metricsBindAddress, defaultMetricsHost(given.bindAddress), METRICS_PORT),
    logging: { ...logging, format: logging.format || DEFAULTS.logging.format },
    clientConnection: {
      ...client,
      contentType: client.contentType || DEFAULTS.clientConnection.contentType,
      // Zero is no limit that anyone could work with, and client-go takes it for its default, too.
      qps: client.qps || DEFAULTS.clientConnection.qps,
      burst: client.burst || DEFAULTS.clientConnection.burst,
    },
  };
}

/** Whose periods and masquerade settings count. Every data plane but these two goes by the stanza of iptables. */
export function stanzaOf({ mode }: KubeProxyConfiguration): 'iptables' | 'ipvs' | 'nftables' {
  return mode === 'ipvs' || mode === 'nftables' ? mode : 'iptables';
}

export function defaultHealthzHost(bindAddress: string): string {
  return isIPv6(bindAddress) ? '::' : '0.0.0.0';
}

export function defaultMetricsHost(bindAddress: string): string {
  return isIPv6(bindAddress) ? '::1' : '127.0.0.1';
}

/** Node names are lower-case DNS names; hostnames need not be. */
export function canonicalHostname(name: string): string {
  return name.trim().toLowerCase();
}

/** What is no address stays as it is, for the validation to name. */
function serverAddress(text: string, defaultHost: string, port: number): string {
  if (text === NO_SERVER) return text;
  const address = text === '' ? { host: defaultHost, port } : parseBindAddress(text, port);
  return address ? formatBindAddress(address) : text;
}

function isIPv6(bindAddress: string): boolean {
  return parseIP(bindAddress)?.family === 'IPv6';
}
