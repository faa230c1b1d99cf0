import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseOptions } from '../../../plugins/exec/options.ts';

const test = suite('options of the exec backend');

test('from a configuration file they are lists, numbers and objects', () => {
  const given = {
    command: '/opt/proxy',
    args: ['-v', 'a b'],
    families: ['IPv6'],
    timeoutSeconds: 2.5,
    options: { port: 8404, deep: [1] },
  };
  assert.equal(parseOptions(given), given);
});

test('from the command line they are text', () => {
  const given = {
    command: '/opt/proxy',
    args: '["-v","a b"]',
    families: 'IPv6,IPv4',
    timeoutSeconds: '5',
    options: '{"port":8404}',
  };
  assert.equal(parseOptions(given), {
    command: '/opt/proxy',
    args: ['-v', 'a b'],
    families: ['IPv4', 'IPv6'],
    timeoutSeconds: 5,
    options: { port: 8404 },
  });
});

test('all have defaults', () => {
  assert.equal(parseOptions({}), {
    command: '',
    args: [],
    families: ['IPv4', 'IPv6'],
    timeoutSeconds: 60,
    options: {},
  });
});

test('every fault is named at once, with what should be there', () => {
  const given = { comand: '/x', args: '-v', families: 'IPv5', timeoutSeconds: '1s', options: '[]', command: 'proxy' };
  try {
    parseOptions(given);
    assert.unreachable();
  } catch (error) {
    assert.is((error as { code?: string }).code, 'KP_BACKEND_OPTION');
    const parts = (error as Error).message.split('; ').map((part) => part.slice(0, 45));
    assert.equal(parts, [
      'exec backend options: command: "proxy" is not',
      'args: "-v" is not a list of texts',
      'on the command line in JSON: args=\'["-v","/ru',
      'families: "IPv5" is not a list of IPv4 and IP',
      'on the command line: families=IPv4,IPv6',
      'timeoutSeconds: "1s" is not a number of secon',
      'options: "[]" is not an object',
      'on the command line in JSON: options=\'{"port"',
      'comand: unknown option',
      'known are command, args, families, timeoutSec',
    ]);
  }
});

const wrong: readonly (readonly [name: string, ...values: readonly unknown[]])[] = [
  ['command', '', 'a', './a', 7, null, '/a\0b'],
  ['args', {}, '{}', '["a",1]', [1], 'null', ['a\0']],
  ['families', [], '', 'IPv4,', ['IPv4', 'x'], 4],
  ['timeoutSeconds', 0, '0', 301, -1, '', 'x', Number.NaN, Number.POSITIVE_INFINITY, [5]],
  ['options', [], 'x', 1, null, '"a"'],
];
for (const [name, ...values] of wrong) {
  test(`${name} is refused when it is something else`, () => {
    for (const value of values) assert.throws(() => parseOptions({ [name]: value }), new RegExp(`options: ${name}: `));
  });
}

test.run();
