/**
 * The page for plugin authors does what it says: its blocks of code are written to files and its commands are run, from
 * the first to the last, in one folder, as a newcomer would.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PLUGIN_FAULTS } from '../../core/plugin/fault.ts';
import { isolateTests } from '../netns/isolated.ts';

await isolateTests(['iptables']);

const ROOT = join(import.meta.dirname, '../..');
const PAGE = join(ROOT, 'release/sdk/README.md');
/** Where the page installs to; the test must not. */
const INSTALLED = '/etc/kube-proxy/plugins';
const page = readFileSync(PAGE, 'utf8');

interface Block {
  readonly language: string;
  readonly text: string;
}
const blocks: readonly Block[] = [...page.matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(([, language = '', text = '']) => ({
  language,
  text,
}));

const folder = mkdtempSync(join(tmpdir(), 'kube-proxy-page-'));
const bin = join(folder, 'bin');
mkdirSync(bin);
const program = join(import.meta.dirname, 'sdk-page-program.ts');
writeFileSync(join(bin, 'kube-proxy'), `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@"\n`, { mode: 0o755 });
const env = {
  ...process.env,
  PATH: [bin, dirname(process.execPath), join(ROOT, 'node_modules/.bin'), process.env.PATH].join(delimiter),
};
let cwd = join(folder, 'work');
mkdirSync(cwd);

const test = suite('the page for plugin authors');
test.after(() => rmSync(folder, { recursive: true, force: true }));

const placed = (text: string): string => text.replaceAll(INSTALLED, join(folder, 'installed/plugins'));

/** Run in the folder where the commands before it ended. Returns all it said. */
function runCommands(text: string): string {
  // The umask of distributions that give each user a group of their own.
  const script = `umask 002\n${placed(text)}\npwd >'${folder}/cwd'\n`;
  const run = spawnSync('sh', ['-eu', '-c', script], { cwd, env, encoding: 'utf8' });
  assert.is(run.status, 0, `${text}\n${run.stdout}${run.stderr}`);
  cwd = readFileSync(join(folder, 'cwd'), 'utf8').trim();
  return run.stdout + run.stderr;
}

/** What the commands must have said, by a word that is in them. */
const EXPECTED: readonly (readonly [commands: string, said: readonly RegExp[]])[] = [
  ['plugin new', [/pass 9\b/, /\b0 fail\b/, /\] Ready backend="my-backend"/]],
  ['./tiny.js', [/tiny\] Serve key="default\/web:http\/TCP" clusterIP="10\.96\.0\.10"/, /\] Ready backend="tiny"/]],
  ['./guard.ts', [/^guard +1\.2\.0 /m, /\] Ready backend="guard"/]],
  ['esbuild', [/guard\.mjs/, /\b0 fail\b/]],
  ['install -D', [/^my-backend +0\.1\.0 /m, /\] Ready backend="my-backend"/]],
  ['cleanup', [/\] Ready backend="my-backend"/, /^my-backend: cleaned up$/m]],
];

