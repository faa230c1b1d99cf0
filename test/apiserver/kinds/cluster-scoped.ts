/** Kinds without a namespace: Node, Namespace, ServiceCIDR; of each what this proxy and its tests need validated. */
import {
  checkCIDR,
  duplicate,
  type FieldError,
  forbiddenField,
  invalidValue,
  ipFamily,
  required,
} from '../api/field-errors.ts';
import { CONDITION, OBJECT_META, type ObjectShape } from '../api/schema.ts';
import { ALL_VERBS, type Kind, type KubeObject } from './kind.ts';

const COMMON = {
  version: 'v1',
  namespaced: false,
  hasStatus: true,
  createsWithStatus: false,
  createOnUpdate: false,
  deleteReturnsObject: false,
  counted: false,
} as const;

interface NodeObject extends KubeObject {
  spec: { podCIDR?: string; podCIDRs?: string[]; providerID?: string; unschedulable?: boolean };
  status: { addresses?: { type: string; address: string }[] };
}

const NODE_SHAPE: ObjectShape = {
  type: 'Node',
  fields: {
    metadata: OBJECT_META,
    spec: {
      type: 'NodeSpec',
      always: true,
      fields: {
        podCIDR: 'string',
        podCIDRs: { list: 'string' },
        providerID: 'string',
        unschedulable: 'bool',
        taints: {
          list: {
            type: 'Taint',
            fields: { key: 'string!', value: 'string', effect: 'string!', timeAdded: 'time' },
          },
        },
        configSource: 'any',
        externalID: 'string',
      },
    },
    status: {
      type: 'NodeStatus',
      always: true,
      fields: {
        capacity: 'any',
        allocatable: 'any',
        phase: 'string',
        conditions: { list: 'any' },
        addresses: { list: { type: 'NodeAddress', fields: { type: 'string!', address: 'string!' } } },
        daemonEndpoints: 'any',
        nodeInfo: 'any',
        images: 'any',
        volumesInUse: 'any',
        volumesAttached: 'any',
        config: 'any',
        runtimeHandlers: 'any',
        features: 'any',
        declaredFeatures: 'any',
      },
    },
  },
};

export const NODES: Kind = {
  ...COMMON,
  group: '',
  plural: 'nodes',
  singular: 'node',
  kind: 'Node',
  shortNames: ['no'],
  createsWithStatus: true,
  verbs: ALL_VERBS,
  shape: NODE_SHAPE,
  empty: { spec: {}, status: { daemonEndpoints: { kubeletEndpoint: { Port: 0 } }, nodeInfo: {} } },
  ownFieldLabels: true,
  selectable: { 'spec.unschedulable': (object) => String((object as NodeObject).spec.unschedulable ?? false) },
  setDefaults(object) {
    // podCIDR is podCIDRs[0]; who gives only one of them gets both.
    const { spec } = object as NodeObject;
    if (spec.podCIDR !== undefined) spec.podCIDRs ??= [spec.podCIDR];
    const [first] = spec.podCIDRs ?? [];
    if (first !== undefined) spec.podCIDR ??= first;
  },
  validate(object, old) {
    const { spec, status } = object as NodeObject;
    const errors: FieldError[] = [];
    const cidrs = spec.podCIDRs ?? [];
    for (const [index, cidr] of cidrs.entries()) {
      errors.push(...checkCIDR(`spec.podCIDRs[${index}]`, cidr));
      if (cidrs.indexOf(cidr) < index) errors.push(duplicate(`spec.podCIDRs[${index}]`, cidr));
    }
    if (cidrs.length > 2 || (cidrs.length === 2 && familyOf(cidrs[0]!) === familyOf(cidrs[1]!))) {
      errors.push(invalidValue('spec.podCIDRs', cidrs, 'may specify no more than one CIDR for each IP family'));
    }
    if (spec.podCIDR !== undefined && cidrs[0] !== spec.podCIDR) {
      errors.push(invalidValue('spec.podCIDR', spec.podCIDR, 'must match spec.podCIDRs[0]'));
    }
    if (old === undefined) return errors;
    errors.push(...addressErrors(status.addresses ?? []));
    const before = (old as NodeObject).spec;
    if ((before.podCIDRs ?? []).length > 0 && JSON.stringify(before.podCIDRs) !== JSON.stringify(cidrs)) {
      const detail = 'node updates may not change podCIDR except from "" to valid';
      errors.push(forbiddenField('spec.podCIDRs', detail));
    }
    if (before.providerID !== undefined && before.providerID !== spec.providerID) {
      const detail = 'node updates may not change providerID except from "" to valid';
      errors.push(forbiddenField('spec.providerID', detail));
    }
    return errors;
  },
  validateStatus: (object) => addressErrors((object as NodeObject).status.addresses ?? []),
};

