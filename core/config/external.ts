/**
 * The configuration as others see it: in v1alpha1, with durations as Go writes them and names in the order of the
 * alphabet, as the reference prints it. Every field is there, in all stanzas (the reference shows zeros in those of the
 * modes that are not in force). It holds no secrets: a kubeconfig is named, not quoted.
 */
import { Document, visit } from 'yaml';
import { API_VERSION, DEFAULTS, KIND, type KubeProxyConfiguration } from './configuration.ts';
import { FIELD_LIST, type Field, type FieldPath, valueAt } from './fields.ts';

/** Plain values, as for JSON. What is ours is left out where it says nothing, so that the reference can read it. */
export type External = { readonly [name: string]: unknown };

export function toExternal(configuration: KubeProxyConfiguration): External {
  const result: Record<string, unknown> = { apiVersion: API_VERSION, kind: KIND };
  for (const [path, field] of FIELD_LIST) {
    const value = valueAt(configuration, path);
    if (field.ours && isDefault(path, value)) continue;
    const names = path.split('.');
    const last = names.pop()!;
    let parent = result;
    for (const name of names) {
      parent[name] ??= {};
      parent = parent[name] as Record<string, unknown>;
    }
    parent[last] = writeValue(value, field);
  }
  return sortNames(result) as External;
}

/** YAML that this program and the reference read back as the same configuration. */
export function printConfiguration(configuration: KubeProxyConfiguration): string {
  // By the rules of YAML 1.1, which Kubernetes reads: a text such as "off" needs quotes there.
  const document = new Document(toExternal(configuration), { version: '1.1' });
  visit(document, {
    Scalar(_key, scalar) {
      if (typeof scalar.value === 'string' && NUMBER_OF_1_2.test(scalar.value)) scalar.type = 'QUOTE_DOUBLE';
    },
  });
  return document.toString({ lineWidth: 0 });
}

/** A number to YAML 1.2, which this program reads, and none to 1.1. */
const NUMBER_OF_1_2 = /^0o[0-7]+$/;

/** The shortest duration that Go has: nearest to "none at all" where a file's 0 means the default. */
const NEXT_TO_NOTHING_MS = 1e-6;

function writeValue(value: unknown, field: Field<unknown>): unknown {
  const isNothing = field.zeroIsDefault && value === 0;
  return field.kind.write(isNothing ? NEXT_TO_NOTHING_MS : value);
}

export function isDefault(path: FieldPath, value: unknown): boolean {
  return JSON.stringify(value) === JSON.stringify(valueAt(DEFAULTS, path));
}

function sortNames(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortNames);
  if (typeof value !== 'object' || value === null) return value;
  const sorted = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(sorted.map(([name, inner]) => [name, sortNames(inner)]));
}
