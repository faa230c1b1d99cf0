import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  keepSpoiled,
  type ManifestContents,
  type ManifestObject,
  parseManifest,
} from '../../../core/source/manifests/parse-manifest.ts';
import { nodeYaml, serviceYaml, sliceYaml } from './disk.ts';

const test = suite('parse-manifest');

function good(text: string, format: 'yaml' | 'json' = 'yaml'): ManifestContents {
  const parsed = parseManifest(text, format);
  if (parsed.kind !== 'good') throw new Error(`malformed: ${parsed.problem}`);
  return parsed.contents;
}

function malformed(text: string, format: 'yaml' | 'json' = 'yaml'): string {
  const parsed = parseManifest(text, format);
  return parsed.kind === 'malformed' ? parsed.problem : '(good)';
}

/** The first problem, or none. */
const problem = (contents: ManifestContents): string => contents.problems[0] ?? '';
const ids = (contents: ManifestContents): string[] => [...contents.objects.keys()];

function port(object: ManifestObject | undefined): number | undefined {
  return object?.kind === 'Service' ? object.value?.ports[0]?.port : undefined;
}

test('several documents give several objects, and empty ones give none', () => {
  const contents = good(`---\n${serviceYaml('web')}---\n---\n${sliceYaml('web-1', 'web')}---\n${nodeYaml('n1')}...\n`);
  assert.equal(ids(contents), ['Service default/web', 'EndpointSlice default/web-1', 'Node n1']);
  assert.equal(contents.problems, []);
});

test('ServiceCIDRs are read, alone and in lists, and have no namespace', () => {
  const range = { metadata: { name: 'kubernetes', namespace: 'ignored' }, spec: { cidrs: ['10.96.0.0/12'] } };
  const alone = { apiVersion: 'networking.k8s.io/v1', kind: 'ServiceCIDR', ...range };
  const list = { apiVersion: 'networking.k8s.io/v1', kind: 'ServiceCIDRList', items: [range] };
  for (const document of [alone, list]) {
    const contents = good(JSON.stringify(document), 'json');
    assert.equal(ids(contents), ['ServiceCIDR kubernetes']);
    const [object] = contents.objects.values();
    assert.equal(object?.value, { name: 'kubernetes', cidrs: ['10.96.0.0/12'] });
  }
});

test('a text without documents holds nothing', () => {
  for (const text of ['', '\n', '# nothing\n', '---\n', 'null']) assert.equal(ids(good(text)), []);
  assert.equal(ids(good('', 'json')), []);
});

test('JSON is read, and JSON with comments or several documents too', () => {
  const json = JSON.stringify({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } });
  assert.equal(ids(good(json, 'json')), ['Node n1']);
  assert.equal(ids(good(`# a comment\n${json}\n---\n${json.replace('n1', 'n2')}`, 'json')), ['Node n1', 'Node n2']);
});

test('lists of any sort are unfolded, and the items of a typed list need no kind', () => {
  const item = (name: string): object => ({
    metadata: { name },
    spec: { clusterIP: '10.96.0.1', ports: [{ port: 1 }] },
  });
  const typed = { apiVersion: 'v1', kind: 'ServiceList', items: [item('a'), item('b')] };
  const whole = { apiVersion: 'v1', kind: 'Service', ...item('c') };
  const nodes = { apiVersion: 'v1', kind: 'NodeList', items: [{ metadata: { name: 'n1' } }] };
  const nested = { apiVersion: 'v1', kind: 'List', items: [{ kind: 'List', items: [whole] }, typed, nodes] };
  const contents = good(JSON.stringify(nested));
  assert.equal(ids(contents), ['Service default/c', 'Service default/a', 'Service default/b', 'Node n1']);
  assert.equal(contents.problems, []);
  assert.equal(ids(good('kind: EndpointSliceList\napiVersion: discovery.k8s.io/v1\nitems: []\n')), []);
});

test('a list that contains itself is walked once', () => {
  const contents = good('kind: List\nitems: &all\n- &one\n  kind: List\n  items: [*one, *one]\n');
  assert.equal(ids(contents), []);
  const endless = good('&list\nkind: List\nitems: [*list, *list]\n');
  assert.equal(ids(endless), []);
});

test('other kinds, and the same kind of another API group, are ignored and named', () => {
  const contents = good(
    `kind: Deployment\napiVersion: apps/v1\nmetadata: {name: web}\n---\n` +
      `kind: Service\napiVersion: serving.knative.dev/v1\nmetadata: {name: fn, namespace: apps}\n`,
  );
  assert.equal(ids(contents), []);
  assert.equal(contents.problems, []);
  assert.equal(contents.ignored, ['Deployment default/web', 'Service apps/fn']);
});

