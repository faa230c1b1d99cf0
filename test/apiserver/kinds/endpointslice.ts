/** EndpointSlices (discovery.k8s.io/v1): pkg/apis/discovery/validation of Kubernetes. */
import {
  checkIP,
  checkName,
  checkOrdinaryIP,
  checkPort,
  dnsLabel,
  dnsSubdomain,
  duplicate,
  type FieldError,
  invalidValue,
  ipFamily,
  notSupported,
  qualifiedName,
  required,
  tooMany,
} from '../api/field-errors.ts';
import { OBJECT_META, OBJECT_REFERENCE, type ObjectShape } from '../api/schema.ts';
import { ALL_VERBS, type Kind, type KubeObject } from './kind.ts';

interface Endpoint {
  addresses?: string[];
  conditions?: { ready?: boolean; serving?: boolean; terminating?: boolean };
  hostname?: string;
  targetRef?: Record<string, string>;
  nodeName?: string;
  zone?: string;
  hints?: { forZones?: { name: string }[]; forNodes?: { name: string }[] };
}

interface EndpointPort {
  name?: string;
  protocol?: string;
  port?: number;
  appProtocol?: string;
}

interface SliceObject extends KubeObject {
  addressType?: string;
  endpoints: Endpoint[] | null;
  ports: EndpointPort[] | null;
}

const HINT: ObjectShape = { type: 'ForZone', fields: { name: 'string!' } };

const SHAPE: ObjectShape = {
  type: 'EndpointSlice',
  fields: {
    metadata: OBJECT_META,
    addressType: 'string!',
    endpoints: {
      keepEmpty: true,
      list: {
        type: 'Endpoint',
        fields: {
          addresses: { list: 'string', keepEmpty: true },
          conditions: {
            type: 'EndpointConditions',
            always: true,
            fields: { ready: 'bool!', serving: 'bool!', terminating: 'bool!' },
          },
          hostname: 'string!',
          targetRef: OBJECT_REFERENCE,
          deprecatedTopology: { map: 'string' },
          nodeName: 'string!',
          zone: 'string!',
          hints: { type: 'EndpointHints', fields: { forZones: { list: HINT }, forNodes: { list: HINT } } },
        },
      },
    },
    ports: {
      keepEmpty: true,
      list: {
        type: 'EndpointPort',
        fields: { name: 'string!', protocol: 'string!', port: 'int32!', appProtocol: 'string!' },
      },
    },
  },
};

const ADDRESS_TYPES = ['FQDN', 'IPv4', 'IPv6'];
const PROTOCOLS = ['SCTP', 'TCP', 'UDP'];
const MOST_ENDPOINTS = 1000;
const MOST_PORTS = 20_000;
const MOST_ADDRESSES = 100;
const MOST_HINTS = 8;

export const ENDPOINT_SLICES: Kind = {
  group: 'discovery.k8s.io',
  version: 'v1',
  plural: 'endpointslices',
  singular: 'endpointslice',
  kind: 'EndpointSlice',
  shortNames: [],
  namespaced: true,
  verbs: ALL_VERBS,
  shape: SHAPE,
  hasStatus: false,
  createsWithStatus: false,
  createOnUpdate: false,
  deleteReturnsObject: false,
  counted: true,
  empty: { addressType: '', endpoints: null, ports: null },
  ownFieldLabels: false,
  selectable: {},
  setDefaults(object) {
    for (const port of (object as SliceObject).ports ?? []) {
      port.name ??= '';
      port.protocol ??= 'TCP';
    }
  },
  validate(object, old) {
    const slice = object as SliceObject;
    const errors = [...validate(slice)];
    if (old !== undefined && (old as SliceObject).addressType !== slice.addressType) {
      errors.push(invalidValue('addressType', slice.addressType, 'field is immutable'));
    }
    return errors;
  },
};

