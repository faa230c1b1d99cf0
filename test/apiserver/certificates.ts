/**
 * A certificate authority for tests: it signs the server's certificate and those of clients. Keys are made by `openssl`
 * in a folder of the caller's, P-256 throughout because that takes milliseconds.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** PEM texts. */
export interface Certificate {
  readonly certificate: string;
  readonly key: string;
}

export interface CertificateAuthority {
  /** PEM. */
  readonly certificate: string;
  /** For the names and addresses that a server in a test is reached by. */
  issueServer(names?: readonly string[], days?: number): Certificate;
  /** CN is the user, each O a group. `days` may be negative: already expired. */
  issueClient(user: string, groups?: readonly string[], days?: number): Certificate;
}

const SERVER_NAMES = [
  'IP:127.0.0.1',
  'IP:::1',
  'DNS:localhost',
  'DNS:kubernetes',
  'DNS:kubernetes.default',
  'DNS:kubernetes.default.svc',
];
const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

/** Why certificates cannot be made here; undefined when they can. */
export function opensslProblem(): string | undefined {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'the program openssl is missing';
  }
}

export function createAuthority(folder: string, name = 'test-ca'): CertificateAuthority {
  const own = mkdtempSync(join(folder, 'ca-'));
  const at = (file: string) => join(own, file);
  const subject = `/CN=${name}`;
  openssl([
    'req',
    '-x509',
    ...NEW_KEY,
    '-keyout',
    at('ca.key'),
    '-out',
    at('ca.crt'),
    '-days',
    '3650',
    '-subj',
    subject,
  ]);
  let serial = 0;

  const issue = (leafSubject: string, extensions: readonly string[], days: number): Certificate => {
    serial++;
    const [key, request, certificate] = [at(`${serial}.key`), at(`${serial}.csr`), at(`${serial}.crt`)];
    writeFileSync(at('extensions'), `${extensions.join('\n')}\n`);
    openssl(['req', '-new', '-utf8', ...NEW_KEY, '-keyout', key, '-out', request, '-subj', leafSubject]);
    const sign = [
      'x509',
      '-req',
      '-in',
      request,
      '-CA',
      at('ca.crt'),
      '-CAkey',
      at('ca.key'),
      '-set_serial',
      String(serial),
    ];
    openssl([...sign, '-days', String(days), '-extfile', at('extensions'), '-out', certificate]);
    return { certificate: readFileSync(certificate, 'utf8'), key: readFileSync(key, 'utf8') };
  };

  return {
    certificate: readFileSync(at('ca.crt'), 'utf8'),
    issueServer: (names = SERVER_NAMES, days = 3650) =>
      issue('/CN=kube-apiserver', [`subjectAltName=${names.join(',')}`, 'extendedKeyUsage=serverAuth'], days),
    issueClient: (user, groups = [], days = 3650) =>
      issue(
        `${groups.map((group) => `/O=${escape(group)}`).join('')}/CN=${escape(user)}`,
        ['extendedKeyUsage=clientAuth'],
        days,
      ),
  };
}

/** "/" separates the parts of a subject. */
function escape(text: string): string {
  return text.replaceAll(/[\\/+]/g, (character) => `\\${character}`);
}

function openssl(args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
