/**
 * Faults of single fields, worded as k8s.io/apimachinery's field package words them; api/status.ts makes the 422 of
 * them. Also the checks of names, labels and addresses that all kinds share.
 */
import { isIP } from 'node:net';

export interface FieldError {
  readonly field: string;
  /** The cause's reason, for example FieldValueInvalid. */
  readonly reason: string;
  readonly message: string;
}

export function invalidValue(field: string, value: unknown, detail: string): FieldError {
  return { field, reason: 'FieldValueInvalid', message: `Invalid value: ${JSON.stringify(value)}: ${detail}` };
}

export function required(field: string, detail = ''): FieldError {
  return {
    field,
    reason: 'FieldValueRequired',
    message: detail === '' ? 'Required value' : `Required value: ${detail}`,
  };
}

export function duplicate(field: string, value: unknown): FieldError {
  return { field, reason: 'FieldValueDuplicate', message: `Duplicate value: ${JSON.stringify(value)}` };
}

export function notSupported(field: string, value: unknown, supported: readonly string[]): FieldError {
  const list = supported.map((one) => JSON.stringify(one)).join(', ');
  const message = `Unsupported value: ${JSON.stringify(value)}: supported values: ${list}`;
  return { field, reason: 'FieldValueNotSupported', message };
}

export function forbiddenField(field: string, detail: string): FieldError {
  return { field, reason: 'FieldValueForbidden', message: `Forbidden: ${detail}` };
}

export function tooMany(field: string, actual: number, most: number): FieldError {
  return {
    field,
    reason: 'FieldValueTooMany',
    message: `Too many: ${actual}: must have at most ${most} ${most === 1 ? 'item' : 'items'}`,
  };
}

export function tooLong(field: string, most: number): FieldError {
  return { field, reason: 'FieldValueTooLong', message: `Too long: may not be more than ${most} bytes` };
}

const DNS_LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const DNS_1035 = /^[a-z]([-a-z0-9]*[a-z0-9])?$/;
const DNS_SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const QUALIFIED_PART = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;
const LABEL_VALUE = /^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$/;

const LABEL_MESSAGE =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an " +
  "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_MESSAGE =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end " +
  "with an alphanumeric character (e.g. 'example.com', regex used for validation is " +
  "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const DNS_1035_MESSAGE =
  "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end " +
  "with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE_MESSAGE =
  "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end " +
  "with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is " +
  "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED_MESSAGE =
  "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric " +
  "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is " +
  "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/** Each returns what is wrong with the text, in the server's words; nothing when it is fine. */
export type NameRule = (name: string) => readonly string[];

function atMost(length: number, text: string): readonly string[] {
  return text.length > length ? [`must be no more than ${length} characters`] : [];
}

export const dnsLabel: NameRule = (name) => [...atMost(63, name), ...(DNS_LABEL.test(name) ? [] : [LABEL_MESSAGE])];

export const dns1035Label: NameRule = (name) => [
  ...atMost(63, name),
  ...(DNS_1035.test(name) ? [] : [DNS_1035_MESSAGE]),
];

export const dnsSubdomain: NameRule = (name) => [
  ...atMost(253, name),
  ...(DNS_SUBDOMAIN.test(name) ? [] : [SUBDOMAIN_MESSAGE]),
];

export const labelValue: NameRule = (value) => [
  ...atMost(63, value),
  ...(LABEL_VALUE.test(value) ? [] : [LABEL_VALUE_MESSAGE]),
];

/** "name" or "prefix/name", as label and annotation keys are. */
export const qualifiedName: NameRule = (text) => {
  const parts = text.split('/');
  const [prefix, name] = parts.length === 1 ? [undefined, parts[0]!] : [parts[0]!, parts[1]!];
  if (parts.length > 2) {
    return [
      "a qualified name must consist of alphanumeric characters, '-', '_' or '.', with an optional DNS subdomain prefix " +
        "and '/' (e.g. 'example.com/MyName')",
    ];
  }
  const faults: string[] = [];
  if (prefix === '') faults.push('prefix part must be non-empty');
  else if (prefix !== undefined) faults.push(...dnsSubdomain(prefix).map((fault) => `prefix part ${fault}`));
  if (name === '') faults.push('name part must be non-empty');
  else if (name.length > 63) faults.push('name part must be no more than 63 characters');
  if (!QUALIFIED_PART.test(name)) faults.push(QUALIFIED_MESSAGE);
  return faults;
};

export function checkName(field: string, name: string, rule: NameRule): readonly FieldError[] {
  return rule(name).map((fault) => invalidValue(field, name, fault));
}

export function checkLabels(
  field: string,
  labels: Readonly<Record<string, string>> | undefined,
): readonly FieldError[] {
  return Object.entries(labels ?? {}).flatMap(([key, value]) => [
    ...qualifiedName(key).map((fault) => invalidValue(field, key, fault)),
    ...labelValue(value).map((fault) => invalidValue(field, value, fault)),
  ]);
}

export function checkPort(field: string, port: number): readonly FieldError[] {
  return port >= 1 && port <= 65_535 ? [] : [invalidValue(field, port, 'must be between 1 and 65535, inclusive')];
}

/** isIP rejects leading zeros, as the server does for new values; zones ("fe80::1%eth0") are no addresses there. */
export function ipFamily(text: string): 'IPv4' | 'IPv6' | undefined {
  if (text.includes('%')) return undefined;
  const version = isIP(text);
  return version === 0 ? undefined : version === 4 ? 'IPv4' : 'IPv6';
}

export function checkIP(field: string, text: string): readonly FieldError[] {
  if (ipFamily(text) !== undefined) return [];
  return [invalidValue(field, text, 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)')];
}

export function checkCIDR(field: string, text: string): readonly FieldError[] {
  const [address = '', length = '', ...rest] = text.split('/');
  const family = ipFamily(address);
  const most = family === 'IPv4' ? 32 : 128;
  if (family !== undefined && /^(0|[1-9]\d{0,2})$/.test(length) && Number(length) <= most && rest.length === 0)
    return [];
  return [invalidValue(field, text, 'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)')];
}

/** Addresses that no endpoint and no external IP may have: traffic to them would stay on, or never leave, a node. */
export function checkOrdinaryIP(field: string, text: string): readonly FieldError[] {
  const family = ipFamily(text);
  if (family === undefined) return [invalidValue(field, text, 'must be a valid IP address')];
  const v6 = text.toLowerCase();
  const say = (detail: string) => [invalidValue(field, text, detail)];
  if (text === '0.0.0.0' || isUnspecified(v6)) return say('may not be unspecified (0.0.0.0 or ::)');
  if (text.startsWith('127.') || isLoopback6(v6)) return say('may not be in the loopback range (127.0.0.0/8, ::1/128)');
  if (text.startsWith('169.254.') || /^fe[89ab]/.test(v6)) {
    return say('may not be in the link-local range (169.254.0.0/16, fe80::/10)');
  }
  if (text.startsWith('224.0.0.') || /^ff[0-9a-f]2:/.test(v6)) {
    return say('may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)');
  }
  return [];
}

function isUnspecified(v6: string): boolean {
  return v6.includes(':') && /^[0:]+$/.test(v6);
}

function isLoopback6(v6: string): boolean {
  return v6.includes(':') && /^[0:]*1$/.test(v6) && /:0*1$/.test(v6);
}
