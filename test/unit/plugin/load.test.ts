/** Plugins of every kind on a real disk, and what is said of those that cannot be loaded. */
import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { loadPlugin } from '../../../core/plugin/load.ts';

const test = suite('loading a plugin');
const folder = realpathSync(mkdtempSync(join(tmpdir(), 'load-')));
let count = 0;

/** In a folder of its own, since a module is loaded once. Gives its path. */
function write(name: string, text: string, more: Readonly<Record<string, string>> = {}): string {
  const own = join(folder, `${++count}`);
  for (const [file, content] of Object.entries({ ...more, [name]: text })) {
    mkdirSync(dirname(join(own, file)), { recursive: true });
    writeFileSync(join(own, file), content);
  }
  return join(own, name);
}
const load = (path: string, deadlineMs?: number) =>
  loadPlugin({ path, reserved: ['iptables'], ...(deadlineMs === undefined ? {} : { deadlineMs }) });
async function fault(path: string, deadlineMs?: number): Promise<readonly [code: unknown, message: string]> {
  try {
    await load(path, deadlineMs);
  } catch (error) {
    const { code, message } = error as Error & { code?: string };
    return [code, message.replaceAll(`${dirname(path)}/`, '')];
  }
  return ['good', ''];
}

const MEMBERS = "name: 'acme', apiVersion: 1, summary: 'serves', create: async () => ({ families: [] })";
const ESM = `export default { ${MEMBERS} };\n`;
const CJS = `module.exports = { ${MEMBERS} };\n`;

test.after(() => rmSync(folder, { recursive: true }));

const SIBLING = `export const summary = 'from beside it';\n`;
for (const [title, name, text, more] of [
  ['an ES module in .js', 'a.js', ESM, {}],
  ['an ES module in .js of a package that says so', 'a.js', ESM, { 'package.json': '{"type":"module"}' }],
  ['CommonJS in .js', 'a.js', CJS, {}],
  ['CommonJS in .js of a package that says so', 'a.js', CJS, { 'package.json': '{"type":"commonjs"}' }],
  ['.mjs', 'a.mjs', ESM, {}],
  ['.cjs', 'a.cjs', CJS, {}],
  ['.cjs made of an ES module', 'a.cjs', `exports.__esModule = true; exports.default = { ${MEMBERS} };`, {}],
  [
    '.ts with types of the contract',
    'a.ts',
    `import type { Host } from './backend.ts';\nconst n: number = 1;\n${ESM}`,
    {},
  ],
  ['.ts as CommonJS', 'a.ts', `const n: number = 1;\n${CJS}`, {}],
  ['.mts', 'a.mts', `const n: number = 1;\n${ESM}`, {}],
  ['top-level await in .mjs', 'a.mjs', `await new Promise((done) => setTimeout(done, 1));\n${ESM}`, {}],
  ['top-level await in .js', 'a.js', `await null;\n${ESM}`, {}],
  ['top-level await in .ts', 'a.ts', `const n: number = await Promise.resolve(1);\n${ESM}`, {}],
  ['an import from beside it', 'a.mjs', `import { summary } from './b.mjs';\n${ESM}`, { 'b.mjs': SIBLING }],
  ['an ES module required by CommonJS', 'a.cjs', `require('./b.mjs');\n${CJS}`, { 'b.mjs': SIBLING }],
  ['CommonJS imported by an ES module', 'a.mjs', `import './b.cjs';\n${ESM}`, { 'b.cjs': 'module.exports = 1' }],
  ['JSON beside it', 'a.cjs', `require('./b.json');\n${CJS}`, { 'b.json': '{}' }],
  ['modules of Node.js', 'a.mjs', `import 'node:fs';\n${ESM}`, {}],
  ['a package in node_modules', 'a.mjs', `import 'dep';\n${ESM}`, { 'node_modules/dep/index.js': '' }],
] as const) {
  test(`${title} is loaded`, async () => {
    const plugin = await load(write(name, text, more));
    assert.equal([plugin.name, typeof plugin.create], ['acme', 'function']);
  });
}

