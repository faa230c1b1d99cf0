/** The three languages of patches. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { applyPatch, type PatchType } from '../../apiserver/api/patch.ts';
import { isApiError } from '../../apiserver/api/status.ts';

const test = suite('apiserver patches');
const JSON_PATCH = 'application/json-patch+json';
const MERGE = 'application/merge-patch+json';
const STRATEGIC = 'application/strategic-merge-patch+json';

function code(type: PatchType, object: Record<string, unknown>, patch: unknown): number | undefined {
  try {
    applyPatch(type, object, patch);
    return undefined;
  } catch (error) {
    if (isApiError(error)) return error.status.code;
    throw error;
  }
}

test('a merge patch sets, deletes with null, and replaces lists whole', () => {
  const object = { a: { b: 1, c: 2 }, list: [1, 2], keep: true };
  const patch = { a: { b: null, d: 3 }, list: [9], new: { x: { y: 1, z: null } } };
  assert.equal(applyPatch(MERGE, object, patch), { a: { c: 2, d: 3 }, list: [9], keep: true, new: { x: { y: 1 } } });
  assert.equal(object, { a: { b: 1, c: 2 }, list: [1, 2], keep: true }, 'the object is left alone');
});

test('a JSON patch applies its operations in order', () => {
  const object = { a: { 'x/y': 1 }, list: [1, 2, 3] };
  const patch = [
    { op: 'test', path: '/a/x~1y', value: 1 },
    { op: 'replace', path: '/a/x~1y', value: 2 },
    { op: 'add', path: '/list/1', value: 9 },
    { op: 'add', path: '/list/-', value: 4 },
    { op: 'remove', path: '/list/0' },
    { op: 'copy', from: '/list', path: '/copied' },
    { op: 'move', from: '/a', path: '/moved' },
  ];
  assert.equal(applyPatch(JSON_PATCH, object, patch), {
    list: [9, 2, 3, 4],
    copied: [9, 2, 3, 4],
    moved: { 'x/y': 2 },
  });
});

test('a JSON patch that does not fit is refused', () => {
  assert.is(code(JSON_PATCH, { a: 1 }, [{ op: 'test', path: '/a', value: 2 }]), 422);
  assert.is(code(JSON_PATCH, { a: 1 }, [{ op: 'remove', path: '/b' }]), 422);
  assert.is(code(JSON_PATCH, { a: 1 }, [{ op: 'replace', path: '/b', value: 1 }]), 422);
  assert.is(code(JSON_PATCH, { a: [] }, [{ op: 'add', path: '/a/1', value: 1 }]), 422);
  assert.is(code(JSON_PATCH, { a: 1 }, { op: 'add' }), 400);
  assert.is(code(MERGE, { a: 1 }, []), 400);
});

test('a strategic patch merges ports by their number', () => {
  const object = {
    spec: {
      ports: [
        { port: 80, name: 'a' },
        { port: 81, name: 'b' },
      ],
    },
  };
  const patch = {
    spec: {
      '$setElementOrder/ports': [{ port: 82 }, { port: 80 }],
      ports: [{ port: 80, nodePort: 30_000 }, { port: 82 }, { port: 81, $patch: 'delete' }],
    },
  };
  assert.equal(applyPatch(STRATEGIC, object, patch), {
    spec: { ports: [{ port: 82 }, { port: 80, name: 'a', nodePort: 30_000 }] },
  });
  assert.is(code(STRATEGIC, object, { spec: { ports: [{ name: 'x' }] } }), 500);
});

test('a strategic patch can replace what it would merge', () => {
  const object = { spec: { ports: [{ port: 80 }], selector: { a: '1', b: '2' } } };
  const patch = { spec: { ports: [{ port: 1 }, { $patch: 'replace' }], selector: { $patch: 'replace', c: '3' } } };
  assert.equal(applyPatch(STRATEGIC, object, patch), { spec: { ports: [{ port: 1 }], selector: { c: '3' } } });
  assert.equal(applyPatch(STRATEGIC, object, { spec: { selector: { $patch: 'delete' } } }), {
    spec: { ports: [{ port: 80 }] },
  });
});

test('a strategic patch treats plain lists as sets, or replaces them where the kind says nothing', () => {
  const object = { metadata: { finalizers: ['a', 'b'] }, endpoints: [1] };
  const patch = {
    metadata: { '$deleteFromPrimitiveList/finalizers': ['a'], finalizers: ['c', 'b'] },
    endpoints: [2],
  };
  assert.equal(applyPatch(STRATEGIC, object, patch), { metadata: { finalizers: ['b', 'c'] }, endpoints: [2] });
});

test('retained keys drop all others', () => {
  const patch = { spec: { $retainKeys: ['a'], a: 2 } };
  assert.equal(applyPatch(STRATEGIC, { spec: { a: 1, b: 1 } }, patch), { spec: { a: 2 } });
});

test.run();
