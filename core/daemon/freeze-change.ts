/**
 * What a backend gets is immutable by contract; here it is in fact. The core compares later states with these very
 * objects, so that a plugin which sorts a list of endpoints in place would spoil what is known of the cluster. Frozen,
 * it gets a TypeError that names the line; `frozenFault` says what was changed.
 *
 * An object is frozen when it is handed over for the first time: half a microsecond for a service port with three
 * endpoints, a tenth of that each time that it comes again. Reading frozen objects is as fast as reading others.
 */
import type { Change, NodeView, ServicePort } from '../backend.ts';

export function freezeChange(change: Change): Change {
  freezeNode(change.node);
  for (const port of change.upsert) if (!Object.isFrozen(port)) freezePort(port);
  Object.freeze(change.upsert);
  Object.freeze(change.remove);
  return Object.freeze(change);
}

/** As V8 words it when strict code changes what is frozen; there is no other sign of it. */
const FROZEN = /^Cannot (assign to read only property|add property|delete property|define property|redefine property) /;

/** The same error, with the remedy if it comes of changing what is frozen. */
export function frozenFault(error: Error): Error {
  if (!FROZEN.test(error.message)) return error;
  return Object.assign(error, { message: `the change is frozen: copy it before you alter it: ${error.message}` });
}

function freezePort(port: ServicePort): void {
  for (const list of [port.cluster, port.local, port.keepsFlowsUDP ?? []]) {
    for (const endpoint of list) {
      if (endpoint.annotations) Object.freeze(endpoint.annotations);
      Object.freeze(endpoint);
    }
    Object.freeze(list);
  }
  Object.freeze(port.externalIPs);
  Object.freeze(port.loadBalancerVIPs);
  Object.freeze(port.sourceRanges);
  Object.freeze(port.annotations);
  Object.freeze(port);
}

function freezeNode(node: NodeView): void {
  if (Object.isFrozen(node)) return;
  Object.freeze(node.nodeIPs);
  Object.freeze(node.addresses);
  Object.freeze(node.serviceCIDRs);
  if (node.nodePortAddresses.match === 'list') Object.freeze(node.nodePortAddresses.addresses);
  Object.freeze(node.nodePortAddresses);
  Object.freeze(node.localDetector);
  Object.freeze(node);
}
