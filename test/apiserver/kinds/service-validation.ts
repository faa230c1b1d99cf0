/** What the server refuses about a Service (422, a cause per fault): pkg/apis/core/validation of Kubernetes. */
import {
  checkCIDR,
  checkIP,
  checkLabels,
  checkName,
  checkOrdinaryIP,
  checkPort,
  dnsLabel,
  dnsSubdomain,
  duplicate,
  type FieldError,
  forbiddenField,
  invalidValue,
  ipFamily,
  notSupported,
  qualifiedName,
  required,
} from '../api/field-errors.ts';
import {
  externallyAccessible,
  isHeadless,
  needsHealthCheckNodePort,
  type ServiceObject,
  type ServicePort,
} from './service-types.ts';

const TYPES = ['ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort'];
const PROTOCOLS = ['SCTP', 'TCP', 'UDP'];
const KUBELET_PORT = 10_250;
const PORT_NAME = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;

export function validateService(service: ServiceObject): readonly FieldError[] {
  const { spec } = service;
  const errors: FieldError[] = [];
  const ports = spec.ports ?? [];
  if (ports.length === 0 && !isHeadless(service) && spec.type !== 'ExternalName') errors.push(required('spec.ports'));
  errors.push(...typeErrors(service), ...portErrors(ports));
  errors.push(...checkLabels('spec.selector', spec.selector), ...affinityErrors(service));
  errors.push(...clusterIPErrors(service));
  for (const [index, ip] of (spec.externalIPs ?? []).entries()) {
    const field = `spec.externalIPs[${index}]`;
    const bad = checkIP(field, ip);
    errors.push(...(bad.length > 0 ? bad : checkOrdinaryIP(field, ip)));
  }
  if (spec.type === 'ClusterIP') {
    for (const [index, { nodePort }] of ports.entries()) {
      if ((nodePort ?? 0) === 0) continue;
      errors.push(forbiddenField(`spec.ports[${index}].nodePort`, "may not be used when `type` is 'ClusterIP'"));
    }
  }
  errors.push(...duplicatePortErrors(ports), ...loadBalancerErrors(service), ...trafficErrors(service));
  return errors;
}

export function validateServiceUpdate(service: ServiceObject, old: ServiceObject): readonly FieldError[] {
  const errors: FieldError[] = [];
  const { spec } = service;
  const both = spec.type !== 'ExternalName' && old.spec.type !== 'ExternalName';
  const [oldIPs, newIPs] = [old.spec.clusterIPs ?? [], spec.clusterIPs ?? []];
  if (both && oldIPs.length > 0) {
    if (newIPs.length === 0)
      errors.push(invalidValue('spec.clusterIPs[0]', newIPs, 'primary clusterIP can not be unset'));
    else if (newIPs[0] !== oldIPs[0])
      errors.push(invalidValue('spec.clusterIPs[0]', newIPs, 'may not change once set'));
    if (newIPs.length === 2 && oldIPs.length === 2 && newIPs[1] !== oldIPs[1]) {
      errors.push(invalidValue('spec.clusterIPs[1]', newIPs, 'may not change once set'));
    }
  }
  const [oldFamilies, newFamilies] = [old.spec.ipFamilies ?? [], spec.ipFamilies ?? []];
  if (both && oldFamilies.length > 0) {
    const field = 'spec.ipFamilies[0]';
    if (newFamilies.length === 0) errors.push(invalidValue(field, newFamilies, 'primary ipFamily can not be unset'));
    else if (newFamilies[0] !== oldFamilies[0])
      errors.push(invalidValue(field, newFamilies, 'may not change once set'));
  }
  const sameType = spec.type === 'LoadBalancer' && old.spec.type === 'LoadBalancer';
  if (sameType && spec.loadBalancerClass !== old.spec.loadBalancerClass) {
    errors.push(invalidValue('spec.loadBalancerClass', spec.loadBalancerClass, 'may not change once set'));
  }
  const checked = needsHealthCheckNodePort(old) && needsHealthCheckNodePort(service);
  if (checked && spec.healthCheckNodePort !== old.spec.healthCheckNodePort) {
    errors.push(forbiddenField('spec.healthCheckNodePort', 'field is immutable'));
  }
  return [...errors, ...validateService(service)];
}

