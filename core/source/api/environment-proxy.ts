/**
 * Which proxy the environment asks for, by the rules of Go's net/http, which every other component of a cluster
 * follows: HTTPS_PROXY or HTTP_PROXY by the server's scheme, NO_PROXY with domains, addresses and CIDRs, and never for
 * this host itself. A kubeconfig's proxy-url comes first. (Node.js has support of its own, but its NO_PROXY knows no
 * CIDRs, and "10.0.0.0/8" is what stands there in clusters.)
 */
import { BlockList, isIP } from 'node:net';

export type Environment = Readonly<Record<string, string | undefined>>;

/** A URL, or undefined for a direct connection. */
export function proxyFromEnvironment(server: URL, environment: Environment): string | undefined {
  const read = (name: string): string => environment[name] || environment[name.toLowerCase()] || '';
  const proxy = read(server.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY');
  const host = server.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  const port = server.port || (server.protocol === 'https:' ? '443' : '80');
  if (proxy === '' || isThisHost(host)) return undefined;
  const direct = read('NO_PROXY')
    .split(',')
    .some((entry) => exempts(entry.trim().toLowerCase(), host, port));
  if (direct) return undefined;
  return proxy.includes('://') ? proxy : `http://${proxy}`;
}

function isThisHost(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** "*", "10.0.0.0/8", "192.0.2.1", "[2001:db8::1]:6443", ".example.org", "*.example.org", "example.org:6443". */
function exempts(entry: string, host: string, port: string): boolean {
  if (entry === '') return false;
  if (entry === '*') return true;
  const [, network = '', length = ''] = /^([0-9a-f.:]+)\/(\d+)$/.exec(entry) ?? [];
  if (isIP(network)) return isIP(host) === isIP(network) && inNetwork(host, network, Number(length));
  const [, bracketed, plain, only] = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d+))?$/.exec(entry) ?? [];
  const name = isIP(entry) ? entry : (bracketed ?? plain ?? '');
  if (name === '' || (only !== undefined && !isIP(entry) && only !== port)) return false;
  if (isIP(name)) return isIP(host) === isIP(name) && inNetwork(host, name, isIP(name) === 4 ? 32 : 128);
  const domain = name.startsWith('*.') ? name.slice(1) : name;
  return domain.startsWith('.') ? host.endsWith(domain) : host === domain || host.endsWith(`.${domain}`);
}

function inNetwork(host: string, network: string, length: number): boolean {
  const family = isIP(host) === 6 ? 'ipv6' : 'ipv4';
  if (length > (family === 'ipv6' ? 128 : 32)) return false;
  const list = new BlockList();
  list.addSubnet(network, length, family);
  return list.check(host, family);
}
