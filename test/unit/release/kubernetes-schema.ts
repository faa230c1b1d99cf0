/**
 * The schemas of Kubernetes' API, and what of an object does not fit them. They are those of its OpenAPI, in the form in
 * which @kubernetes/client-node was generated from it (release 1.36): of each type the fields with types and formats in
 * its module, and in its declarations which of them are required.
 *
 * As strict as `kubectl --validate=strict`: unknown fields are faults, and so is null. Where the schema says no more than
 * "string" though the API server takes few words, those of the fields that our manifests use are listed here.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const MODELS = join(createRequire(import.meta.url).resolve('@kubernetes/client-node'), '..', 'gen', 'models');

interface Attribute {
  readonly name: string;
  readonly baseName: string;
  readonly type: string;
  readonly format: string;
}

interface Schema {
  readonly attributes: readonly Attribute[];
  readonly required: ReadonlySet<string>;
}

const WORDS: Readonly<Record<string, readonly string[]>> = {
  'V1PodSpec.dnsPolicy': ['ClusterFirst', 'ClusterFirstWithHostNet', 'Default', 'None'],
  'V1PodSpec.restartPolicy': ['Always', 'OnFailure', 'Never'],
  'V1Container.imagePullPolicy': ['Always', 'IfNotPresent', 'Never'],
  'V1SeccompProfile.type': ['RuntimeDefault', 'Localhost', 'Unconfined'],
  'V1HostPathVolumeSource.type': ['DirectoryOrCreate', 'Directory', 'FileOrCreate', 'File', 'Socket'],
  'V1EmptyDirVolumeSource.medium': ['', 'Memory'],
  'V1Toleration.operator': ['Exists', 'Equal'],
  'V1Toleration.effect': ['NoSchedule', 'PreferNoSchedule', 'NoExecute'],
  'V1DaemonSetUpdateStrategy.type': ['RollingUpdate', 'OnDelete'],
  'RbacV1Subject.kind': ['ServiceAccount', 'User', 'Group'],
  'V1RoleRef.kind': ['ClusterRole', 'Role'],
};

/** A line each, "spec.template.spec.tolerationz: …"; none when the object is right. */
export async function schemaFaults(object: unknown): Promise<readonly string[]> {
  const { apiVersion, kind } = fieldsOf(object);
  const version = String(apiVersion).split('/').at(-1) ?? '';
  const name = version.charAt(0).toUpperCase() + version.slice(1) + String(kind);
  if (!/^\w+$/.test(name) || (await schemaOf(name)) === undefined) return [`there is no ${kind} in ${apiVersion}`];
  return faultsOf(object, name, '', '', name);
}

async function faultsOf(value: unknown, type: string, format: string, path: string, field: string): Promise<string[]> {
  const list = /^(?:Array|Set)<(.*)>$/.exec(type)?.[1];
  const map = /^\{ \[key: string\]: (.*); \}$/.exec(type)?.[1];
  const fault = (what: string): string[] => [`${path === '' ? '(object)' : path}: ${what}`];
  if (list !== undefined) {
    if (!Array.isArray(value)) return fault(`${JSON.stringify(value)} is no list`);
    return all(value.map((each, index) => faultsOf(each, list, format, `${path}[${index}]`, field)));
  }
  if (map !== undefined) {
    if (!isRecord(value)) return fault(`${JSON.stringify(value)} is no map`);
    return all(Object.entries(value).map(([key, each]) => faultsOf(each, map, format, `${path}["${key}"]`, field)));
  }
  if (type === 'any') return [];
  const schema =
    /^[A-Z]\w+$/.test(type) && type !== 'IntOrString' && type !== 'Date' ? await schemaOf(type) : undefined;
  if (schema === undefined) {
    const words = WORDS[field];
    if (!isScalar(value, type, format)) return fault(`${JSON.stringify(value)} is no ${format || type}`);
    if (words === undefined || words.includes(String(value))) return [];
    return fault(`${JSON.stringify(value)} is none of ${words.join(', ')}`);
  }
  if (!isRecord(value)) return fault(`${JSON.stringify(value)} is no ${type}`);
  const at = (name: string): string => (path === '' ? name : `${path}.${name}`);
  const known = new Map(schema.attributes.map((attribute) => [attribute.baseName, attribute]));
  const missing = schema.attributes
    .filter(({ name, baseName }) => schema.required.has(name) && value[baseName] === undefined)
    .map(({ baseName }) => `${at(baseName)}: is required`);
  const given = Object.entries(value).map(async ([name, each]): Promise<string[]> => {
    const attribute = known.get(name);
    if (attribute === undefined) return [`${at(name)}: unknown field of ${type}`];
    return faultsOf(each, attribute.type, attribute.format, at(name), `${type}.${name}`);
  });
  return [...missing, ...(await all(given))];
}

function isScalar(value: unknown, type: string, format: string): boolean {
  const isInteger = Number.isInteger(value) && (format !== 'int32' || Math.abs(Number(value)) < 2 ** 31);
  switch (type) {
    case 'string':
      return typeof value === 'string';
    case 'boolean':
      return typeof value === 'boolean';
    case 'number':
      return format === 'double' ? typeof value === 'number' : isInteger;
    case 'IntOrString':
      return isInteger || typeof value === 'string';
    case 'Date':
      return typeof value === 'string' && !Number.isNaN(Date.parse(value));
    default:
      throw new Error(`the schema has a type that is not understood here: ${type}`);
  }
}

const schemas = new Map<string, Promise<Schema | undefined>>();

function schemaOf(name: string): Promise<Schema | undefined> {
  const known = schemas.get(name) ?? readSchema(name);
  schemas.set(name, known);
  return known;
}

async function readSchema(name: string): Promise<Schema | undefined> {
  const file = join(MODELS, name);
  try {
    const module = (await import(`${file}.js`)) as Readonly<
      Record<string, { getAttributeTypeMap(): readonly Attribute[] }>
    >;
    const attributes = module[name]?.getAttributeTypeMap();
    if (attributes === undefined) throw new Error(`${file}.js exports no ${name}`);
    // "'path'?: string;" or "'port': IntOrString;"
    const declared = [...readFileSync(`${file}.d.ts`, 'utf8').matchAll(/^ {4}'([^']+)'(\??):/gm)];
    if (declared.length !== attributes.length) throw new Error(`${file}: fields and declarations differ`);
    return { attributes, required: new Set(declared.flatMap(([, field, mark]) => (mark === '' ? [field!] : []))) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND') return undefined;
    throw error;
  }
}

async function all(parts: readonly Promise<string[]>[]): Promise<string[]> {
  return (await Promise.all(parts)).flat();
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return isRecord(value) ? value : {};
}
