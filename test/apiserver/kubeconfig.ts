/** Writes what clients find a server by: kubeconfig files, and the folder that a pod has for its service account. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { Certificate } from './certificates.ts';

/** How the client proves who it is. `files`: by paths in the kubeconfig instead of data, as when they are to be rotated. */
export type Credential =
  | { readonly kind: 'none' }
  | { readonly kind: 'token'; readonly token: string; readonly files?: boolean }
  | ({ readonly kind: 'certificate'; readonly files?: boolean } & Certificate)
  /** The `user` part of the kubeconfig as it is, for example with an exec plugin. */
  | { readonly kind: 'raw'; readonly user: Readonly<Record<string, unknown>> };

export interface KubeconfigFiles {
  /** The kubeconfig. */
  readonly path: string;
  /** Beside it, with `files`. */
  readonly tokenFile: string;
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly caFile: string;
}

export function writeKubeconfig(
  folder: string,
  name: string,
  url: string,
  ca: string,
  credential: Credential,
): KubeconfigFiles {
  const own = join(folder, name);
  mkdirSync(own, { recursive: true });
  const files: KubeconfigFiles = {
    path: join(own, 'kubeconfig'),
    tokenFile: join(own, 'token'),
    certificateFile: join(own, 'client.crt'),
    keyFile: join(own, 'client.key'),
    caFile: join(own, 'ca.crt'),
  };
  const byFile = 'files' in credential && credential.files === true;
  writeFileSync(files.caFile, ca);
  const cluster = byFile ? { 'certificate-authority': files.caFile } : { 'certificate-authority-data': base64(ca) };
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'test', cluster: { server: url, ...cluster } }],
    users: [{ name: 'test', user: userOf(credential, files, byFile) }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
    'current-context': 'test',
  };
  writeFileSync(files.path, stringify(config), { mode: 0o600 });
  return files;
}

function userOf(credential: Credential, files: KubeconfigFiles, byFile: boolean): Readonly<Record<string, unknown>> {
  switch (credential.kind) {
    case 'none':
      return {};
    case 'raw':
      return credential.user;
    case 'token':
      if (!byFile) return { token: credential.token };
      writeFileSync(files.tokenFile, credential.token, { mode: 0o600 });
      return { tokenFile: files.tokenFile };
    case 'certificate':
      if (!byFile) {
        const { certificate, key } = credential;
        return { 'client-certificate-data': base64(certificate), 'client-key-data': base64(key) };
      }
      writeFileSync(files.certificateFile, credential.certificate);
      writeFileSync(files.keyFile, credential.key, { mode: 0o600 });
      return { 'client-certificate': files.certificateFile, 'client-key': files.keyFile };
  }
}

/** token, ca.crt and namespace, as they are mounted into a pod at /var/run/secrets/kubernetes.io/serviceaccount. */
export function writeServiceAccount(folder: string, token: string, ca: string): string {
  const own = join(folder, 'serviceaccount');
  mkdirSync(own, { recursive: true });
  writeFileSync(join(own, 'token'), token, { mode: 0o600 });
  writeFileSync(join(own, 'ca.crt'), ca);
  writeFileSync(join(own, 'namespace'), 'kube-system');
  return own;
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}
