import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { identify, show } from '../../../core/model/raw-object.ts';
import { rawNode, rawService } from './samples.ts';

const identity = suite('identify');

identity('an object says its kind, version, namespace and name', () => {
  const expected = { kind: 'Service', apiVersion: 'v1', namespace: 'shop', name: 'web' };
  assert.equal(identify(rawService()), expected);
});

identity('a Node has no namespace; anything else is in "default" unless it says otherwise', () => {
  assert.is(identify(rawNode())?.namespace, '');
  assert.is(identify({ kind: 'Service', metadata: { name: 'web' } })?.namespace, 'default');
});

identity('a list item is known without a kind', () => {
  assert.equal(identify({ metadata: { name: 'web' } }), {
    kind: '',
    apiVersion: '',
    namespace: 'default',
    name: 'web',
  });
});

identity('an object that is broken elsewhere can still be named', () => {
  assert.is(identify(rawService({}, { spec: 5 }))?.name, 'web');
});

identity('what has no name is no object', () => {
  for (const raw of [
    null,
    undefined,
    5,
    'x',
    [],
    {},
    { metadata: null },
    { metadata: { name: '' } },
    { metadata: { name: 1 } },
  ]) {
    assert.is(identify(raw), undefined);
  }
});

identity.run();

const shown = suite('values in problems');

shown('texts are escaped and cut, so that no object can forge a log line', () => {
  assert.is(show('a\n"b"'), '"a\\n\\"b\\""');
  assert.is(show('x'.repeat(1000)).length, 102);
});

shown('an object that contains itself is named without being walked', () => {
  const cyclic: Record<string, unknown> = {};
  cyclic.self = cyclic;
  assert.is(show(cyclic), 'an object');
  assert.is(show([cyclic]), 'a list');
});

shown.run();
