/**
 * `kube-proxy plugin new NAME`: writes the folder NAME with a backend that works, its test and the types of the
 * contract. Never writes into what exists.
 */
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { PLUGIN_NAME } from '../config/validate.ts';
import { reservedNames } from './backends.ts';
import type { Run } from './main.ts';
import { pluginFiles } from './plugin-new-files.ts';
import { faultLines } from './report-fault.ts';
import { sdkTypes } from './sdk-types.ts';

/** kube-proxy refuses plugins that others may write, whatever the umask is here. */
const [FILE_MODE, FOLDER_MODE] = [0o644, 0o755];

export async function pluginNew({ line, settings, terminal }: Run): Promise<number> {
  const name = line.operand;
  try {
    checkName(name);
    const files = pluginFiles(name, await sdkTypes());
    await writeFolder(resolve(name), files);
    terminal.stdout(told(name, [...files.keys()]));
    return 0;
  } catch (error) {
    terminal.stderr(faultLines(error, 'plugin new', settings.verbosity));
    return isUsage(error) ? 2 : 1;
  }
}

function checkName(name: string): void {
  const example = 'for example: kube-proxy plugin new my-backend';
  if (!PLUGIN_NAME.test(name)) {
    const rule = 'lower-case letters, digits and "-" inside, at most 63';
    throw usage('KP_PLUGIN_NAME', `"${name}" cannot be a plugin's name, which has ${rule}; ${example}`);
  }
  if (reservedNames().includes(name)) {
    throw usage('KP_PLUGIN_NAME', `"${name}" is a backend of kube-proxy's own; choose another name, ${example}`);
  }
  // Its types would be those of kube-proxy.d.ts, to any compiler.
  if (name === 'kube-proxy')
    throw usage('KP_PLUGIN_NAME', `"${name}" is this program's name; choose another, ${example}`);
}

/** All of it or nothing: what a fault leaves half done is removed. */
async function writeFolder(folder: string, files: ReadonlyMap<string, string>): Promise<void> {
  try {
    await mkdir(folder);
  } catch (error) {
    if (!isSystemFault(error)) throw error;
    if (error.code === 'EEXIST') {
      throw usage('KP_PLUGIN_EXISTS', `${folder} exists; choose another name, or move it away first`);
    }
    throw new Error(`${folder}: cannot be made (${error.code}); go to a folder in which you may write`);
  }
  try {
    await chmod(folder, FOLDER_MODE);
    for (const [name, text] of files) {
      await writeFile(join(folder, name), text, { flag: 'wx' });
      await chmod(join(folder, name), FILE_MODE);
    }
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

function told(name: string, files: readonly string[]): string {
  return [
    `wrote ${name}/: ${files.join(', ')}`,
    '',
    'Next:',
    `  cd ${name}`,
    '  node --test',
    `  kube-proxy plugin test ./${name}.js`,
    `  kube-proxy --backend=./${name}.js --backend-option folder="$PWD" --manifests services.yaml`,
    '',
  ].join('\n');
}

function usage(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}

function isUsage(error: unknown): boolean {
  return isSystemFault(error) && (error.code === 'KP_PLUGIN_NAME' || error.code === 'KP_PLUGIN_EXISTS');
}

function isSystemFault(error: unknown): error is Error & { readonly code: unknown } {
  return error instanceof Error && 'code' in error;
}
