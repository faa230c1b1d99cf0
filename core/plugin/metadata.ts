/** Whether what a plugin's file exports is a `BackendPlugin` that this program can use. Pure; it calls nothing of it. */
import { BACKEND_API_VERSION, type BackendPlugin } from '../backend.ts';
import { PLUGIN_NAME } from '../config/validate.ts';
import { PLUGIN_MEMBERS } from './contract-members.ts';
import { type PluginFaultCode, pluginFault } from './fault.ts';
import { foundInstead, misspelt } from './members.ts';

export interface Expected {
  /** Begins every fault: its file. */
  readonly about: string;
  /** The name by which it was asked for; undefined if by its path. */
  readonly name?: string | undefined;
  /** Names that mean something else. */
  readonly reserved: readonly string[];
}

/**
 * Throws one `PluginFault` with every fault of the first kind that it finds: by version, since another one may look
 * otherwise altogether, then by shape, then by name.
 */
export function checkPlugin(exported: unknown, expected: Expected): BackendPlugin {
  const fail = (code: PluginFaultCode, ...faults: readonly string[]): void => {
    if (faults.length > 0) throw pluginFault(code, `${expected.about}: ${faults.join('; ')}`);
  };
  const read = membersOf(exported);
  const example = `export default { name, apiVersion: ${BACKEND_API_VERSION}, summary, create }`;
  if (!read) {
    fail('KP_PLUGIN_NOT_A_PLUGIN', `exports ${kindOf(exported)} and no backend plugin; write ${example}`);
  } else if (ESSENTIAL.every((member) => read[member] === undefined)) {
    const inside = pluginIn(exported);
    const statement = expected.about.endsWith('.cjs') ? 'module.exports =' : 'export default';
    const found = inside === undefined ? `nothing of ${ESSENTIAL.join(', ')}` : `but one by the name ${inside}`;
    const remedy = inside === undefined ? example : `${statement} ${inside}`;
    fail('KP_PLUGIN_NOT_A_PLUGIN', `exports no backend plugin, ${found}; write ${remedy}`);
  } else {
    fail('KP_PLUGIN_API_VERSION', ...versionFaults(read.apiVersion));
    fail('KP_PLUGIN_NOT_A_PLUGIN', ...shapeFaults(read, exported));
    fail('KP_PLUGIN_NAME', ...nameFaults(String(read.name), expected));
  }
  return exported as BackendPlugin;
}

/**
 * The plugin in what `import()` gives: the default export, which for CommonJS is `module.exports`; for CommonJS that was
 * made of an ES module that in turn has a default.
 */
export function defaultExport(namespace: unknown): unknown {
  let exported = namespace;
  for (let depth = 0; depth < 2; depth++) {
    const { create, default: inner } = membersOf(exported) ?? {};
    if (create !== undefined || inner === undefined) return exported;
    exported = inner;
  }
  return exported;
}

const ESSENTIAL = ['name', 'apiVersion', 'create'] as const;
/** Those of the contract, and that of an ES module which became one of CommonJS. */
type Member = keyof BackendPlugin | 'default';
const MEMBERS = [...Object.keys(PLUGIN_MEMBERS), 'default'] as readonly Member[];
type Members = Readonly<Record<Member, unknown>>;

/** Each read once; a member that throws when it is read counts as not there. Undefined for what has no members. */
function membersOf(value: unknown): Members | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const all = value as Members;
  const entries = MEMBERS.map((member): [string, unknown] => {
    try {
      return [member, all[member]];
    } catch {
      return [member, undefined];
    }
  });
  return Object.fromEntries(entries) as Members;
}

/** The name under which a module exports a plugin, where it should be the default export. */
function pluginIn(exported: unknown): string | undefined {
  if (typeof exported !== 'object' || exported === null) return undefined;
  try {
    const [name] = Object.entries(exported).find(([, value]) => typeof membersOf(value)?.create === 'function') ?? [];
    return name;
  } catch {
    return undefined;
  }
}

function versionFaults(version: unknown): readonly string[] {
  if (typeof version !== 'number' || version === BACKEND_API_VERSION) return [];
  const isNewer = version > BACKEND_API_VERSION;
  const older = isNewer ? 'this kube-proxy is the older one' : 'the plugin is the older one';
  const remedy = isNewer ? 'use a newer kube-proxy, or an older plugin' : 'use a newer plugin, or an older kube-proxy';
  const versions = `was written for version ${version} of the plugin API, and this kube-proxy has ${BACKEND_API_VERSION}`;
  return [`${versions}: ${older}; ${remedy}`];
}

function shapeFaults(read: Members, exported: unknown): readonly string[] {
  const {
    name,
    apiVersion,
    create,
    summary,
    version,
    leavesHostAlone,
    hidesSources,
    endsWithProcess,
    protocols,
    render,
  } = read;
  const faults: string[] = [];
  const others = misspelt(exported, PLUGIN_MEMBERS);
  const need = (member: string, value: unknown, isGood: boolean, what: string): void => {
    if (isGood) return;
    const missing = `${member} is missing${foundInstead(member, others)}: ${what}`;
    faults.push(value === undefined ? missing : `${member} is ${kindOf(value)}, not ${what}`);
  };
  need('name', name, typeof name === 'string', 'a text');
  need('apiVersion', apiVersion, typeof apiVersion === 'number', `the number ${BACKEND_API_VERSION}`);
  need('summary', summary, isLine(summary), 'a text of one line');
  need('create', create, typeof create === 'function', 'a function of host and options');
  const may = (member: string, value: unknown, isGood: boolean, what: string): void => {
    if (value !== undefined) need(member, value, isGood, what);
  };
  may('version', version, isLine(version), 'a text of one line');
  may('leavesHostAlone', leavesHostAlone, typeof leavesHostAlone === 'boolean', 'true or false');
  may('hidesSources', hidesSources, typeof hidesSources === 'boolean', 'true or false');
  may('endsWithProcess', endsWithProcess, typeof endsWithProcess === 'boolean', 'true or false');
  may('protocols', protocols, isProtocols(protocols), 'a list of "TCP", "UDP" and "SCTP"');
  may('render', render, typeof render === 'function', 'a function of changes, options and printers');
  return faults;
}

function isProtocols(value: unknown): boolean {
  return Array.isArray(value) && value.length > 0 && value.every((one) => ['TCP', 'UDP', 'SCTP'].includes(one));
}

function nameFaults(name: string, { name: wanted, reserved }: Expected): readonly string[] {
  const faults: string[] = [];
  const shown = JSON.stringify(name);
  if (!PLUGIN_NAME.test(name)) {
    faults.push(`calls itself ${shown}; a name is at most 63 lower-case letters, digits and "-"`);
  } else if (reserved.includes(name)) {
    faults.push(`calls itself ${shown}, which is a backend of kube-proxy's own; give it another name`);
  }
  if (wanted !== undefined && wanted !== name) {
    faults.push(`was asked for as ${JSON.stringify(wanted)} and calls itself ${shown}; name its file as the plugin is`);
  }
  return faults;
}

function isLine(value: unknown): value is string {
  return typeof value === 'string' && value.trim() !== '' && !/[\p{Cc}\u2028\u2029]/u.test(value);
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return value === null ? 'null' : 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'string') return value === '' ? 'an empty text' : 'a text';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
