import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { checkPlugin, defaultExport } from '../../../core/plugin/metadata.ts';

const test = suite('what a plugin says of itself');
const RESERVED = ['iptables', 'ipvs'];
const GOOD = { name: 'acme', apiVersion: 1, summary: 'serves', create: async () => ({}) };
const fault = (exported: unknown, name?: string): readonly [code: unknown, message: string] => {
  try {
    checkPlugin(exported, { about: '/p/acme.js', name, reserved: RESERVED });
  } catch (error) {
    return [(error as { code?: string }).code, (error as Error).message];
  }
  return ['good', ''];
};

test('a plugin is passed on as it is', () => {
  assert.is(checkPlugin(GOOD, { about: '', reserved: RESERVED }), GOOD);
  const whole = { ...GOOD, version: '1.2.3', leavesHostAlone: true, render: () => '', more: 1 };
  assert.is(checkPlugin(whole, { about: '', name: 'acme', reserved: RESERVED }), whole);
});

test('members may be inherited', () => {
  class Plugin {
    readonly name = 'acme';
    readonly apiVersion = 1;
    readonly summary = 'serves';
    async create() {}
  }
  assert.is(fault(new Plugin())[0], 'good');
});

for (const [what, exported] of [
  ['nothing', undefined],
  ['null', null],
  ['a text', 'acme'],
  ['a function', () => GOOD],
] as const) {
  test(`${what} is no plugin`, () => {
    const [code, message] = fault(exported);
    assert.is(code, 'KP_PLUGIN_NOT_A_PLUGIN');
    assert.ok(message.startsWith(`/p/acme.js: exports ${what} and no backend plugin; write export default {`), message);
  });
}

test('an object with nothing of a plugin is told what one looks like', () => {
  for (const exported of [{}, { start() {} }, []]) {
    assert.is(fault(exported)[0], 'KP_PLUGIN_NOT_A_PLUGIN');
    assert.match(fault(exported)[1], /exports no backend plugin, nothing of name, apiVersion, create; write export/);
  }
});

test('a plugin that is exported by a name is found, and how to export it is said', () => {
  assert.match(
    fault({ plugin: GOOD })[1],
    /: exports no backend plugin, but one by the name plugin; write export default plugin /,
  );
  const cjs = (): unknown => checkPlugin({ acme: GOOD }, { about: '/p/acme.cjs', reserved: [] });
  assert.throws(cjs, /but one by the name acme; write module\.exports = acme /);
});

test('what is missing is told with what was found in its place', () => {
  const { create, ...rest } = GOOD;
  assert.match(fault({ ...rest, Create: create })[1], /: create is missing \(found Create\): a function of host/);
  assert.match(fault({ ...GOOD, summary: undefined, sumary: 'x' })[1], /: summary is missing \(found sumary\): a text/);
});

test('all that is missing or of another type is told in one line', () => {
  const [code, message] = fault({ name: 5, create: {}, version: '', leavesHostAlone: 'yes', render: null });
  assert.is(code, 'KP_PLUGIN_NOT_A_PLUGIN');
  assert.is(
    message,
    `${[
      '/p/acme.js: name is a number, not a text',
      'apiVersion is missing: the number 1',
      'summary is missing: a text of one line',
      'create is an object, not a function of host and options',
      'version is an empty text, not a text of one line',
      'leavesHostAlone is a text, not true or false',
      'render is null, not a function of changes, options and printers',
    ].join('; ')} (KP_PLUGIN_NOT_A_PLUGIN)`,
  );
  assert.match(
    fault({ ...GOOD, summary: 'two\nlines' })[1],
    /^\/p\/acme\.js: summary is a text, not a text of one line \(KP_PLUGIN_NOT_A_PLUGIN\)$/,
  );
  assert.match(fault({ ...GOOD, apiVersion: '1' })[1], /apiVersion is a text, not the number 1/);
});

test('another version of the contract is the fault, whatever else is wrong, and the older side is named', () => {
  const newer = fault({ apiVersion: 2, name: 'acme', start() {} });
  assert.is(newer[0], 'KP_PLUGIN_API_VERSION');
  assert.is(
    newer[1],
    '/p/acme.js: was written for version 2 of the plugin API, and this kube-proxy has 1: this kube-proxy is the older one; use a newer kube-proxy, or an older plugin (KP_PLUGIN_API_VERSION)',
  );
  assert.match(fault({ ...GOOD, apiVersion: 0 })[1], /the plugin is the older one; use a newer plugin/);
});

for (const name of ['', 'Acme', 'a_b', '-a', 'a-', 'a.b', 'a/b', 'a b', 'x'.repeat(64)]) {
  test(`${JSON.stringify(name.slice(0, 8))} (${name.length}) cannot be a name`, () => {
    const [code, message] = fault({ ...GOOD, name });
    assert.is(code, 'KP_PLUGIN_NAME');
    assert.match(message, /a name is at most 63 lower-case letters, digits and "-"/);
  });
}

test('names of one letter and of 63 are good', () => {
  for (const name of ['a', '9', 'a--b', 'x'.repeat(63)]) assert.is(fault({ ...GOOD, name })[0], 'good', name);
});

test('the name of a backend of ours, or of one to come, is taken', () => {
  for (const name of RESERVED) {
    assert.is(fault({ ...GOOD, name })[0], 'KP_PLUGIN_NAME');
    assert.match(fault({ ...GOOD, name })[1], /is a backend of kube-proxy's own; give it another name/);
  }
});

test('a plugin that was looked for by a name has that name', () => {
  assert.equal(fault({ ...GOOD, name: 'other' }, 'acme'), [
    'KP_PLUGIN_NAME',
    '/p/acme.js: was asked for as "acme" and calls itself "other"; name its file as the plugin is (KP_PLUGIN_NAME)',
  ]);
});

test('a member that throws when it is read counts as missing', () => {
  const hostile = {
    ...GOOD,
    get create() {
      throw new Error('no');
    },
  };
  assert.match(fault(hostile)[1], /create is missing/);
});

test('the default export is found however the module was made', () => {
  for (const namespace of [
    { default: GOOD },
    { default: { __esModule: true, default: GOOD } },
    GOOD,
    { default: GOOD, 'module.exports': GOOD },
  ]) {
    assert.is(defaultExport(namespace), GOOD);
  }
  assert.is(defaultExport({ default: 5 }), 5);
  const itself = { ...GOOD, default: 'is a name of its own' };
  assert.is(defaultExport({ default: itself }), itself);
});

test.run();