export function validateServiceStatus(service: ServiceObject): readonly FieldError[] {
  const errors: FieldError[] = [];
  const ingress = service.status.loadBalancer.ingress ?? [];
  if (ingress.length > 0 && service.spec.type !== 'LoadBalancer') {
    errors.push(forbiddenField('status.loadBalancer.ingress', "may only be used when `spec.type` is 'LoadBalancer'"));
  }
  for (const [index, { ip = '', hostname = '', ipMode }] of ingress.entries()) {
    const field = `status.loadBalancer.ingress[${index}]`;
    if (ip !== '') errors.push(...checkIP(`${field}.ip`, ip));
    if (ip !== '' && ipMode === undefined)
      errors.push(required(`${field}.ipMode`, 'must be specified when `ip` is set'));
    if (ip === '' && ipMode !== undefined) {
      errors.push(forbiddenField(`${field}.ipMode`, 'may not be specified when `ip` is not set'));
    }
    if (ipMode !== undefined && ipMode !== 'VIP' && ipMode !== 'Proxy') {
      errors.push(notSupported(`${field}.ipMode`, ipMode, ['Proxy', 'VIP']));
    }
    if (hostname === '') continue;
    errors.push(...checkName(`${field}.hostname`, hostname, dnsSubdomain));
    if (ipFamily(hostname) !== undefined) {
      errors.push(invalidValue(`${field}.hostname`, hostname, 'must be a DNS name, not an IP address'));
    }
  }
  return errors;
}

/** Also asked before addresses are allocated, which needs input that makes sense. */
export function clusterIPErrors(service: ServiceObject): readonly FieldError[] {
  const { spec } = service;
  const errors: FieldError[] = [];
  if (spec.type === 'ExternalName') return errors;
  const ips = spec.clusterIPs ?? [];
  const families = spec.ipFamilies ?? [];
  for (const [index, family] of families.entries()) {
    const field = `spec.ipFamilies[${index}]`;
    if (family !== 'IPv4' && family !== 'IPv6') errors.push(notSupported(field, family, ['IPv4', 'IPv6']));
    else if (families.indexOf(family) < index) errors.push(duplicate(field, family));
  }
  if (families.length > 2) errors.push(invalidValue('spec.ipFamilies', families, 'may only hold up to 2 values'));
  const policies = ['PreferDualStack', 'RequireDualStack', 'SingleStack'];
  if (spec.ipFamilyPolicy !== undefined && !policies.includes(spec.ipFamilyPolicy)) {
    errors.push(notSupported('spec.ipFamilyPolicy', spec.ipFamilyPolicy, policies));
  }
  if (ips.length > 2) errors.push(invalidValue('spec.clusterIPs', ips, 'may only hold up to 2 values'));
  if ((spec.clusterIP ?? '') === '' && ips.length > 0) {
    errors.push(invalidValue('spec.clusterIPs', ips, 'must be empty when `clusterIP` is not specified'));
  } else if (ips.length > 0 && ips[0] !== spec.clusterIP) {
    errors.push(invalidValue('spec.clusterIPs', ips, 'first value must match `clusterIP`'));
  }
  let wrong = false;
  for (const [index, ip] of ips.entries()) {
    const field = `spec.clusterIPs[${index}]`;
    if (index === 0 && ip === 'None') {
      if (ips.length > 1) {
        wrong = true;
        errors.push(invalidValue('spec.clusterIPs', ips, "'None' must be the first and only value"));
      }
      continue;
    }
    const bad = checkIP(field, ip);
    wrong ||= bad.length > 0;
    errors.push(...bad);
    const wanted = families[index];
    if (bad.length === 0 && wanted !== undefined && wanted !== ipFamily(ip)) {
      errors.push(invalidValue(field, ip, `expected an ${wanted} value as indicated by \`ipFamilies[${index}]\``));
    }
  }
  if (!wrong && ips.length === 2 && ipFamily(ips[0]!) === ipFamily(ips[1]!)) {
    errors.push(invalidValue('spec.clusterIPs', ips, 'may specify no more than one IP for each IP family'));
  }
  return errors;
}

