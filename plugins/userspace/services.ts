/** Service ports as the engine and the table see them, purely. */
import type { IPFamily, ServicePort } from '../../core/backend.ts';
import type { Frontend } from '../shared/frontends.ts';
import type { Emit as EmitOf } from '../shared/table/layout.ts';
import { classElements, REFUSE, verdictOf } from '../shared/table/verdicts.ts';
import type { Frontend as EngineFrontend, ForwardedService, FrontendKind } from './forward/messages.ts';
import type { SetName } from './layout.ts';

export const PROXY_PROTOCOL_ANNOTATION = 'kube-proxy.io/userspace-proxy-protocol';

export type Emit = EmitOf<SetName>;

/** SCTP can be forwarded by the kernel only. */
export function isForwarded({ protocol }: ServicePort): boolean {
  return protocol !== 'SCTP';
}

/** The engines serve both families, in which keys may be the same. */
export function engineKey(family: IPFamily, key: string): string {
  return `${family} ${key}`;
}

export function forwarded(family: IPFamily, port: ServicePort, proxyProtocol: boolean): ForwardedService | undefined {
  const { protocol, cluster, local, internalPolicy, externalPolicy, affinitySeconds, sourceRanges } = port;
  if (protocol === 'SCTP') return undefined;
  return {
    key: engineKey(family, port.key),
    protocol,
    cluster: cluster.map(target),
    local: local.map(target),
    internalPolicy,
    externalPolicy,
    affinitySeconds,
    sourceRanges,
    proxyProtocol: protocol === 'TCP' && proxyProtocol,
    keepsSessions: (port.keepsFlowsUDP ?? []).map(target),
  };
}

/** Without what the engine does not read. */
function target({ ip, port }: { readonly ip: string; readonly port: number }) {
  return { ip, port };
}

/** Whether a Service asks for the PROXY protocol, or against it; undefined: it says nothing, `fault`: nonsense. */
export function askedProxyProtocol({ annotations }: ServicePort): {
  readonly value: boolean | undefined;
  readonly fault?: string;
} {
  const text = annotations[PROXY_PROTOCOL_ANNOTATION]?.trim();
  if (text === undefined) return { value: undefined };
  if (text === 'v2') return { value: true };
  if (text === 'off') return { value: false };
  const fault = `annotation ${PROXY_PROTOCOL_ANNOTATION}: ${JSON.stringify(text.slice(0, 60))} is neither v2 nor off`;
  return { value: undefined, fault };
}

export function engineKind({ kind }: Frontend): FrontendKind {
  return kind === 'clusterIP' || kind === 'loadBalancerVIP' ? kind : 'external';
}

export function engineFrontend(family: IPFamily, frontend: Frontend, port: ServicePort): EngineFrontend | undefined {
  if (port.protocol === 'SCTP') return undefined;
  return {
    protocol: port.protocol,
    family,
    ip: frontend.ip,
    port: frontend.port,
    kind: engineKind(frontend),
    service: engineKey(family, port.key),
  };
}

/** Every element of one frontend. */
export function frontendElements(frontend: Frontend, port: ServicePort, comments: boolean, emit: Emit): void {
  const klass = isForwarded(port) ? verdictOf(frontend.kind, port) : REFUSE;
  classElements(frontend, port, { klass, comments }, emit);
}
