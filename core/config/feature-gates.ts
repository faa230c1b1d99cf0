/**
 * Feature gates, of which this program has few: those of Kubernetes 1.36 that change what a kube-proxy does, and those
 * that configurations have for other reasons. A gate that is not here is warned of and ignored, though the reference
 * refuses to start: a ConfigMap written for another version must not take a node's Services away.
 */

interface Gate {
  readonly byDefault: boolean;
  readonly stage: 'alpha' | 'beta' | 'stable' | 'deprecated';
  /** It can no longer be set to anything but its default. */
  readonly locked?: true;
}

const ALPHA: Gate = { byDefault: false, stage: 'alpha' };
const BETA: Gate = { byDefault: true, stage: 'beta' };
const LOCKED: Gate = { byDefault: true, stage: 'stable', locked: true };

export const GATES: Readonly<Record<string, Gate>> = {
  // The two that stand for all gates of their stage.
  AllAlpha: ALPHA,
  AllBeta: { byDefault: false, stage: 'beta' },
  /** KEP-5707: without it, the externalIPs of Services are not served. */
  AllowServiceExternalIPs: { byDefault: true, stage: 'deprecated' },
  ComponentFlagz: BETA,
  ComponentStatusz: BETA,
  ContextualLogging: BETA,
  LoggingAlphaOptions: ALPHA,
  LoggingBetaOptions: BETA,
  /** The ranges of ClusterIPs come from ServiceCIDR objects. */
  MultiCIDRServiceAllocator: LOCKED,
  NativeHistograms: ALPHA,
  NFTablesProxyMode: LOCKED,
  /** Values PreferSameZone and PreferSameNode of trafficDistribution. */
  PreferSameTrafficDistribution: LOCKED,
  ServiceTrafficDistribution: LOCKED,
  TopologyAwareHints: LOCKED,
  WatchListClient: BETA,
};

export interface GateProblem {
  readonly name: string;
  readonly what: string;
}

export interface EffectiveGates {
  /** Of every gate above. */
  readonly gates: Readonly<Record<string, boolean>>;
  readonly faults: readonly GateProblem[];
  readonly unknown: readonly GateProblem[];
}

export function effectiveGates(given: Readonly<Record<string, boolean>>): EffectiveGates {
  const faults: GateProblem[] = [];
  const gates: Record<string, boolean> = {};
  for (const [name, { byDefault, stage, locked }] of Object.entries(GATES)) {
    const all = stage === 'alpha' ? given.AllAlpha : stage === 'beta' ? given.AllBeta : undefined;
    const value = given[name] ?? (name === 'AllBeta' ? undefined : all) ?? byDefault;
    if (locked && value !== byDefault) {
      faults.push({ name, what: `cannot be ${value} any more, it is ${byDefault} for good; leave it out` });
    }
    gates[name] = locked ? byDefault : value;
  }
  const unknown = Object.keys(given)
    .filter((name) => !Object.hasOwn(GATES, name))
    .map((name) => ({ name, what: 'is no feature gate that means something here, and ignored' }));
  return { gates, faults, unknown };
}
