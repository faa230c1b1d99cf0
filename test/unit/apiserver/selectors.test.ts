/** The two selector languages, and what a server refuses in them. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseFieldSelector, parseLabelSelector } from '../../apiserver/api/selectors.ts';
import { isApiError } from '../../apiserver/api/status.ts';
import { fieldLabels, kindOf } from '../../apiserver/kinds/kinds.ts';

const test = suite('apiserver selectors');

const LABELS = { app: 'web', tier: 'front', n: '5', empty: '' };

const LABEL_CASES: readonly (readonly [selector: string, matches: boolean])[] = [
  ['', true],
  ['app=web', true],
  ['app==web', true],
  ['app = web', true],
  ['app=api', false],
  ['app!=api', true],
  ['app!=web', false],
  ['missing!=web', true],
  ['app', true],
  ['missing', false],
  ['!missing', true],
  ['!app', false],
  ['app in (api, web)', true],
  ['app in (api)', false],
  ['app notin (api,db)', true],
  ['app notin (web)', false],
  ['missing notin (web)', true],
  ['missing in (web)', false],
  ['n>4', true],
  ['n>5', false],
  ['n<6', true],
  ['app>1', false],
  ['empty=', true],
  ['missing=', false],
  ['app=web,tier=front', true],
  ['app=web,tier=back', false],
  ['app in (web),!missing,n>1', true],
  ['empty in ()', true],
  ['example.com/x!=1', true],
];

for (const [selector, expected] of LABEL_CASES) {
  test(`the label selector "${selector}" ${expected ? 'selects' : 'does not select'} the object`, () => {
    assert.is(parseLabelSelector(selector).matches(LABELS), expected);
  });
}

test('a label that an object inherits from nowhere is absent', () => {
  assert.is(parseLabelSelector('constructor').matches({}), false);
});

for (const selector of [
  'app in (',
  'app in web',
  'app web',
  '=web',
  'app=web,',
  ',app',
  'app=web=x',
  'app in (a',
  'app in (=)',
  'n>x',
  '!',
  '-app=web',
  'app=-web',
  'a/b/c=d',
  'app=a b',
  `app=${'x'.repeat(64)}`,
]) {
  test(`the label selector "${selector.slice(0, 20)}" is refused with 400`, () => {
    const error = thrown(() => parseLabelSelector(selector));
    assert.is(error.status.code, 400);
    assert.is(error.status.reason, 'BadRequest');
    assert.match(error.message, 'unable to parse requirement');
  });
}

const services = fieldLabels(kindOf('Service')!);
const fields = (selector: string) => parseFieldSelector(selector, services.convert, services.refusal);
const FIELDS = {
  'metadata.name': 'web',
  'metadata.namespace': 'default',
  'spec.type': 'NodePort',
  'spec.clusterIP': 'a,b',
};

for (const [selector, expected] of [
  ['', true],
  ['metadata.name=web', true],
  ['metadata.name==web', true],
  ['metadata.name!=web', false],
  ['metadata.name=web,spec.type!=ClusterIP', true],
  ['metadata.name=web,metadata.namespace=other', false],
  ['spec.clusterIP=a\\,b', true],
  ['spec.clusterIP=a', false],
] as const) {
  test(`the field selector "${selector}" ${expected ? 'selects' : 'does not select'} the object`, () => {
    assert.is(fields(selector).matches(FIELDS), expected);
  });
}

for (const selector of ['metadata.name', 'metadata.name>web', 'spec.clusterIP=a=b', 'spec.clusterIP=\\x', '=web']) {
  test(`the field selector "${selector}" is refused with 400`, () => {
    assert.is(thrown(() => fields(selector)).status.code, 400);
  });
}

test('each kind can be selected by its own fields only', () => {
  const refusal = (kind: string, label: string) => {
    const labels = fieldLabels(kindOf(kind)!);
    return thrown(() => parseFieldSelector(`${label}=x`, labels.convert, labels.refusal)).message;
  };
  assert.is(refusal('Service', 'spec.ports'), 'field label not supported: spec.ports');
  assert.is(refusal('Node', 'metadata.namespace'), 'field label not supported: metadata.namespace');
  assert.is(
    refusal('EndpointSlice', 'addressType'),
    '"addressType" is not a known field selector: only "metadata.name", "metadata.namespace"',
  );
  const { convert } = fieldLabels(kindOf('ServiceCIDR')!);
  assert.is(convert('metadata.namespace'), 'metadata.namespace');
});

test('a selector tells the one value that a field must have', () => {
  assert.is(fields('metadata.name=web').exact('metadata.name'), 'web');
  assert.is(fields('metadata.name!=web').exact('metadata.name'), undefined);
});

function thrown(action: () => unknown) {
  try {
    action();
  } catch (error) {
    if (isApiError(error)) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

test.run();