const seen = new Set<string>();
for (const [at, { language, text }] of blocks.entries()) {
  const title = `block ${at + 1}, ${text.split('\n')[0]}`;
  if (language === 'sh') {
    test(`${title}: the commands do what the page says`, () => {
      const said = runCommands(text);
      const expected = EXPECTED.filter(([word]) => text.includes(word));
      assert.ok(expected.length > 0, 'nothing is expected of it');
      for (const [word, patterns] of expected) {
        seen.add(word);
        for (const pattern of patterns) assert.match(said, pattern);
      }
    });
  } else {
    test(`${title}: is a file that the commands use`, () => {
      const [, name] = /^(?:\/\/|#) (\S+\.\w+)$/m.exec(text.split('\n')[0] ?? '') ?? [];
      assert.ok(name, 'its first line is no comment with the name of a file');
      writeFileSync(join(cwd, name!), placed(text));
    });
  }
}

test('all that was expected was seen', () => {
  assert.equal(
    EXPECTED.map(([word]) => word).filter((word) => !seen.has(word)),
    [],
  );
});

test('a strict compiler finds nothing in its code', () => {
  const compilerOptions = {
    ...{ allowJs: true, checkJs: true, noEmit: true, strict: true, target: 'es2024', module: 'nodenext' },
    ...{ erasableSyntaxOnly: true, verbatimModuleSyntax: true, exactOptionalPropertyTypes: true },
    ...{ noUncheckedIndexedAccess: true, noUnusedLocals: true, skipLibCheck: false },
    ...{ types: ['node'], typeRoots: [join(ROOT, 'node_modules/@types')] },
  };
  writeFileSync(join(cwd, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.js', '*.ts'] }));
  const files = readdirSync(cwd);
  for (const file of ['tiny.js', 'guard.ts', 'my-backend.js']) assert.ok(files.includes(file), file);
  const run = spawnSync('tsc', ['--pretty', 'false', '-p', cwd], { encoding: 'utf8', env });
  assert.is(run.status, 0, run.stdout);
});

test('the example is under 100 lines, and passes a strict compiler', () => {
  const file = join(ROOT, 'release/sdk/haproxy/haproxy.js');
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  assert.ok(lines.length < 100, `${lines.length} lines`);
  const options = ['--allowJs', '--checkJs', '--noEmit', '--strict', '--target', 'es2024', '--module', 'nodenext'];
  const types = ['--types', 'node', '--typeRoots', join(ROOT, 'node_modules/@types')];
  const run = spawnSync('tsc', ['--pretty', 'false', ...options, ...types, file], {
    cwd: folder,
    encoding: 'utf8',
    env,
  });
  assert.is(run.status, 0, run.stdout);
});

test('every file that it points to exists', () => {
  const targets = [...page.matchAll(/\]\(([^)#]+)\)/g)].map(([, target]) => target!);
  assert.ok(targets.length > 3);
  assert.equal(
    targets.filter((target) => !existsSync(join(dirname(PAGE), target))),
    [],
  );
});

test('every fault of a plugin has its row, and every code of the page is one that the program has', () => {
  const rows = [...page.matchAll(/^\| `(KP_\w+)` \|/gm)].map(([, code]) => code!);
  for (const code of PLUGIN_FAULTS) assert.ok(rows.includes(code), code);
  const sources = [...texts('core'), ...texts('plugins')].join('\n');
  for (const code of rows) assert.ok(sources.includes(`'${code}'`), `${code} is nowhere in the program`);
});

function texts(of: string): readonly string[] {
  return readdirSync(join(ROOT, of), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(join(ROOT, of, name), 'utf8'));
}

test('the deadlines are those of the program', () => {
  const deadlines: readonly (readonly [row: string, file: string, constant: RegExp])[] = [
    ['the file itself', 'core/plugin/load.ts', /DEADLINE_MS = ([\d_]+);/],
    ['`create(', 'core/daemon/open-backend.ts', /CREATE_LIMIT_MS = ([\d_]+);/],
    ['`sync(', 'core/sync/loops.ts', /syncDeadlineMs \?\? ([\d_]+)/],
    ['`check(', 'core/sync/driver.ts', /CHECK_DEADLINE_MS = ([\d_]+);/],
    ['`close(', 'core/sync/driver.ts', /CLOSE_DEADLINE_MS = ([\d_]+);/],
    ['`cleanup(', 'core/cli/cleanup.ts', /LIMIT_MS = ([\d_]+);/],
  ];
  for (const [row, file, constant] of deadlines) {
    const line = page.split('\n').find((each) => each.startsWith(`| ${row}`));
    const [, seconds] = /\| (\d+) s \|$/.exec(line ?? '') ?? [];
    const [, milliseconds] = constant.exec(readFileSync(join(ROOT, file), 'utf8')) ?? [];
    assert.is(Number(seconds) * 1000, Number(milliseconds?.replaceAll('_', '')), `${row}, ${file}`);
  }
});

test.run();
