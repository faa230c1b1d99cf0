/** What `kube-proxy version` prints. */
import manifest from '../../package.json' with { type: 'json' };

export const VERSION: string = manifest.version;

export function versionText(): string {
  return `kube-proxy ${VERSION} (Node.js ${process.versions.node}, ${process.platform}/${process.arch})\n`;
}
