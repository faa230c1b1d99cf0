/**
 * Services: defaults, what an update keeps of the allocated values, and the allocation of ClusterIPs and node ports
 * (pkg/registry/core/service of Kubernetes).
 */
import { type FieldError, invalidValue, ipFamily } from '../api/field-errors.ts';
import { failure } from '../api/status.ts';
import { ALL_VERBS, type Claims, type Cluster, type Kind, type KubeObject, objectKey } from './kind.ts';
import {
  asService,
  externallyAccessible,
  type Family,
  mayHaveNodePorts,
  needsClusterIP,
  needsHealthCheckNodePort,
  needsNodePorts,
  SERVICE_SHAPE,
  type ServiceObject,
} from './service-types.ts';
import {
  clusterIPErrors,
  validateService,
  validateServiceStatus,
  validateServiceUpdate,
} from './service-validation.ts';

const AFFINITY_SECONDS = 10_800;

export const SERVICES: Kind = {
  group: '',
  version: 'v1',
  plural: 'services',
  singular: 'service',
  kind: 'Service',
  shortNames: ['svc'],
  namespaced: true,
  verbs: ALL_VERBS,
  shape: SERVICE_SHAPE,
  hasStatus: true,
  createsWithStatus: false,
  createOnUpdate: true,
  deleteReturnsObject: true,
  counted: false,
  empty: { spec: {}, status: { loadBalancer: {} } },
  ownFieldLabels: true,
  selectable: {
    'spec.clusterIP': (object) => asService(object).spec.clusterIP ?? '',
    'spec.type': (object) => asService(object).spec.type ?? '',
  },
  setDefaults: (object) => setDefaults(asService(object)),
  prepare(object, old) {
    const service = asService(object);
    if (old === undefined) {
      if (service.spec.clusterIP !== undefined) service.spec.clusterIPs ??= [service.spec.clusterIP];
      return [];
    }
    const before = asService(old);
    keepAllocated(service, before);
    followClusterIP(service, before);
    dropForType(service, before);
    return [];
  },
  allocate: (object, old, cluster) => allocate(asService(object), old && asService(old), cluster),
  validate(object, old) {
    if (old === undefined) return validateService(asService(object));
    return validateServiceUpdate(asService(object), asService(old));
  },
  validateStatus: (object) => validateServiceStatus(asService(object)),
  release: (object, cluster) => cluster.allocator.retain(objectKey(object.metadata), [], []),
};

function setDefaults(service: ServiceObject): void {
  const { spec, status } = service;
  spec.sessionAffinity ??= 'None';
  if (spec.sessionAffinity === 'None') delete spec.sessionAffinityConfig;
  if (spec.sessionAffinity === 'ClientIP') {
    spec.sessionAffinityConfig ??= {};
    spec.sessionAffinityConfig.clientIP ??= {};
    spec.sessionAffinityConfig.clientIP.timeoutSeconds ??= AFFINITY_SECONDS;
  }
  spec.type ??= 'ClusterIP';
  for (const port of spec.ports ?? []) {
    port.protocol ??= 'TCP';
    if (port.targetPort === undefined || port.targetPort === 0 || port.targetPort === '') port.targetPort = port.port;
  }
  if (externallyAccessible(service)) spec.externalTrafficPolicy ??= 'Cluster';
  if (spec.type !== 'ExternalName') spec.internalTrafficPolicy ??= 'Cluster';
  if (spec.type === 'LoadBalancer') spec.allocateLoadBalancerNodePorts ??= true;
  for (const ingress of status.loadBalancer.ingress ?? []) {
    if ((ingress.ip ?? '') !== '') ingress.ipMode ??= 'VIP';
  }
}

/** A PUT that leaves out what the server had allocated does not give it back. */
function keepAllocated(service: ServiceObject, before: ServiceObject): void {
  const { spec } = service;
  const { spec: old } = before;
  if (needsClusterIP(service) && needsClusterIP(before)) {
    if (old.clusterIP !== undefined) spec.clusterIP ??= old.clusterIP;
    if (spec.clusterIP === old.clusterIP && old.clusterIPs !== undefined) spec.clusterIPs ??= [...old.clusterIPs];
    if (
      spec.ipFamilies === undefined &&
      old.ipFamilies !== undefined &&
      spec.clusterIPs?.length === old.clusterIPs?.length
    ) {
      spec.ipFamilies = [...old.ipFamilies];
    }
  }
  if (mayHaveNodePorts(service) && mayHaveNodePorts(before)) {
    const taken = new Set((spec.ports ?? []).map(({ nodePort = 0, protocol }) => `${nodePort}/${protocol}`));
    for (const port of spec.ports ?? []) {
      if (port.nodePort !== undefined) continue;
      const was = (old.ports ?? []).find((other) => other.port === port.port && other.protocol === port.protocol);
      if (was?.nodePort !== undefined && !taken.has(`${was.nodePort}/${port.protocol}`)) port.nodePort = was.nodePort;
    }
  }
  if (needsHealthCheckNodePort(service) && needsHealthCheckNodePort(before) && old.healthCheckNodePort !== undefined) {
    spec.healthCheckNodePort ??= old.healthCheckNodePort;
  }
}

