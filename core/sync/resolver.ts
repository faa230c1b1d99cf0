/**
 * From the Services that may have changed to the service ports that did, for one family.
 *
 *   dirty ns/name ──▶ resolveService ──▶ compare with what was resolved before ──▶ upsert / remove
 *
 * What was resolved stays here, so that a full change costs no second resolution and a partial one is the real
 * difference. Two Services that claim the same address or node port are both handed on: which one wins is the
 * backends' shared rule (core/model/oracle.ts), not a matter of who came first.
 */
import type { IPFamily, Logger, ServicePort } from '../backend.ts';
import type { EndpointSlice, Service } from '../model/objects.ts';
import type { ResolveNode } from '../model/resolve.ts';
import { describeError } from './describe-error.ts';
import type { ObjectReader, ServiceKey } from './store.ts';

export type Resolve = (service: Service, slices: Iterable<EndpointSlice>, node: ResolveNode) => readonly ServicePort[];

export interface ResolverOptions {
  readonly family: IPFamily;
  readonly objects: ObjectReader;
  readonly log: Logger;
  readonly resolve: Resolve;
  readonly equal: (a: ServicePort, b: ServicePort) => boolean;
}

/** What moved between two resolutions. */
export interface Delta {
  readonly upsert: readonly ServicePort[];
  readonly remove: readonly string[];
}

/** Service ports with endpoints somewhere, but none on this node for a destination whose policy is Local. */
export interface WithoutLocal {
  readonly internal: number;
  readonly external: number;
}

export interface Resolver {
  /** Look at these Services again. Costs what they cost, whatever else exists. */
  update(keys: Iterable<ServiceKey>, node: ResolveNode): Delta;
  /** Look at every Service again, because the node's own facts changed. */
  updateAll(node: ResolveNode): Delta;
  /** All service ports of this family as last resolved. */
  all(): readonly ServicePort[];
  count(): number;
  withoutLocal(): WithoutLocal;
}

const NONE: readonly ServicePort[] = [];

export function createResolver(options: ResolverOptions): Resolver {
  const { family, objects, log, resolve, equal } = options;
  const resolved = new Map<ServiceKey, readonly ServicePort[]>();
  let count = 0;
  const without = { internal: 0, external: 0 };

  function countWithout(ports: readonly ServicePort[], sign: 1 | -1): void {
    for (const port of ports) {
      if (!port.hasEndpoints || port.local.length > 0) continue;
      if (port.internalPolicy === 'Local') without.internal += sign;
      if (port.externalPolicy === 'Local' && isExternal(port)) without.external += sign;
    }
  }

  /** The service ports of one Service now; what they were before if the model fails on it. */
  function resolveOne(key: ServiceKey, before: readonly ServicePort[], node: ResolveNode): readonly ServicePort[] {
    const service = objects.service(key);
    if (service?.families[family] === undefined) return NONE;
    try {
      return resolve(service, objects.slicesOf(family, key), node);
    } catch (error) {
      log.error('A Service could not be resolved and stays as it was; please report this with the object', {
        service: key,
        family,
        error: describeError(error),
      });
      return before;
    }
  }

  function update(keys: Iterable<ServiceKey>, node: ResolveNode): Delta {
    const upsert: ServicePort[] = [];
    const remove: string[] = [];
    for (const key of keys) {
      const before = resolved.get(key) ?? NONE;
      const after = resolveOne(key, before, node);
      if (after === before) continue;
      const gone = new Map(before.map((port) => [port.key, port]));
      // What did not change keeps its identity: backends may compare by reference.
      const kept = after.map((port) => {
        const old = gone.get(port.key);
        gone.delete(port.key);
        if (old && equal(old, port)) return old;
        upsert.push(port);
        return port;
      });
      remove.push(...gone.keys());
      count += kept.length - before.length;
      countWithout(before, -1);
      countWithout(kept, 1);
      if (kept.length > 0) resolved.set(key, kept);
      else resolved.delete(key);
    }
    return { upsert, remove };
  }

  return {
    update,
    updateAll: (node) => update(new Set([...objects.serviceKeys(), ...resolved.keys()]), node),
    all: () => [...resolved.values()].flat(),
    count: () => count,
    withoutLocal: () => ({ ...without }),
  };
}

function isExternal({ nodePort, externalIPs, loadBalancerVIPs }: ServicePort): boolean {
  return nodePort !== 0 || externalIPs.length > 0 || loadBalancerVIPs.length > 0;
}
