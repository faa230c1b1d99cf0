/** The Service as the server's decoder reads it, and the questions about its type that several rules ask. */
import { CONDITION, OBJECT_META, type ObjectShape } from '../api/schema.ts';
import type { KubeObject } from './kind.ts';

export type Family = 'IPv4' | 'IPv6';

export interface ServicePort {
  name?: string;
  protocol?: string;
  appProtocol?: string;
  port: number;
  targetPort?: number | string;
  nodePort?: number;
}

export interface ServiceSpec {
  ports?: ServicePort[];
  selector?: Record<string, string>;
  clusterIP?: string;
  clusterIPs?: string[];
  type?: string;
  externalIPs?: string[];
  sessionAffinity?: string;
  loadBalancerIP?: string;
  loadBalancerSourceRanges?: string[];
  externalName?: string;
  externalTrafficPolicy?: string;
  healthCheckNodePort?: number;
  sessionAffinityConfig?: { clientIP?: { timeoutSeconds?: number } };
  ipFamilies?: Family[];
  ipFamilyPolicy?: string;
  allocateLoadBalancerNodePorts?: boolean;
  loadBalancerClass?: string;
  internalTrafficPolicy?: string;
  trafficDistribution?: string;
}

export interface ServiceStatus {
  loadBalancer: { ingress?: { ip?: string; hostname?: string; ipMode?: string }[] };
}

export interface ServiceObject extends KubeObject {
  spec: ServiceSpec;
  status: ServiceStatus;
}

/** The decoder made it so: `spec` and `status` are always there. */
export function asService(object: KubeObject): ServiceObject {
  return object as ServiceObject;
}

export const SERVICE_SHAPE: ObjectShape = {
  type: 'Service',
  fields: {
    metadata: OBJECT_META,
    spec: {
      type: 'ServiceSpec',
      always: true,
      fields: {
        ports: {
          list: {
            type: 'ServicePort',
            fields: {
              name: 'string',
              protocol: 'string',
              appProtocol: 'string!',
              port: 'int32!',
              targetPort: 'intstr',
              nodePort: 'int32',
            },
          },
        },
        selector: { map: 'string' },
        clusterIP: 'string',
        clusterIPs: { list: 'string' },
        type: 'string',
        externalIPs: { list: 'string' },
        sessionAffinity: 'string',
        loadBalancerIP: 'string',
        loadBalancerSourceRanges: { list: 'string' },
        externalName: 'string',
        externalTrafficPolicy: 'string',
        healthCheckNodePort: 'int32',
        publishNotReadyAddresses: 'bool',
        sessionAffinityConfig: {
          type: 'SessionAffinityConfig',
          fields: { clientIP: { type: 'ClientIPConfig', fields: { timeoutSeconds: 'int32!' } } },
        },
        ipFamilies: { list: 'string' },
        ipFamilyPolicy: 'string!',
        allocateLoadBalancerNodePorts: 'bool!',
        loadBalancerClass: 'string!',
        internalTrafficPolicy: 'string!',
        trafficDistribution: 'string!',
      },
    },
    status: {
      type: 'ServiceStatus',
      always: true,
      fields: {
        loadBalancer: {
          type: 'LoadBalancerStatus',
          always: true,
          fields: {
            ingress: {
              list: {
                type: 'LoadBalancerIngress',
                fields: {
                  ip: 'string',
                  hostname: 'string',
                  ipMode: 'string!',
                  ports: {
                    list: { type: 'PortStatus', fields: { port: 'int32!', protocol: 'string!', error: 'string!' } },
                  },
                },
              },
            },
          },
        },
        conditions: { list: CONDITION },
      },
    },
  },
};

export function needsClusterIP({ spec }: ServiceObject): boolean {
  return spec.type !== 'ExternalName';
}

export function isHeadless({ spec }: ServiceObject): boolean {
  return spec.clusterIP === 'None' || spec.clusterIPs?.[0] === 'None';
}

export function needsNodePorts({ spec }: ServiceObject): boolean {
  return (
    spec.type === 'NodePort' || (spec.type === 'LoadBalancer' && (spec.allocateLoadBalancerNodePorts ?? true) !== false)
  );
}

/** May have node ports, even if none are to be allocated for it. */
export function mayHaveNodePorts({ spec }: ServiceObject): boolean {
  return spec.type === 'NodePort' || spec.type === 'LoadBalancer';
}

export function needsHealthCheckNodePort({ spec }: ServiceObject): boolean {
  return spec.type === 'LoadBalancer' && spec.externalTrafficPolicy === 'Local';
}

export function externallyAccessible({ spec }: ServiceObject): boolean {
  return (
    spec.type === 'NodePort' ||
    spec.type === 'LoadBalancer' ||
    (spec.type === 'ClusterIP' && (spec.externalIPs ?? []).length > 0)
  );
}