test('a headless Service is an object that is not served, without a problem', () => {
  const contents = good(serviceYaml('db').replace('10.96.0.10', 'None'));
  assert.equal(ids(contents), ['Service default/db']);
  assert.is(contents.objects.get('Service default/db')?.value, undefined);
  assert.equal(contents.problems, []);
});

test('a version that is not read is a problem that names the right one', () => {
  const contents = good(sliceYaml('web-1', 'web').replace('k8s.io/v1', 'k8s.io/v1beta1'));
  assert.equal([...contents.invalid], ['EndpointSlice default/web-1']);
  assert.match(problem(contents), /EndpointSlice default\/web-1: .*v1beta1.*"apiVersion: discovery\.k8s\.io\/v1"/);
  assert.match(problem(good(serviceYaml('web').replace('apiVersion: v1', 'x: y'))), /apiVersion is missing/);
});

test('a broken object is named and the others count', () => {
  const broken = serviceYaml('bad').replace('port: 80', 'port: eighty');
  const contents = good(`${broken}---\n${serviceYaml('web')}---\njust a text\n---\nmetadata: {name: x}\n`);
  assert.ok(contents.objects.has('Service default/web'));
  assert.ok(contents.problems.some((each) => each.startsWith('Service default/bad: ')));
  assert.ok(contents.problems.some((each) => each.startsWith('document 3: is not a Kubernetes object')));
  assert.ok(contents.problems.some((each) => each.startsWith('document 4: has no kind')));
});

test('an object without a name is a problem that names its place', () => {
  const contents = good('kind: List\nitems:\n- {kind: Service, apiVersion: v1}\n');
  assert.match(problem(contents), /^the document, items\[0\]: Service has no metadata\.name/);
});

test('of the same object twice in a file the first counts', () => {
  const contents = good(`${serviceYaml('web', 80)}---\n${serviceYaml('web', 81)}`);
  assert.is(port(contents.objects.get('Service default/web')), 80);
  assert.match(problem(contents), /Service default\/web: is in this file twice.*document 2/);
});

test('a malformed text is told with its line and column', () => {
  assert.match(malformed('kind: Service\nmetadata: [\n'), /^line 3, column 1: /);
  assert.match(malformed('a: 1\nb:\n\tc: 1\n'), /^line 3, column 1: Tabs/);
  assert.match(malformed('{"kind": "Service",\n "metadata": {', 'json'), /^line 2, column /);
  assert.match(malformed('a: 1\na: 2\n'), /^line 2, column 1: .*unique/);
});

test('text that ends in the middle of a document is malformed as a whole', () => {
  assert.is.not(malformed(`${serviceYaml('web')}---\nkind: "Serv`), '(good)');
});

test('aliases that would unfold to gigabytes are refused', () => {
  const lines = ['a: &a [x, x, x, x, x, x, x, x, x]'];
  for (const [from, to] of ['ab', 'bc', 'cd', 'de', 'ef', 'fg', 'gh'].map((pair) => [...pair])) {
    lines.push(`${to}: &${to} [${Array(9).fill(`*${from}`).join(', ')}]`);
  }
  assert.match(malformed(lines.join('\n')), /alias/);
});

test('brackets nested without end are malformed, not a crash', () => {
  assert.is.not(malformed('['.repeat(5_000)), '(good)');
});

test('an anchor and a merge key work as in kubectl', () => {
  const contents = good(
    `${serviceYaml('web').replace('- name: http', '- &p\n    name: http')}  - <<: *p\n    name: two\n`,
  );
  const object = contents.objects.get('Service default/web');
  assert.ok(object?.kind === 'Service');
  assert.equal(object?.kind === 'Service' ? object.value?.ports.map(({ name, port }) => [name, port]) : [], [
    ['http', 80],
    ['two', 80],
  ]);
});

test('an object that an edit spoiled stays as it was, but one that the edit removed goes', () => {
  const before = good(`${serviceYaml('web')}---\n${serviceYaml('api')}`).objects;
  const after = good(serviceYaml('web').replace('port: 80', 'port: eighty'));
  assert.ok(after.invalid.has('Service default/web'));
  const kept = keepSpoiled(before, after);
  assert.equal([...kept.keys()], ['Service default/web']);
  assert.is(port(kept.get('Service default/web')), 80);
});

test.run();
