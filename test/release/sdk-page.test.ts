/** The page for plugin authors does what it says, and says what the program does. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PLUGIN_FAULTS } from '../../core/plugin/fault.ts';
import { isolateTests } from '../netns/isolated.ts';
import { ROOT, testPage } from './sdk-page-commands.ts';

await isolateTests(['iptables']);

const test = suite('the page for plugin authors');
const page = testPage(test, 'README.md', [
  ['plugin new', [/pass 9\b/, /\b0 fail\b/, /\] Ready backend="my-backend"/]],
  ['unshare', [/\] Ready backend="my-backend"/]],
  [
    './tiny.js',
    // Without advice.
    [/^\d+ hold, 0 fail, \d+ not tried$/m, /tiny\] Serve key="default\/web:http\/TCP"/, /\] Ready backend="tiny"/],
  ],
  // Seen after kube-proxy has ended.
  ['/run/keeper.pid', [/\] Ready backend="keeper"/, /^ *\d+ +[\d:]+ sleep 600$/m, /^keeper: cleaned up$/m]],
  ['plugins --backend=./keeper.ts', [/^keeper +1\.2\.0 /m]],
  ['esbuild', [/keeper\.mjs/, /^\d+ hold, 0 fail, \d+ not tried$/m]],
  ['install -D', [/^my-backend +0\.1\.0 /m, /\] Ready backend="my-backend"/]],
  ['--config', [/\b0 fail\b/, /\] Ready backend="my-backend"/, /^my-backend: cleaned up$/m]],
]);

test('a strict compiler finds nothing in its code', () => {
  const folder = page.cwd();
  const strict = { exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, noUnusedLocals: true };
  const compilerOptions = { ...strict, typeRoots: [join(ROOT, 'node_modules/@types')] };
  const config = { extends: './tsconfig.json', compilerOptions, include: ['*.js', '*.ts'] };
  writeFileSync(join(folder, 'tsconfig.strict.json'), JSON.stringify(config));
  const files = readdirSync(folder);
  for (const file of ['tiny.js', 'keeper.ts', 'my-backend.js']) assert.ok(files.includes(file), file);
  const args = ['--pretty', 'false', '-p', 'tsconfig.strict.json'];
  const run = spawnSync('tsc', args, { cwd: folder, encoding: 'utf8', env: page.env });
  assert.is(run.status, 0, run.stdout);
});

test('the example is under 100 lines, and passes a strict compiler', () => {
  const file = join(ROOT, 'release/sdk/haproxy/haproxy.js');
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  assert.ok(lines.length < 100, `${lines.length} lines`);
  const options = ['--allowJs', '--checkJs', '--noEmit', '--strict', '--target', 'es2024', '--module', 'nodenext'];
  const types = ['--types', 'node', '--typeRoots', join(ROOT, 'node_modules/@types')];
  const run = spawnSync('tsc', ['--pretty', 'false', ...options, ...types, file], {
    cwd: tmpdir(),
    encoding: 'utf8',
    env: page.env,
  });
  assert.is(run.status, 0, run.stdout);
});

test('it names every fault of a plugin, and no code that the program does not have', () => {
  const codes = new Set([...page.text.matchAll(/`(KP_\w+)`/g)].map(([, code]) => code!));
  for (const code of PLUGIN_FAULTS) assert.ok(codes.has(code), code);
  const sources = [...texts('core'), ...texts('plugins')].join('\n');
  for (const code of codes) assert.ok(sources.includes(`'${code}'`), `${code} is nowhere in the program`);
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
    const line = page.text.split('\n').find((each) => each.startsWith(`| ${row}`));
    const [, seconds] = /\| (\d+) s \|$/.exec(line ?? '') ?? [];
    const [, milliseconds] = constant.exec(readFileSync(join(ROOT, file), 'utf8')) ?? [];
    assert.is(Number(seconds) * 1000, Number(milliseconds?.replaceAll('_', '')), `${row}, ${file}`);
  }
});

test.run();
