/**
 * The text of a configuration file → the configuration in it. As the reference does, it is strict first and lenient
 * then: what is not known or written twice is warned of and ignored, while a value of a wrong type is a fault. All
 * faults are told, each with its line and path.
 *
 * Names are case-sensitive, as in Kubernetes' own decoder (sigs.k8s.io/json): "masqueradebit" is an unknown field.
 */
import { type Fault, nearest } from './command-line.ts';
import { API_VERSION, DEFAULTS, KIND, type KubeProxyConfiguration } from './configuration.ts';
import { type AnyTree, FIELD_LIST, FIELD_TREE, type FieldPath, isField, withValues } from './fields.ts';
import { readWritten, type WrittenEntry, type WrittenMap } from './written.ts';

export interface Decoded {
  /** What the file does not say, or says wrongly, has its default. */
  readonly configuration: KubeProxyConfiguration;
  /** Where the file says it. A field that is not here has its default. */
  readonly lines: ReadonlyMap<FieldPath, number>;
  /** What the file says of these could not be read. */
  readonly unreadable: ReadonlySet<FieldPath>;
  readonly faults: readonly Fault[];
  readonly warnings: readonly Fault[];
}

export function decodeConfiguration(text: string, fileName: string): Decoded {
  const faults: Fault[] = [];
  const warnings: Fault[] = [];
  const values = new Map<FieldPath, unknown>();
  const lines = new Map<FieldPath, number>();
  const unreadable = new Set<FieldPath>();
  const at = (line: number, path: string): string => place(fileName, line, path);
  const complain = (path: string, line: number, what: string): void =>
    void faults.push({ where: at(line, path), what });

  const written = readWritten(text);
  if (!('kind' in written)) {
    for (const { line, what } of written) complain('', line, what);
  } else if (written.kind !== 'map') {
    complain('', written.line, `is not a ${KIND}; it begins with "apiVersion: ${API_VERSION}" and "kind: ${KIND}"`);
  } else if (isOurs(written, complain)) {
    readStruct(written, FIELD_TREE, '');
  }
  return { configuration: withValues(DEFAULTS, values), lines, unreadable, faults, warnings };

  function readStruct(struct: WrittenMap, tree: AnyTree, prefix: string): void {
    for (const [name, same] of Map.groupBy(struct.entries, (entry) => entry.name)) {
      const path = `${prefix}${name}`;
      const last = same.at(-1)!;
      if (prefix === '' && ENVELOPE.includes(name)) continue;
      const node = Object.hasOwn(tree, name) ? tree[name] : undefined;
      if (same.length > 1) {
        const where = same.map(({ line }) => line).join(', ');
        warnings.push({
          where: at(last.line, path),
          what: `is there ${same.length} times (lines ${where}); the last counts`,
        });
      }
      if (!node) {
        warnings.push({
          where: at(last.line, path),
          what: `is no field of a ${KIND}, and ignored${meant(name, tree, prefix)}`,
        });
      } else if (!isNull(last)) {
        if (isField(node)) readField(last, path as FieldPath, node);
        else if (last.value.kind === 'map') readStruct(last.value, node, `${path}.`);
        else complain(path, last.line, `holds fields; write them below it, for example ${Object.keys(node)[0]}`);
      }
    }
  }

  function readField(entry: WrittenEntry, path: FieldPath, field: (typeof FIELD_LIST)[number][1]): void {
    const value = field.kind.read(entry.value, path, complain);
    if (value === undefined) unreadable.add(path);
    if (value === undefined || (field.zeroIsDefault && (value === '' || value === 0))) return;
    values.set(path, value);
    lines.set(path, entry.line);
  }
}

/** "config.conf:12: iptables.masqueradeBit"; line 0 and path "" stand for the whole file. */
export function place(fileName: string, line: number, path: string): string {
  return `${fileName}${line > 0 ? `:${line}` : ''}${path === '' ? '' : `: ${path}`}`;
}

const ENVELOPE: readonly string[] = ['apiVersion', 'kind'];

function isOurs(root: WrittenMap, complain: (path: string, line: number, what: string) => void): boolean {
  const said = (name: string): WrittenEntry | undefined => root.entries.findLast((entry) => entry.name === name);
  const wrong = [
    ['kind', KIND],
    ['apiVersion', API_VERSION],
  ].filter(([name, wanted]) => {
    const value = said(name!)?.value;
    return value?.kind !== 'scalar' || value.value !== wanted;
  });
  // One fault, however much of it is wrong: a file of another kind has no field that is worth a word.
  const [first] = wrong;
  if (!first) return true;
  const entry = said(first[0]!);
  const found = entry?.value.kind === 'scalar' ? `is ${JSON.stringify(entry.value.text)}` : 'is missing';
  const remedy = wrong.map(([name, wanted]) => `"${name}: ${wanted}"`).join(' and ');
  complain(first[0]!, entry?.line ?? 0, `${found}; this file must say ${remedy}`);
  return false;
}

/** null is absent: kubeadm writes it for every field that it leaves to the default. */
function isNull({ value }: WrittenEntry): boolean {
  return value.kind === 'scalar' && value.value === null;
}

/** "; did you mean …?" for a slip of the pen, or for a field that stands in the wrong place. */
function meant(name: string, tree: AnyTree, prefix: string): string {
  const near = nearest(name, Object.keys(tree));
  if (near) return `; did you mean ${prefix}${near}?`;
  const elsewhere = FIELD_LIST.map(([path]) => path).filter((path) => path.split('.').at(-1) === name);
  return elsewhere.length > 0 ? `; did you mean ${elsewhere.join(' or ')}?` : '';
}
