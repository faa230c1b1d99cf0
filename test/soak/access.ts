/**
 * How the proxy reaches the server and proves who it is: a kubeconfig whose parts are files of their own, which are
 * rewritten while it runs as a kubelet or a certificate manager would, each put in place at once.
 */
import { mkdtempSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createAuthority } from '../apiserver/certificates.ts';
import { type KubeconfigFiles, writeKubeconfig } from '../apiserver/kubeconfig.ts';
import type { ApiServer } from '../apiserver/server.ts';

export interface Access {
  /** Path of the kubeconfig. */
  readonly kubeconfig: string;
  /** From now on this one only. */
  newToken(): void;
  expireToken(): void;
  /** The server shows another certificate. The proxy knows its authority only after `publishAuthority`, if that is new. */
  newServerCertificate(newAuthority: boolean): void;
  publishAuthority(): void;
  /** The kubeconfig names a client certificate, or the token again. */
  useCertificate(use: boolean): void;
}

const USER = 'system:kube-proxy';

/** `address`: where the server listens, which its own certificates do not name. */
export function createAccess(server: ApiServer, folder: string, address: string): Access {
  const own = mkdtempSync(join(folder, 'access-'));
  let authority = createAuthority(own);
  let published = authority.certificate;
  let token = server.tokens.issue(USER);
  const url = `https://${address}:${server.port}`;
  const showCertificate = (): void =>
    server.rotateCertificate({ certificate: authority.issueServer([`IP:${address}`]) });
  const write = (byCertificate: boolean): KubeconfigFiles => {
    const credential = byCertificate
      ? ({ kind: 'certificate', files: true, ...server.clientCertificate(USER) } as const)
      : ({ kind: 'token', files: true, token } as const);
    return writeKubeconfig(own, 'proxy', url, published, credential);
  };

  showCertificate();
  const files = write(false);
  return {
    kubeconfig: files.path,
    newToken() {
      const before = token;
      token = server.tokens.issue(USER);
      putFile(files.tokenFile, token);
      server.tokens.expire(before);
    },
    expireToken: () => server.tokens.expire(token),
    newServerCertificate(newAuthority) {
      if (newAuthority) authority = createAuthority(own, 'another-soak-ca');
      showCertificate();
    },
    publishAuthority() {
      published = authority.certificate;
      putFile(files.caFile, published);
    },
    useCertificate: (use) => void write(use),
  };
}

/** Nobody sees half of it. */
export function putFile(path: string, text: string): void {
  writeFileSync(`${path}.next`, text, { mode: 0o600 });
  renameSync(`${path}.next`, path);
}
