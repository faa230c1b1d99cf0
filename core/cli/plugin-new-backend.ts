/** NAME.js of a new plugin, with "my-backend" for its name: a backend that works, and says what each part must do. */
export const BACKEND_TEMPLATE = `// @ts-check
/**
 * my-backend: a data plane for kube-proxy.
 *
 *   kube-proxy ──Change──▶ sync ──▶ /run/my-backend.IPv4.json, /run/my-backend.IPv6.json
 *
 * It works as it is: what this node must serve is kept in one file for each IP family, replaced as a whole. Put your
 * own data plane in the place of \`readFileIfThere\` and \`replaceFile\`. The contract is in kube-proxy.d.ts.
 *
 * @import { Backend, BackendPlugin, Change, Host, IPFamily, SelfChecking, ServicePort } from './kube-proxy.d.ts'
 */
import { readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';

/** @type {readonly IPFamily[]} */
const FAMILIES = ['IPv4', 'IPv6'];

/** @type {BackendPlugin} */
const plugin = {
  name: 'my-backend',
  apiVersion: 1,
  version: '0.1.0',
  summary: 'keeps what this node serves in JSON files',

  // True of what only writes files. Delete this line as soon as connections pass through what you program: once your
  // backend is live, the core then removes what another one left on this host.
  leavesHostAlone: true,

  // Called once, before anything else. Check the options and probe, by trying, what this host has; change nothing that
  // outlives the call. What is missing is an error that says what to do, for example:
  //   throw fault('KP_BACKEND_UNSUPPORTED', 'this kernel has no nf_tables; load the module nf_tables');
  // To run a program: await host.exec('nft', ['--version']), which rejects if it is not installed.
  async create(host, options) {
    const folder = await readOptions(options);
    return createBackend(host, folder);
  },

  // Optional, for \`kube-proxy render\`: what a first sync would write on an empty host, without touching anything.
  render(changes) {
    return changes.map((change) => stateText(change, change.upsert)).join('');
  },
};

export default plugin;

/**
 * @param {Host} host
 * @param {string} folder
 * @returns {Backend & SelfChecking}
 */
function createBackend(host, folder) {
  /**
   * What the last successful sync of each family left.
   * @type {Map<IPFamily, { ports: Map<string, ServicePort>, text: string }>}
   */
  const committed = new Map();
  /** @param {IPFamily} family */
  const fileOf = (family) => join(folder, \`my-backend.\${family}.json\`);

  return {
    families: FAMILIES,

    // Make the data plane equal to the state described. Never called twice at once for one family; calls for the two
    // families may overlap, so share nothing between them. All or nothing where your data plane can do it, and throw if
    // anything was not applied: the core logs it, tries again, and the next change is then a full one.
    async sync(change) {
      const ports = new Map(change.full ? [] : committed.get(change.family)?.ports);
      for (const key of change.remove) ports.delete(key);
      for (const port of change.upsert) ports.set(port.key, port);

      // This data plane is a file, which is written whole. One with single entries gets only what changed:
      // \`change.upsert\` and \`change.remove\`, if not \`change.full\`.
      const text = stateText(change, [...ports.values()]);
      const file = fileOf(change.family);
      const isRight = (await readFileIfThere(file)) === text;
      if (!isRight) await replaceFile(file, text);

      // Remembered only now: after a failure above, what was committed before still counts.
      committed.set(change.family, { ports, text });
      host.log.verbose(2, 'Wrote the state', { file, servicePorts: ports.size, isRight });
      // What was right already is not written again, as after a restart, and counts 0.
      return {
        operations: isRight ? 0 : 1,
        bytes: isRight ? 0 : Buffer.byteLength(text),
        totals: { service_ports: ports.size },
      };
    },

    // Optional: is what the last sync committed still in place? Called every few seconds; make it cheap. If it is not,
    // a full sync follows at once.
    async check(family) {
      const expected = committed.get(family)?.text;
      if (expected === undefined || (await readFileIfThere(fileOf(family))) === expected) return { intact: true };
      return { intact: false, reason: \`somebody changed \${fileOf(family)}\` };
    },

    // Remove everything that this backend ever made on this host, and nothing else. There may have been no sync before:
    // go by names that are yours, not by what you remember.
    async cleanup() {
      for (const family of FAMILIES) {
        await rm(fileOf(family), { force: true });
        await rm(temporary(fileOf(family)), { force: true });
      }
    },

    // Stop timers, listeners and children; here there are none. The data plane stays as it is.
    async close() {},
  };
}

/**
 * What the data plane is to be, as text: the same state always gives the same.
 * @param {Change} change
 * @param {readonly ServicePort[]} ports
 */
function stateText({ family, node }, ports) {
  const servicePorts = [...ports].sort((a, b) => (a.key < b.key ? -1 : 1));
  return \`\${JSON.stringify({ family, node: node.name, servicePorts }, undefined, 2)}\\n\`;
}

/**
 * Complete or not at all: nobody ever reads half a file. O_EXCL ("x") follows no link that somebody put there.
 * @param {string} file
 * @param {string} text
 */
async function replaceFile(file, text) {
  await rm(temporary(file), { force: true });
  await writeFile(temporary(file), text, { flag: 'wx', mode: 0o644 });
  await rename(temporary(file), file);
}

/** @param {string} file */
function temporary(file) {
  return \`\${file}.next\`;
}

/** @param {string} file */
async function readFileIfThere(file) {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * The folder. Values from --backend-option are text; from a configuration file they are what YAML makes of them.
 * @param {Readonly<Record<string, unknown>>} options
 */
async function readOptions({ folder = '/run', ...unknown }) {
  const [name] = Object.keys(unknown);
  if (name !== undefined) throw fault('KP_BACKEND_OPTION', \`unknown option \${name}; known is folder\`);
  if (typeof folder !== 'string' || !isAbsolute(folder)) {
    throw fault('KP_BACKEND_OPTION', \`folder: \${JSON.stringify(folder)} is no absolute path\`);
  }
  const there = await stat(folder).catch(() => undefined);
  if (!there?.isDirectory()) throw fault('KP_BACKEND_OPTION', \`folder: there is no folder \${folder}; make it first\`);
  return folder;
}

/**
 * @param {'KP_BACKEND_OPTION' | 'KP_BACKEND_UNSUPPORTED'} code
 * @param {string} message what is wrong, and the remedy
 */
function fault(code, message) {
  return Object.assign(new Error(\`my-backend: \${message}\`), { code });
}
`;
