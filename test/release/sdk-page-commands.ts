/**
 * A page for authors does what it says: its blocks of code are written to files and its commands are run, from the first
 * to the last, in one folder, as a newcomer would. Its links lead to what comes with it.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, relative } from 'node:path';
import type { uvu } from 'uvu';
import * as assert from 'uvu/assert';

export const ROOT = join(import.meta.dirname, '../..');
/** What authors are given. */
const SDK = join(ROOT, 'release/sdk');
/** Where pages install to; a test must not. */
const INSTALLED = '/etc/kube-proxy/plugins';

export interface Page {
  readonly text: string;
  /** Where the commands run. */
  cwd(): string;
  /** Of the commands, with `kube-proxy` and what is installed here. */
  readonly env: NodeJS.ProcessEnv;
}

/** What commands that have this word in them must have said. */
export type Expected = readonly (readonly [word: string, said: readonly RegExp[]])[];

/** Registers the tests, in the order of the page. */
export function testPage(
  test: uvu.Test<unknown>,
  name: string,
  expected: Expected,
  prepare = (_cwd: string): void => {},
): Page {
  const path = join(SDK, name);
  const text = readFileSync(path, 'utf8');
  const folder = mkdtempSync(join(tmpdir(), 'kube-proxy-page-'));
  test.after(() => rmSync(folder, { recursive: true, force: true }));
  let cwd = join(folder, 'work');
  const bin = join(folder, 'bin');
  for (const each of [cwd, bin]) mkdirSync(each);
  const program = join(import.meta.dirname, 'sdk-page-program.ts');
  writeFileSync(join(bin, 'kube-proxy'), `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@"\n`, { mode: 0o755 });
  const env = {
    ...process.env,
    PATH: [bin, dirname(process.execPath), join(ROOT, 'node_modules/.bin'), process.env.PATH].join(delimiter),
  };
  prepare(cwd);

  const placed = (block: string): string => block.replaceAll(INSTALLED, join(folder, 'installed/plugins'));

  /** Run in the folder where the commands before it ended. Returns all it said. */
  function runCommands(commands: string): string {
    // The umask of distributions that give each user a group of their own.
    const script = `umask 002\n${placed(commands)}\npwd >'${folder}/cwd'\n`;
    const run = spawnSync('sh', ['-eu', '-c', script], { cwd, env, encoding: 'utf8' });
    assert.is(run.status, 0, `${commands}\n${run.stdout}${run.stderr}`);
    cwd = readFileSync(join(folder, 'cwd'), 'utf8').trim();
    return run.stdout + run.stderr;
  }

  const seen = new Set<string>();
  for (const [at, [, language, block = '']] of [...text.matchAll(/^```(\w*)\n(.*?)^```$/gms)].entries()) {
    const [first = ''] = block.split('\n');
    const title = `${name}, block ${at + 1}, ${first}`;
    if (language === 'sh') {
      test(`${title}: the commands do what the page says`, () => {
        const said = runCommands(block);
        const mine = expected.filter(([word]) => block.includes(word));
        assert.ok(mine.length > 0, 'nothing is expected of it');
        for (const [word, patterns] of mine) {
          seen.add(word);
          for (const pattern of patterns) assert.match(said, pattern);
        }
      });
    } else {
      test(`${title}: is a file that the commands use`, () => {
        const [, file] = /^(?:\/\/|#) (\S+\.\w+)$/.exec(first) ?? [];
        assert.ok(file, 'its first line is no comment with the name of a file');
        writeFileSync(join(cwd, file!), placed(block));
      });
    }
  }

  test(`${name}: all that was expected was seen`, () => {
    assert.equal(
      expected.map(([word]) => word).filter((word) => !seen.has(word)),
      [],
    );
  });

  test(`${name}: every file that it points to exists, and comes with it`, () => {
    const targets = [...text.matchAll(/\]\(([^)#]+)\)/g)].map(([, target]) => join(dirname(path), target!));
    assert.ok(targets.length > 2);
    const lost = targets.filter((target) => !existsSync(target) || relative(SDK, target).startsWith('..'));
    assert.equal(lost, []);
  });

  return { text, cwd: () => cwd, env };
}
