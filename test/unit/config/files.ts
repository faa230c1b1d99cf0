/** Configuration files for tests. */

import type { Fault } from '../../../core/config/command-line.ts';
import { parseCommandLine } from '../../../core/config/command-line.ts';
import { loadConfigText } from '../../../core/config/settings.ts';

export const ENVELOPE = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n';
export const BACKENDS = ['iptables', 'ipvs', 'nftables', 'userspace', 'dry-run', 'acme'];

/** As at start, with `--config=c.conf` and more flags. `body` begins at line 3. */
export function load(body: string, ...flags: readonly string[]) {
  const line = parseCommandLine(['--config=c.conf', ...flags]);
  return loadConfigText(ENVELOPE + body, 'c.conf', line, BACKENDS);
}

export function told(faults: readonly Fault[]): readonly string[] {
  return faults.map(({ where, what }) => `${where}: ${what}`);
}

/**
 * What kubeadm puts into the ConfigMap kube-proxy of a new cluster: all fields that its version knows, most of them
 * empty, for the kube-proxy to fill in.
 */
export const KUBEADM = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: "0"
    text:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: ""
mode: ""
nftables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: ""
  rootHnsEndpointName: ""
  sourceVip: ""
`;