function typeErrors(service: ServiceObject): readonly FieldError[] {
  const { spec } = service;
  const errors: FieldError[] = [];
  switch (spec.type) {
    case 'LoadBalancer':
      for (const [index, { port }] of (spec.ports ?? []).entries()) {
        if (port !== KUBELET_PORT) continue;
        const detail = `may not expose port ${KUBELET_PORT} externally since it is used by kubelet`;
        errors.push(invalidValue(`spec.ports[${index}]`, port, detail));
      }
      if (isHeadless(service)) {
        errors.push(invalidValue('spec.clusterIPs[0]', 'None', "may not be set to 'None' for LoadBalancer services"));
      }
      break;
    case 'NodePort':
      if (isHeadless(service)) {
        errors.push(invalidValue('spec.clusterIPs[0]', 'None', "may not be set to 'None' for NodePort services"));
      }
      break;
    case 'ExternalName': {
      const mayNot = 'may not be set for ExternalName services';
      if ((spec.clusterIPs ?? []).length > 0) errors.push(forbiddenField('spec.clusterIPs', mayNot));
      if ((spec.ipFamilies ?? []).length > 0) errors.push(forbiddenField('spec.ipFamilies', mayNot));
      if (spec.ipFamilyPolicy !== undefined) errors.push(forbiddenField('spec.ipFamilyPolicy', mayNot));
      const name = (spec.externalName ?? '').replace(/\.$/, '');
      errors.push(
        ...(name === '' ? [required('spec.externalName')] : checkName('spec.externalName', name, dnsSubdomain)),
      );
      break;
    }
    case 'ClusterIP':
      break;
    default:
      errors.push(notSupported('spec.type', spec.type, TYPES));
  }
  return errors;
}

function portErrors(ports: readonly ServicePort[]): readonly FieldError[] {
  const names = new Set<string>();
  return ports.flatMap(({ name = '', port, protocol, targetPort, appProtocol }, index) => {
    const field = `spec.ports[${index}]`;
    const errors: FieldError[] = [];
    if (name === '') {
      if (ports.length > 1) errors.push(required(`${field}.name`));
    } else {
      errors.push(...checkName(`${field}.name`, name, dnsLabel));
      if (names.has(name)) errors.push(duplicate(`${field}.name`, name));
      names.add(name);
    }
    errors.push(...checkPort(`${field}.port`, port));
    if (!PROTOCOLS.includes(protocol ?? '')) errors.push(notSupported(`${field}.protocol`, protocol, PROTOCOLS));
    errors.push(...targetPortErrors(`${field}.targetPort`, targetPort ?? port));
    if (appProtocol !== undefined) errors.push(...checkName(`${field}.appProtocol`, appProtocol, qualifiedName));
    return errors;
  });
}

function targetPortErrors(field: string, target: number | string): readonly FieldError[] {
  if (typeof target === 'number') return checkPort(field, target);
  const say = (detail: string) => [invalidValue(field, target, detail)];
  if (target.length > 15) return say('must be no more than 15 characters');
  if (!PORT_NAME.test(target)) {
    return say('must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)');
  }
  if (!/[a-z]/.test(target)) return say('must contain at least one letter (a-z)');
  return target.includes('--') ? say('must not contain consecutive hyphens') : [];
}

function duplicatePortErrors(ports: readonly ServicePort[]): readonly FieldError[] {
  const errors: FieldError[] = [];
  const nodePorts = new Set<string>();
  const seen = new Set<string>();
  for (const [index, { protocol, nodePort = 0 }] of ports.entries()) {
    const nodeKey = `${nodePort}/${protocol}`;
    if (nodePort !== 0 && nodePorts.has(nodeKey)) errors.push(duplicate(`spec.ports[${index}].nodePort`, nodePort));
    nodePorts.add(nodeKey);
  }
  for (const [index, { port, protocol }] of ports.entries()) {
    const key = `${port}/${protocol}`;
    if (seen.has(key)) errors.push(duplicate(`spec.ports[${index}]`, { port, protocol }));
    seen.add(key);
  }
  return errors;
}

