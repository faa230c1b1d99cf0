import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { BACKEND_MEMBERS, PLUGIN_MEMBERS } from '../../../core/plugin/contract-members.ts';
import { misspelt } from '../../../core/plugin/members.ts';

const test = suite('misspelt members');
const call = (): void => {};
const BACKEND = { families: ['IPv4'], sync: call, cleanup: call, close: call };
const meant = (more: object, known: Parameters<typeof misspelt>[1] = BACKEND_MEMBERS): readonly string[] =>
  misspelt({ ...BACKEND, ...more }, known).map(({ found, meant }) => `${found} ${meant}`);

test('those that are near to one that is missing are found, whatever the case of their letters', () => {
  assert.equal(meant({ chek: call }), ['chek check']);
  assert.equal(meant({ Check: call }), ['Check check']);
  assert.equal(meant({ healthz: call, initialise: call }), ['healthz health', 'initialise initialize']);
  assert.equal(meant({ useConntrack: true }), ['useConntrack usesConntrack']);
  assert.equal(meant({ rendr: call, leaveHostAlone: true }, PLUGIN_MEMBERS), [
    'rendr render',
    'leaveHostAlone leavesHostAlone',
  ]);
});

test('what a backend keeps for itself is none', () => {
  assert.equal(meant({ closed: true, checks: 3, family: 'IPv4', names: [], start: call, synced: call }), []);
  assert.equal(meant({ check: call, checked: call }), []);
});

test('members of a class are seen, and no getter is called', () => {
  class Odd {
    readonly families = [];
    get sync(): never {
      throw new Error('it was called');
    }
    cleanUp(): void {}
  }
  assert.equal(misspelt(new Odd(), BACKEND_MEMBERS), [{ found: 'cleanUp', meant: 'cleanup' }]);
});

test('what is no object has none, nor has one that does not tell', () => {
  const trap = new Proxy(
    {},
    {
      ownKeys(): never {
        throw new Error('no');
      },
    },
  );
  for (const nothing of [undefined, null, 7, call, trap]) assert.equal(misspelt(nothing, BACKEND_MEMBERS), []);
});

test.run();
