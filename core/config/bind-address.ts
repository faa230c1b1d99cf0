/** Where the health and the metrics server listen: "IP:port", or an IP alone for the port that the server has anyway. */
import { ipPort, parseIP } from '../model/ip.ts';

export interface BindAddress {
  /** Canonical. */
  readonly host: string;
  readonly port: number;
}

/** Undefined when the text is no such address. `defaultPort` stands in where the text has none. */
export function parseBindAddress(text: string, defaultPort: number): BindAddress | undefined {
  const alone = parseIP(text);
  if (alone) return { host: alone.ip, port: defaultPort };
  const [, bracketed, plain, digits] = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(text) ?? [];
  const host = parseIP(bracketed ?? plain ?? '');
  const port = Number(digits);
  return host && port >= 1 && port <= 65_535 ? { host: host.ip, port } : undefined;
}

/** "0.0.0.0:10256", "[::]:10256". */
export function formatBindAddress({ host, port }: BindAddress): string {
  return ipPort(host, port);
}