test('nothing of a plugin is called when it is loaded, and a second time it is the same', async () => {
  const path = write('a.mjs', ESM.replace('({ families: [] })', '{ throw new Error("called"); }'));
  assert.is(await load(path), await load(path));
});

test('a link is followed, and what is imported is looked for where it leads', async () => {
  const path = write('a.mjs', `import './b.mjs';\n${ESM}`, { 'b.mjs': '' });
  symlinkSync(path, join(folder, 'link.mjs'));
  assert.is((await load(join(folder, 'link.mjs'))).name, 'acme');
});

/** What is in the file, and the whole fault. */
const BROKEN: readonly (readonly [title: string, name: string, text: string, fault: RegExp])[] = [
  [
    'a wrong word in .mjs',
    'a.mjs',
    '\nconst x = ;',
    /^a\.mjs: cannot be loaded: SyntaxError: .*';' \(line 2\); mend it,/,
  ],
  [
    'a wrong word in .cjs',
    'a.cjs',
    '\n\nconst x = ;',
    /^a\.cjs: cannot be loaded: SyntaxError: .*';' \(line 3\); mend/,
  ],
  ['a wrong word in .ts', 'a.ts', '\nconst x: = 1;', /^a\.ts: cannot be loaded: SyntaxError: .* \(line 2\); mend it,/],
  [
    'an enum',
    'a.ts',
    'enum A { B }',
    /^a\.ts: .*enum is not supported .*\(line 1\); types are only left out of it: write/,
  ],
  ['a throw in .mjs', 'a.mjs', '\nthrow new TypeError("boom");', /^a\.mjs: .*: TypeError: boom \(line 2\); mend it,/],
  ['a throw in .cjs', 'a.cjs', 'throw new Error("boom");', /^a\.cjs: cannot be loaded: boom \(line 1\); mend it,/],
  ['a throw after await', 'a.mjs', 'await 1;\nthrow new Error("boom");', /^a\.mjs: .*: boom \(line 2\); mend it,/],
  ['a text that is thrown', 'a.cjs', 'throw "boom";', /^a\.cjs: cannot be loaded: boom; mend it,/],
  ['nothing that is thrown', 'a.cjs', 'throw undefined;', /^a\.cjs: cannot be loaded: undefined; mend it,/],
  [
    'what cannot be shown',
    'a.cjs',
    'const e = new Error("x"); Object.defineProperty(e, "message", { get() { throw 1; } }); throw e;',
    /^a\.cjs: cannot be loaded: it threw what cannot be shown; mend it \(KP_PLUGIN_LOAD\)$/,
  ],
  [
    'a package that is not there',
    'a.mjs',
    'import "nowhere";',
    /^a\.mjs: .*package 'nowhere' .*; put what it imports bes/,
  ],
  ['the same in .cjs', 'a.cjs', 'require("nowhere");', /^a\.cjs: .*module 'nowhere'.*; put what it imports beside it/],
  ['an export that is not there', 'a.mjs', 'import { zz } from "node:fs";', /^a\.mjs: .*'zz' \(line 1\); mend it,/],
  ['a sibling that throws', 'a.mjs', 'import "./bad.cjs";', /^a\.mjs: cannot be loaded: boom \(bad\.cjs:2\); mend it,/],
  [
    'a sibling with a wrong word',
    'a.mjs',
    'import "./wrong.mjs";',
    /^a\.mjs: .*SyntaxError: .* \(wrong\.mjs:1\); mend it,/,
  ],
  [
    'a sibling that lacks a package',
    'a.mjs',
    'import "./lacks.cjs";',
    /^a\.mjs: .*module 'none' \(lacks\.cjs(:\d)?\); put/,
  ],
];
for (const [title, name, text, expected] of BROKEN) {
  test(`${title} is KP_PLUGIN_LOAD with its line`, async () => {
    const more = {
      'bad.cjs': '\nthrow new Error("boom");',
      'wrong.mjs': 'const = ;',
      'lacks.cjs': 'require("none");',
    };
    const [code, message] = await fault(write(name, text, more));
    assert.is(code, 'KP_PLUGIN_LOAD');
    assert.match(message, expected);
    assert.is(message.split('\n').length, 1);
  });
}

