import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createCatalog } from '../../../core/source/manifests/catalog.ts';
import type { ManifestObject } from '../../../core/source/manifests/parse-manifest.ts';

const test = suite('catalog');

/** Objects are told apart by identity alone; a headless Service is the smallest there is. */
function object(name: string): ManifestObject {
  return { kind: 'Service', id: `Service default/${name}`, namespace: 'default', name, value: undefined };
}

function file(...objects: ManifestObject[]): ReadonlyMap<string, ManifestObject> {
  return new Map(objects.map((one) => [one.id, one]));
}

test('an object travels when it is new, when it changed and when it is gone', () => {
  const catalog = createCatalog();
  const [one, two, changed] = [object('one'), object('two'), object('one')];
  assert.equal(catalog.replace(new Map([['a.yaml', file(one, two)]])).changes, [
    { type: 'put', object: one },
    { type: 'put', object: two },
  ]);
  assert.equal(catalog.replace(new Map([['a.yaml', file(changed, two)]])).changes, [{ type: 'put', object: changed }]);
  assert.equal(catalog.replace(new Map([['a.yaml', undefined]])).changes, [
    { type: 'gone', object: changed },
    { type: 'gone', object: two },
  ]);
});

test('of two files the first in byte order wins, whichever came first, and the second takes over', () => {
  const catalog = createCatalog();
  const [inA, inB] = [object('web'), object('web')];
  catalog.replace(new Map([['b.yaml', file(inB)]]));
  const delta = catalog.replace(new Map([['a.yaml', file(inA)]]));
  assert.is(delta.changes[0]?.object, inA);
  assert.equal(delta.duplicates, [{ id: inA.id, usedFile: 'a.yaml', ignoredFile: 'b.yaml' }]);
  const after = catalog.replace(new Map([['a.yaml', undefined]]));
  assert.is(after.changes[0]?.object, inB);
  assert.is(after.changes[0]?.type, 'put');
  assert.equal(after.duplicates, []);
});

test('byte order is that of the bytes: capitals first, and beyond the basic plane last', () => {
  const catalog = createCatalog();
  const [upper, lower, emoji, wide] = [object('web'), object('web'), object('web'), object('web')];
  const order = ['\u{1F600}.yaml', '\uFF5E.yaml', 'a.yaml', 'B.yaml'];
  const delta = catalog.replace(
    new Map([
      [order[0]!, file(emoji)],
      [order[1]!, file(wide)],
      [order[2]!, file(lower)],
      [order[3]!, file(upper)],
    ]),
  );
  assert.is(delta.changes[0]?.object, upper);
  assert.equal(
    delta.duplicates.map((duplicate) => duplicate.ignoredFile),
    ['a.yaml', '\uFF5E.yaml', '\u{1F600}.yaml'],
  );
});

test('a duplicate is told once, and again only after it was away', () => {
  const catalog = createCatalog();
  const both = new Map([
    ['a.yaml', file(object('web'))],
    ['b.yaml', file(object('web'))],
  ]);
  assert.is(catalog.replace(both).duplicates.length, 1);
  const edit = catalog.replace(new Map([['b.yaml', file(object('web'))]]));
  assert.equal(edit, { changes: [], duplicates: [] });
  catalog.replace(new Map([['b.yaml', undefined]]));
  assert.is(catalog.replace(new Map([['b.yaml', file(object('web'))]])).duplicates.length, 1);
});

test('an object that moves to a file that changed with the first never disappears and is no duplicate', () => {
  const catalog = createCatalog();
  catalog.replace(new Map([['a.yaml', file(object('web'))]]));
  const moved = object('web');
  const delta = catalog.replace(
    new Map([
      ['b.yaml', file(moved)],
      ['a.yaml', file()],
    ]),
  );
  assert.equal(delta, { changes: [{ type: 'put', object: moved }], duplicates: [] });
});

test('a Service that is not served still claims its name', () => {
  const catalog = createCatalog();
  const served: ManifestObject = { ...object('web') };
  catalog.replace(new Map([['b.yaml', file(served)]]));
  const delta = catalog.replace(new Map([['a.yaml', file(object('web'))]]));
  assert.is(delta.changes.length, 1);
  assert.is.not(delta.changes[0]?.object, served);
});

test.run();
