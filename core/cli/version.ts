/** What `kube-proxy version` prints. */
import manifest from '../../package.json' with { type: 'json' };
import { BACKEND_API_VERSION } from '../backend.ts';

export const VERSION: string = manifest.version;
/** Of the repository: the build puts it in place of the name, which exists nowhere else. */
declare const KUBE_PROXY_COMMIT: string | undefined;
const COMMIT = typeof KUBE_PROXY_COMMIT === 'string' ? KUBE_PROXY_COMMIT : '';

export function versionText(): string {
  const commit = COMMIT === '' ? 'run from sources' : `commit ${COMMIT}`;
  return (
    `kube-proxy ${VERSION} (${commit}, ${process.platform}/${process.arch})\n` +
    `Node.js ${process.versions.node}\n` +
    `plugin API ${BACKEND_API_VERSION}\n`
  );
}