test('one that waits for what never comes is given up', async () => {
  const [code, message] = await fault(write('a.mjs', `await new Promise(() => {});\n${ESM}`), 50);
  assert.is(code, 'KP_PLUGIN_LOAD');
  assert.is(
    message,
    'a.mjs: was not loaded within 0.05 s; it must wait for nothing (await) before create() (KP_PLUGIN_LOAD)',
  );
});

test('what is no file of JavaScript is told, and where a program belongs', async () => {
  for (const name of ['a.py', 'acme', 'a.json', 'a.node']) {
    const [code, message] = await fault(write(name, '#!/bin/sh\n'));
    assert.is(code, 'KP_PLUGIN_NOT_A_PLUGIN');
    assert.match(
      message,
      /is no file of JavaScript or TypeScript \(\.js, .*\); for a program give --backend exec \(KP_PLUGIN_NOT_A_PLUGIN\)$/,
    );
  }
});

test('a file that is not there, and a folder, are not found', async () => {
  assert.is((await fault(join(folder, 'none.js')))[0], 'KP_PLUGIN_NOT_FOUND');
  assert.equal(await fault(folder), [
    'KP_PLUGIN_NOT_FOUND',
    `${folder.split('/').at(-1)}: is a folder; give the plugin's file (KP_PLUGIN_NOT_FOUND)`,
  ]);
});

test('the faults of what it exports name the file', async () => {
  assert.equal(
    [
      await fault(write('a.mjs', 'export const x = 1;')),
      await fault(write('a.mjs', ESM.replace('apiVersion: 1', 'apiVersion: 7'))),
      await fault(write('a.mjs', ESM.replace('acme', 'iptables'))),
    ].map(([code, message]) => [code, message.slice(0, 7)]),
    [
      ['KP_PLUGIN_NOT_A_PLUGIN', 'a.mjs: '],
      ['KP_PLUGIN_API_VERSION', 'a.mjs: '],
      ['KP_PLUGIN_NAME', 'a.mjs: '],
    ],
  );
});

test('a file that every user may write is refused before a word of it is run', async () => {
  const path = write('a.mjs', 'throw new Error("it ran");');
  chmodSync(path, 0o666);
  const [code, message] = await fault(path);
  assert.is(code, 'KP_PLUGIN_WRITABLE');
  assert.match(
    message,
    /^a\.mjs: could be changed by others.*: a\.mjs may be written by its group, 0, and every user \(chmod go-w a\.mjs\) \(KP_PLUGIN_WRITABLE\)$/,
  );
});

test('so is one in a folder that every user may write, however far up', async () => {
  const path = write('x/y/a.mjs', 'throw new Error("it ran");');
  chmodSync(dirname(dirname(path)), 0o777);
  const [code, message] = await fault(path);
  assert.is(code, 'KP_PLUGIN_WRITABLE');
  assert.ok(message.includes(`(chmod go-w ${dirname(dirname(path))})`), message);
});

test('so is one behind a link that every user may make lead elsewhere', async () => {
  const path = write('good/a.mjs', ESM, { 'open/x': '' });
  const open = join(dirname(dirname(path)), 'open');
  symlinkSync(path, join(open, 'a.mjs'));
  assert.is((await load(join(open, 'a.mjs'))).name, 'acme');
  chmodSync(open, 0o777);
  assert.is((await fault(join(open, 'a.mjs')))[0], 'KP_PLUGIN_WRITABLE');
});