/** Clients that know only one of clusterIP and clusterIPs change both. */
function followClusterIP({ spec }: ServiceObject, { spec: old }: ServiceObject): void {
  if (spec.clusterIP === old.clusterIP || !sameList(spec.clusterIPs ?? old.clusterIPs, old.clusterIPs)) return;
  if (spec.clusterIP === undefined) delete spec.clusterIPs;
  else spec.clusterIPs = [spec.clusterIP, ...(spec.clusterIPs ?? []).slice(1)];
}

/** Changing only the type drops what the new type cannot have, if the request carries it unchanged. */
function dropForType(service: ServiceObject, before: ServiceObject): void {
  const { spec } = service;
  const { spec: old } = before;
  if (needsClusterIP(before) && !needsClusterIP(service)) {
    if (sameList(spec.clusterIPs, old.clusterIPs)) {
      delete spec.clusterIP;
      delete spec.clusterIPs;
    }
    if (sameList(spec.ipFamilies, old.ipFamilies)) delete spec.ipFamilies;
    if (spec.ipFamilyPolicy === old.ipFamilyPolicy) delete spec.ipFamilyPolicy;
  }
  if (mayHaveNodePorts(before) && !mayHaveNodePorts(service)) {
    const had = new Set((old.ports ?? []).map(({ nodePort }) => nodePort));
    for (const port of spec.ports ?? []) if (had.has(port.nodePort)) delete port.nodePort;
  }
  if (needsHealthCheckNodePort(before) && !needsHealthCheckNodePort(service)) {
    if (spec.healthCheckNodePort === old.healthCheckNodePort) delete spec.healthCheckNodePort;
  }
  if (old.type === 'LoadBalancer' && spec.type !== 'LoadBalancer') {
    if (spec.allocateLoadBalancerNodePorts === old.allocateLoadBalancerNodePorts)
      delete spec.allocateLoadBalancerNodePorts;
    if (spec.loadBalancerClass === old.loadBalancerClass) delete spec.loadBalancerClass;
  }
  if (externallyAccessible(before) && !externallyAccessible(service)) {
    if (spec.externalTrafficPolicy === old.externalTrafficPolicy) delete spec.externalTrafficPolicy;
  }
}

function sameList(a: readonly string[] | undefined, b: readonly string[] | undefined): boolean {
  return JSON.stringify(a ?? []) === JSON.stringify(b ?? []);
}

function allocate(service: ServiceObject, old: ServiceObject | undefined, cluster: Cluster): readonly FieldError[] {
  const bad = chooseFamilies(service, old, cluster);
  if (bad.length > 0) return bad;
  const owner = objectKey(service.metadata);
  const ipErrors = allocateIPs(service, owner, cluster);
  if (ipErrors.length > 0) return ipErrors;
  const portErrors = allocateNodePorts(service, owner, cluster);
  if (portErrors.length > 0) return portErrors;
  const { ips, nodePorts } = claimsOf(service);
  cluster.allocator.retain(owner, ips, nodePorts);
  return [];
}

/** What a Service holds of the cluster's addresses and ports. */
export function claimsOf(object: KubeObject): Claims {
  const { spec, metadata } = asService(object);
  const ports = [...(spec.ports ?? []).map(({ nodePort = 0 }) => nodePort), spec.healthCheckNodePort ?? 0];
  return {
    owner: objectKey(metadata),
    ips: (spec.clusterIPs ?? []).filter((ip) => ip !== 'None'),
    nodePorts: ports.filter((port) => port !== 0),
  };
}

