/** Plugins in files that tell their calls, and the program run on them; for tests in private namespaces. */
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { MAIN, manifest } from '../cli/program.ts';

export const folder = realpathSync(mkdtempSync(join(tmpdir(), 'plugins-')));
export const at = (...names: readonly string[]): string => join(folder, ...names);
export const manifests = at('web.json');
export const config = at('config.conf');
/** What plugins tell of their calls. */
export const calls = at('calls');

export function write(name: string, text: string): string {
  mkdirSync(dirname(at(name)), { recursive: true });
  writeFileSync(at(name), text);
  return at(name);
}

interface Kind {
  readonly families?: string;
  /** Members of the plugin, and of its backend. */
  readonly plugin?: string;
  readonly backend?: string;
  /** Before the rest of create(), and of the file. */
  readonly create?: string;
  readonly head?: string;
}

/** A plugin that appends its calls to a file. */
export function source(
  name: string,
  { families = "'IPv4', 'IPv6'", plugin = '', backend = '', create = '', head = '' }: Kind,
) {
  return `
import { appendFileSync } from 'node:fs';
${head}
const tell = (what) => appendFileSync('${calls}', '${name} ' + what + '\\n');
export default {
  name: '${name}', apiVersion: 1, summary: 'tells its calls', ${plugin}
  async create(host, options) {
    ${create}
    tell('create ' + JSON.stringify(options));
    return {
      families: [${families}],
      async sync({ family, full, upsert }) {
        tell('sync ' + family + ' ' + full + ' ' + upsert.map(({ key }) => key));
        return { operations: upsert.length, bytes: 0 };
      },
      async cleanup() { tell('cleanup ' + JSON.stringify(options)); },
      async close() { tell('close'); },
      ${backend}
    };
  },
};
`;
}
export const told = (): readonly string[] =>
  existsSync(calls)
    ? readFileSync(calls, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
    : [];

interface Ended {
  readonly status: unknown;
  readonly stdout: string;
  readonly stderr: string;
}
export function run(...argv: readonly string[]): Promise<Ended> {
  return new Promise((done) => {
    const options = { cwd: folder, timeout: 60_000 };
    execFile(process.execPath, [MAIN, ...argv], options, (error, stdout, stderr) => {
      done({ status: error ? (error.code ?? error.signal) : 0, stdout, stderr });
    });
  });
}
/** A plugin has told this. Polls: what a plugin wrote, there is nothing to wait on. */
export async function until(pattern: RegExp): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!told().some((line) => pattern.test(line))) {
    if (performance.now() > deadline) throw new Error(`no ${pattern} in\n${told().join('\n')}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Its standard error warns of the other variant. */
export function savedRules(): string {
  const saved = execFileSync('iptables-save', { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  return saved.replace(/^#.*$/gm, '');
}

/** Before each test: nothing is there but the manifests. */
export function begin(): void {
  rmSync(folder, { recursive: true });
  mkdirSync(folder, { mode: 0o755 });
  write('web.json', manifest('10.244.1.2'));
}
