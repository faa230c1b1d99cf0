/** The proxy's configuration file, and the edits that it bears while it runs. */
import { CLUSTER_CIDR, NODE_NAME } from '../netns/world-topology.ts';
import { putFile } from './access.ts';
import type { Where } from './daemon.ts';
import type { ConfigurationEdit } from './plan.ts';

export type BackendName = 'iptables' | 'nftables';

export interface ConfigurationOptions {
  readonly path: string;
  readonly backend: BackendName;
  readonly kubeconfig: string;
  readonly metricsAt: Where;
  readonly healthzAt: Where;
}

export interface Configuration {
  begin(edit: ConfigurationEdit): void;
  end(edit: ConfigurationEdit): void;
}

const BROKEN =
  'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\niptables: {minSyncPeriod: soon\n';
const OTHER: Readonly<Record<BackendName, BackendName>> = { iptables: 'nftables', nftables: 'iptables' };

/** Writes the file. Edits add up; when the last has ended, the file is as in the beginning. */
export function createConfiguration(options: ConfigurationOptions): Configuration {
  const { path, backend, kubeconfig, metricsAt, healthzAt } = options;
  const edits = new Map<ConfigurationEdit, number>();

  function write(): void {
    const has = (edit: ConfigurationEdit): boolean => (edits.get(edit) ?? 0) > 0;
    const pace = { minSyncPeriod: has('pace') ? '400ms' : '100ms', masqueradeAll: has('masquerade all') };
    const chosen = has('other backend') ? OTHER[backend] : backend;
    const text = JSON.stringify({
      apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
      kind: 'KubeProxyConfiguration',
      mode: chosen,
      // Both variants of the program may be on the host; what lists the rules has to ask the one in use.
      ...(chosen === 'iptables' ? { backendOptions: { variant: 'nft' } } : {}),
      clientConnection: { kubeconfig },
      hostnameOverride: NODE_NAME,
      clusterCIDR: `${CLUSTER_CIDR.IPv4},${CLUSTER_CIDR.IPv6}`,
      detectLocalMode: 'ClusterCIDR',
      nodePortAddresses: has('primary node ports') ? ['primary'] : [],
      iptables: pace,
      nftables: pace,
      metricsBindAddress: `${metricsAt.host}:${metricsAt.port}`,
      healthzBindAddress: `${healthzAt.host}:${healthzAt.port}`,
      logging: { format: 'json', verbosity: 2 },
    });
    putFile(path, has('broken') ? BROKEN : text);
  }

  const change = (edit: ConfigurationEdit, by: 1 | -1): void => {
    edits.set(edit, (edits.get(edit) ?? 0) + by);
    write();
  };
  write();
  return { begin: (edit) => change(edit, 1), end: (edit) => change(edit, -1) };
}