/** ipFamilyPolicy, ipFamilies: what the request says, completed from its addresses and the cluster's families. */
function chooseFamilies(
  service: ServiceObject,
  old: ServiceObject | undefined,
  cluster: Cluster,
): readonly FieldError[] {
  const { spec } = service;
  if (spec.type === 'ExternalName') return [];
  const configured = cluster.allocator.families();
  const loose = spec.clusterIP === 'None' && Object.keys(spec.selector ?? {}).length === 0;
  spec.ipFamilyPolicy ??= old?.spec.ipFamilyPolicy ?? (loose ? 'RequireDualStack' : 'SingleStack');
  const malformed = clusterIPErrors(service);
  if (malformed.length > 0) return malformed;
  const errors: FieldError[] = [];
  const policyError = (detail: string) => errors.push(invalidValue('spec.ipFamilyPolicy', spec.ipFamilyPolicy, detail));
  if (old !== undefined && spec.ipFamilyPolicy === 'SingleStack') {
    if (sameList(spec.clusterIPs, old.spec.clusterIPs)) spec.clusterIPs = spec.clusterIPs?.slice(0, 1) ?? [];
    if (sameList(spec.ipFamilies, old.spec.ipFamilies)) spec.ipFamilies = spec.ipFamilies?.slice(0, 1) ?? [];
    if (spec.clusterIPs?.length === 0) delete spec.clusterIPs;
  } else if (old !== undefined) {
    const fewer = (now: readonly string[] = [], before: readonly string[] = []) =>
      now.length > 0 && now.length < before.length;
    if (fewer(spec.clusterIPs, old.spec.clusterIPs))
      policyError("must be 'SingleStack' to release the secondary cluster IP");
    if (fewer(spec.ipFamilies, old.spec.ipFamilies))
      policyError("must be 'SingleStack' to release the secondary IP family");
  }
  const ips = spec.clusterIPs ?? [];
  const families: Family[] = [...(spec.ipFamilies ?? [])];
  if (spec.ipFamilyPolicy === 'SingleStack') {
    const must = "must be 'RequireDualStack' or 'PreferDualStack' when multiple";
    if (ips.length === 2) policyError(`${must} cluster IPs are specified`);
    if (families.length === 2) policyError(`${must} IP families are specified`);
  }
  for (const [index, ip] of ips.entries()) {
    const family = ip === 'None' ? undefined : ipFamily(ip);
    if (family === undefined || index < families.length) continue;
    if (configured.includes(family)) families.push(family);
    else errors.push(invalidValue(`spec.clusterIPs[${index}]`, ips, `${family} is not configured on this cluster`));
  }
  if (errors.length > 0) return errors;
  const primary = configured[0] ?? 'IPv4';
  const other = (family: Family | undefined): Family => (family === 'IPv4' ? 'IPv6' : 'IPv4');
  if (!loose) {
    if (spec.ipFamilyPolicy === 'RequireDualStack' && configured.length < 2) {
      policyError('this cluster is not configured for dual-stack services');
    }
    for (const [index, family] of families.entries()) {
      if (configured.includes(family)) continue;
      errors.push(invalidValue(`spec.ipFamilies[${index}]`, family, 'not configured on this cluster'));
    }
    if (errors.length > 0) return errors;
  }
  if (families.length === 0) families.push(primary);
  const second = spec.ipFamilyPolicy !== 'SingleStack' && families.length === 1 && (loose || configured.length === 2);
  // An existing PreferDualStack Service is not widened only because the cluster has become dual-stack.
  const settled =
    old !== undefined && spec.ipFamilyPolicy === 'PreferDualStack' && old.spec.ipFamilyPolicy === 'PreferDualStack';
  if (second && !settled) families.push(other(families[0]));
  spec.ipFamilies = families;
  return [];
}

function allocateIPs(service: ServiceObject, owner: string, { allocator }: Cluster): readonly FieldError[] {
  const { spec } = service;
  if (spec.type === 'ExternalName' || spec.clusterIP === 'None') return [];
  const ips = [...(spec.clusterIPs ?? [])];
  for (const [index, family] of (spec.ipFamilies ?? []).entries()) {
    const wanted = ips[index] ?? '';
    if (wanted !== '') {
      const problem = allocator.claimIP(family, wanted, owner);
      if (problem === undefined) continue;
      return [invalidValue('spec.clusterIPs', ips, `failed to allocate IP ${wanted}: ${problem}`)];
    }
    const found = allocator.nextIP(family, owner);
    if (found === undefined)
      throw failure(500, 'InternalError', 'Internal error occurred: failed to allocate a serviceIP: range is full');
    ips[index] = found;
  }
  spec.clusterIPs = ips;
  if (ips[0] !== undefined) spec.clusterIP = ips[0];
  return [];
}

function allocateNodePorts(service: ServiceObject, owner: string, { allocator }: Cluster): readonly FieldError[] {
  const { spec } = service;
  const byPort = new Map<number, number>();
  if (mayHaveNodePorts(service)) {
    for (const [index, port] of (spec.ports ?? []).entries()) {
      const wanted = port.nodePort ?? 0;
      if (wanted === 0) continue;
      const problem = allocator.claimNodePort(wanted, owner);
      if (problem !== undefined) return [invalidValue(`spec.ports[${index}].nodePort`, wanted, problem)];
      byPort.set(port.port, byPort.get(port.port) ?? wanted);
    }
  }
  const next = (): number => {
    const found = allocator.nextNodePort(owner);
    if (found === undefined)
      throw failure(500, 'InternalError', 'Internal error occurred: failed to allocate a nodePort: range is full');
    return found;
  };
  if (needsNodePorts(service)) {
    for (const port of spec.ports ?? []) {
      if (port.nodePort !== undefined) continue;
      // The same port number under another protocol shares its node port.
      port.nodePort = byPort.get(port.port) ?? next();
      byPort.set(port.port, port.nodePort);
    }
  }
  if (needsHealthCheckNodePort(service)) {
    const wanted = spec.healthCheckNodePort;
    const problem = wanted === undefined ? undefined : allocator.claimNodePort(wanted, owner);
    if (problem !== undefined) {
      const message = `failed to allocate requested HealthCheck NodePort ${wanted}: ${problem}`;
      throw failure(500, 'InternalError', `Internal error occurred: ${message}`);
    }
    spec.healthCheckNodePort ??= next();
  }
  return [];
}