function affinityErrors({ spec }: ServiceObject): readonly FieldError[] {
  if (spec.sessionAffinity === 'None') {
    if (spec.sessionAffinityConfig === undefined) return [];
    return [forbiddenField('spec.sessionAffinityConfig', 'must not be set when session affinity is None')];
  }
  if (spec.sessionAffinity !== 'ClientIP') {
    return [notSupported('spec.sessionAffinity', spec.sessionAffinity, ['ClientIP', 'None'])];
  }
  const field = 'spec.sessionAffinityConfig.clientIP.timeoutSeconds';
  const seconds = spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? 0;
  if (seconds > 0 && seconds <= 86_400) return [];
  return [invalidValue(field, seconds, 'must be greater than 0 and less than 86400')];
}

function loadBalancerErrors({ spec, metadata }: ServiceObject): readonly FieldError[] {
  const errors: FieldError[] = [];
  const only = "may only be used when `type` is 'LoadBalancer'";
  const isLoadBalancer = spec.type === 'LoadBalancer';
  const annotation = metadata.annotations?.['service.beta.kubernetes.io/load-balancer-source-ranges'];
  const ranges = spec.loadBalancerSourceRanges ?? [];
  if (ranges.length > 0) {
    const field = 'spec.LoadBalancerSourceRanges';
    if (!isLoadBalancer) errors.push(forbiddenField(field, only));
    // Padding with blanks is allowed: the values once came from an annotation.
    for (const [index, range] of ranges.entries()) errors.push(...checkCIDR(`${field}[${index}]`, range.trim()));
  } else if (annotation !== undefined) {
    const field = 'metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]';
    if (!isLoadBalancer) errors.push(forbiddenField(field, only));
    const values = annotation.trim() === '' ? [] : annotation.split(',');
    for (const range of values) errors.push(...checkCIDR(field, range.trim()));
  }
  if (!isLoadBalancer && spec.allocateLoadBalancerNodePorts !== undefined) {
    errors.push(forbiddenField('spec.allocateLoadBalancerNodePorts', only));
  }
  if (spec.loadBalancerClass !== undefined) {
    if (!isLoadBalancer) errors.push(forbiddenField('spec.loadBalancerClass', only));
    else errors.push(...checkName('spec.loadBalancerClass', spec.loadBalancerClass, qualifiedName));
  }
  return errors;
}

function trafficErrors(service: ServiceObject): readonly FieldError[] {
  const { spec } = service;
  const errors: FieldError[] = [];
  const policies = ['Cluster', 'Local'];
  const external = spec.externalTrafficPolicy;
  if (!externallyAccessible(service)) {
    if (external !== undefined) {
      errors.push(
        invalidValue('spec.externalTrafficPolicy', external, 'may only be set for externally-accessible services'),
      );
    }
  } else if (external === undefined) {
    errors.push(required('spec.externalTrafficPolicy'));
  } else if (!policies.includes(external)) {
    errors.push(notSupported('spec.externalTrafficPolicy', external, policies));
  }
  const healthCheck = spec.healthCheckNodePort ?? 0;
  if (!needsHealthCheckNodePort(service)) {
    if (healthCheck !== 0) {
      const detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
      errors.push(invalidValue('spec.healthCheckNodePort', healthCheck, detail));
    }
  } else if (healthCheck === 0) errors.push(required('spec.healthCheckNodePort'));
  else errors.push(...checkPort('spec.healthCheckNodePort', healthCheck));
  const internal = spec.internalTrafficPolicy;
  if (internal !== undefined && !policies.includes(internal)) {
    errors.push(notSupported('spec.internalTrafficPolicy', internal, policies));
  }
  const distributions = ['PreferClose', 'PreferSameNode', 'PreferSameZone'];
  if (spec.trafficDistribution !== undefined && !distributions.includes(spec.trafficDistribution)) {
    errors.push(notSupported('spec.trafficDistribution', spec.trafficDistribution, distributions));
  }
  return errors;
}
