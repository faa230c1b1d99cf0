/** A small HTTPS server with certificates of the test's own, in a folder that is removed at the end. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CertificateAuthority, createAuthority } from '../../apiserver/certificates.ts';

export interface TlsServer {
  readonly folder: string;
  readonly authority: CertificateAuthority;
  readonly port: number;
  readonly url: string;
  /** What is done with each request; replaced by tests. */
  handle: (request: IncomingMessage, response: ServerResponse) => void;
  readonly requests: readonly {
    readonly url: string;
    readonly authorization: string | undefined;
    readonly client: string;
  }[];
  /** TLS connections so far. */
  connections(): number;
  /** Present another certificate from now on. */
  present(authority: CertificateAuthority, names: readonly string[]): void;
  /** Write a file into the folder; returns its path. */
  write(name: string, content: string): string;
  stop(): Promise<void>;
}

/** Accepts connections with and without a client certificate; `names` are those of its own. */
export async function tlsServer(names: readonly string[] = ['IP:127.0.0.1']): Promise<TlsServer> {
  const folder = mkdtempSync(join(tmpdir(), 'api-connection-'));
  const authority = createAuthority(folder);
  const own = authority.issueServer(names);
  const requests: { url: string; authorization: string | undefined; client: string }[] = [];
  let connections = 0;
  const there = {
    handle: (_request: IncomingMessage, response: ServerResponse): void => {
      response.end('{}');
    },
  };
  const tls = { requestCert: true, rejectUnauthorized: false, ca: authority.certificate };
  const server = https.createServer({ ...tls, cert: own.certificate, key: own.key }, (request, response) => {
    const peer = (request.socket as import('node:tls').TLSSocket).getPeerCertificate();
    requests.push({
      url: request.url ?? '',
      authorization: request.headers.authorization,
      client: String(peer.subject?.CN ?? ''),
    });
    there.handle(request, response);
  });
  server.on('secureConnection', () => connections++);
  server.on('tlsClientError', () => {});
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;

  return {
    folder,
    authority,
    port,
    url: `https://127.0.0.1:${port}`,
    get handle() {
      return there.handle;
    },
    set handle(handle) {
      there.handle = handle;
    },
    requests,
    connections: () => connections,
    present(other, otherNames) {
      const { certificate, key } = other.issueServer(otherNames);
      server.setSecureContext({ ...tls, cert: certificate, key });
    },
    write(name, content) {
      const path = join(folder, name);
      writeFileSync(path, content);
      return path;
    },
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