const IMPORTS: readonly (readonly [title: string, name: string, text: string])[] = [
  ['imports', 'a.mjs', `import './loose.cjs';\n${ESM}`],
  ['requires', 'a.cjs', `require('./loose.cjs');\n${CJS}`],
  ['imports from TypeScript', 'a.ts', `import './loose.cjs';\nconst n: number = 1;\n${ESM}`],
  ['imports after an await', 'a.mjs', `await null;\nawait import('./loose.cjs');\n${ESM}`],
  ['imports by way of another', 'a.mjs', `import './between.mjs';\n${ESM}`],
  ['finds in node_modules', 'a.mjs', `import 'dep';\n${ESM}`],
  [
    'requires by a require of its own',
    'a.mjs',
    `import { createRequire } from 'node:module';\ncreateRequire(import.meta.url)('./loose.cjs');\n${ESM}`,
  ],
];
for (const [title, name, text] of IMPORTS) {
  test(`a file that every user may write is refused when a plugin ${title} it`, async () => {
    const ran = 'globalThis.looseCodeRan = true;';
    const more = { 'loose.cjs': ran, 'between.mjs': "import './loose.cjs';", 'node_modules/dep/index.js': ran };
    const path = write(name, text, more);
    for (const file of ['loose.cjs', 'node_modules/dep/index.js']) chmodSync(join(dirname(path), file), 0o666);
    const [code, message] = await fault(path);
    assert.is(code, 'KP_PLUGIN_WRITABLE', message);
    assert.match(message, /^(loose\.cjs|node_modules\/dep\/index\.js), imported by (a|between)\.\w+: could be changed/);
    assert.is(Reflect.get(globalThis, 'looseCodeRan'), undefined);
  });
}

for (const [title, name, head] of [
  ['imports', 'a.mjs', "import './named/link.cjs';"],
  ['requires', 'a.cjs', "require('./named/link');"],
  ['finds in node_modules', 'a.mjs', "import 'linked';"],
] as const) {
  test(`what a plugin ${title} by way of a link that every user may change is refused`, async () => {
    const ran = 'globalThis.looseCodeRan = true;';
    const path = write(name, `${head}\n${name === 'a.cjs' ? CJS : ESM}`, {
      'safe/sibling.js': ran,
      'named/x': '',
      'safe/package/index.js': ran,
      'node_modules/x': '',
    });
    const at = (file: string): string => join(dirname(path), file);
    for (const link of ['named/link.cjs', 'named/link.js']) symlinkSync(at('safe/sibling.js'), at(link));
    symlinkSync(at('named/package'), at('node_modules/linked'));
    symlinkSync(at('safe/package'), at('named/package'));
    chmodSync(at('named'), 0o777);
    const [code, message] = await fault(path);
    assert.is(code, 'KP_PLUGIN_WRITABLE', message);
    assert.match(message, /^(named\/link\.c?js|node_modules\/linked), imported by a\.c?[mj]*s: could be changed/);
    assert.is(Reflect.get(globalThis, 'looseCodeRan'), undefined);
  });
}

test('what a plugin imports long after it was loaded is looked at, too', async () => {
  const path = write('a.mjs', ESM.replace('async () => ({ families: [] })', "() => import('./late.mjs')"), {
    'late.mjs': '',
  });
  const plugin = await load(path);
  chmodSync(join(dirname(path), 'late.mjs'), 0o666);
  let code: unknown;
  await Promise.resolve(plugin.create({} as never, {})).catch((error) => {
    ({ code } = error);
  });
  assert.is(code, 'KP_PLUGIN_WRITABLE');
});

test('what the program itself imports is nobody’s business', async () => {
  await load(write('a.mjs', ESM));
  const own = write('own.mjs', 'export default 1;');
  chmodSync(own, 0o666);
  assert.is((await import(own)).default, 1);
});

test.run();