function validate({ addressType, endpoints, ports }: SliceObject): readonly FieldError[] {
  const errors: FieldError[] = [];
  if ((addressType ?? '') === '') errors.push(required('addressType'));
  else if (!ADDRESS_TYPES.includes(addressType!)) errors.push(notSupported('addressType', addressType, ADDRESS_TYPES));
  const list = endpoints ?? [];
  if (list.length > MOST_ENDPOINTS) errors.push(tooMany('endpoints', list.length, MOST_ENDPOINTS));
  else errors.push(...list.flatMap((endpoint, index) => endpointErrors(endpoint, addressType, `endpoints[${index}]`)));
  return [...errors, ...portErrors(ports ?? [])];
}

function endpointErrors(endpoint: Endpoint, addressType: string | undefined, field: string): readonly FieldError[] {
  const errors: FieldError[] = [];
  const addresses = endpoint.addresses ?? [];
  if (addresses.length === 0) errors.push(required(`${field}.addresses`, 'must contain at least 1 address'));
  if (addresses.length > MOST_ADDRESSES) errors.push(tooMany(`${field}.addresses`, addresses.length, MOST_ADDRESSES));
  for (const [index, address] of addresses.entries()) {
    errors.push(...addressErrors(address, addressType, `${field}.addresses[${index}]`));
  }
  if (endpoint.hostname !== undefined) errors.push(...checkName(`${field}.hostname`, endpoint.hostname, dnsLabel));
  if (endpoint.nodeName !== undefined) errors.push(...checkName(`${field}.nodeName`, endpoint.nodeName, dnsSubdomain));
  for (const kind of ['forZones', 'forNodes'] as const) {
    const hints = endpoint.hints?.[kind] ?? [];
    const place = `${field}.hints.${kind}`;
    if (hints.length > MOST_HINTS) errors.push(tooMany(place, hints.length, MOST_HINTS));
    const seen = new Set<string>();
    for (const [index, { name }] of hints.entries()) {
      if (name === '') errors.push(required(`${place}[${index}].name`, 'must be non-empty'));
      if (seen.has(name)) errors.push(duplicate(`${place}[${index}].name`, name));
      seen.add(name);
    }
  }
  return errors;
}

function addressErrors(address: string, addressType: string | undefined, field: string): readonly FieldError[] {
  switch (addressType) {
    case 'IPv4':
    case 'IPv6': {
      const bad = checkIP(field, address);
      if (bad.length > 0) return bad;
      if (ipFamily(address) !== addressType) {
        return [invalidValue(field, address, `must be a valid ${addressType} address`)];
      }
      return checkOrdinaryIP(field, address);
    }
    case 'FQDN': {
      const bad = checkName(field, address.replace(/\.$/, ''), dnsSubdomain);
      if (bad.length > 0) return bad;
      if (address.replace(/\.$/, '').includes('.')) return [];
      return [invalidValue(field, address, 'should be a domain with at least two segments separated by dots')];
    }
    default:
      return [];
  }
}

function portErrors(ports: readonly EndpointPort[]): readonly FieldError[] {
  if (ports.length > MOST_PORTS) return [tooMany('ports', ports.length, MOST_PORTS)];
  const names = new Set<string>();
  return ports.flatMap(({ name = '', protocol = '', port, appProtocol }, index) => {
    const field = `ports[${index}]`;
    const errors: FieldError[] = [];
    if (name !== '') errors.push(...checkName(`${field}.name`, name, dnsLabel));
    if (names.has(name)) errors.push(duplicate(`${field}.name`, name));
    names.add(name);
    if (!PROTOCOLS.includes(protocol)) errors.push(notSupported(`${field}.protocol`, protocol, PROTOCOLS));
    if (port !== undefined) errors.push(...checkPort(`${field}.port`, port));
    if (appProtocol !== undefined) errors.push(...checkName(`${field}.appProtocol`, appProtocol, qualifiedName));
    return errors;
  });
}