function addressErrors(addresses: readonly { type: string; address: string }[]): readonly FieldError[] {
  const seen = new Set<string>();
  return addresses.flatMap((address, index) => {
    const key = `${address.type}/${address.address}`;
    const again = seen.has(key);
    seen.add(key);
    return again ? [duplicate(`status.addresses[${index}]`, address)] : [];
  });
}

function familyOf(cidr: string): string | undefined {
  return ipFamily(cidr.split('/')[0] ?? '');
}

export const NAMESPACES: Kind = {
  ...COMMON,
  group: '',
  plural: 'namespaces',
  singular: 'namespace',
  kind: 'Namespace',
  shortNames: ['ns'],
  verbs: ALL_VERBS.filter((verb) => verb !== 'deletecollection'),
  shape: {
    type: 'Namespace',
    fields: {
      metadata: OBJECT_META,
      spec: { type: 'NamespaceSpec', always: true, fields: { finalizers: { list: 'string' } } },
      status: { type: 'NamespaceStatus', always: true, fields: { phase: 'string', conditions: { list: CONDITION } } },
    },
  },
  empty: { spec: {}, status: {} },
  ownFieldLabels: true,
  selectable: { 'status.phase': (object) => String((object.status as { phase?: string }).phase ?? '') },
  setDefaults(object, old) {
    object.metadata.labels = { ...object.metadata.labels, 'kubernetes.io/metadata.name': object.metadata.name ?? '' };
    if (old === undefined) object.spec = { finalizers: ['kubernetes'] };
    if (old === undefined) object.status = { phase: 'Active' };
  },
  validate: () => [],
};

interface ServiceCIDRObject extends KubeObject {
  spec: { cidrs?: string[] };
}

export const SERVICE_CIDRS: Kind = {
  ...COMMON,
  group: 'networking.k8s.io',
  plural: 'servicecidrs',
  singular: 'servicecidr',
  kind: 'ServiceCIDR',
  shortNames: [],
  verbs: ALL_VERBS,
  shape: {
    type: 'ServiceCIDR',
    fields: {
      metadata: OBJECT_META,
      spec: { type: 'ServiceCIDRSpec', always: true, fields: { cidrs: { list: 'string' } } },
      status: { type: 'ServiceCIDRStatus', always: true, fields: { conditions: { list: CONDITION } } },
    },
  },
  empty: { spec: {}, status: {} },
  ownFieldLabels: false,
  selectable: {},
  setDefaults() {},
  validate(object, old) {
    const cidrs = (object as ServiceCIDRObject).spec.cidrs ?? [];
    if (old !== undefined) {
      const same = JSON.stringify((old as ServiceCIDRObject).spec.cidrs ?? []) === JSON.stringify(cidrs);
      return same ? [] : [invalidValue('spec.cidrs', cidrs, 'field is immutable')];
    }
    if (cidrs.length === 0) return [required('spec.cidrs', 'at least one CIDR required')];
    if (cidrs.length > 2) return [invalidValue('spec.cidrs', { cidrs }, 'may only hold up to 2 values')];
    if (cidrs.length === 2 && familyOf(cidrs[0]!) === familyOf(cidrs[1]!)) {
      const detail = 'may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64';
      return [invalidValue('spec.cidrs', { cidrs }, detail)];
    }
    return cidrs.flatMap((cidr, index) => checkCIDR(`spec.cidrs[${index}]`, cidr));
  },
  validateStatus: () => [],
};
