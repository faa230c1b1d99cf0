/** The kinds that this server serves. */
import type { FieldLabels } from '../api/list-options.ts';
import { NAMESPACES, NODES, SERVICE_CIDRS } from './cluster-scoped.ts';
import { ENDPOINT_SLICES } from './endpointslice.ts';
import { EVENTS } from './event.ts';
import type { Kind } from './kind.ts';
import { SERVICES } from './service.ts';

export const KINDS: readonly Kind[] = [NAMESPACES, NODES, SERVICES, ENDPOINT_SLICES, SERVICE_CIDRS, EVENTS];

export function kindOf(kind: string): Kind | undefined {
  return KINDS.find((one) => one.kind === kind);
}

/** Cluster-scoped kinds with conversions of their own do not know metadata.namespace; those without all do. */
export function fieldLabels(kind: Kind): FieldLabels {
  const known = new Set(['metadata.name', ...Object.keys(kind.selectable)]);
  if (kind.namespaced || !kind.ownFieldLabels) known.add('metadata.namespace');
  return {
    convert: (label) => (known.has(label) ? label : undefined),
    refusal(label) {
      if (kind.ownFieldLabels) return `field label not supported: ${label}`;
      return `${JSON.stringify(label)} is not a known field selector: only "metadata.name", "metadata.namespace"`;
    },
  };
}
