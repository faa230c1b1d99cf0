import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { EndpointSlice } from '../../../core/model/objects.ts';
import { parseEndpointSlice } from '../../../core/model/parse-endpointslice.ts';
import { rawSlice } from './samples.ts';

type Raw = Record<string, unknown>;

function parse(rest: Raw = {}): EndpointSlice {
  const { value, problems } = parseEndpointSlice(rawSlice(rest));
  assert.equal(problems, []);
  assert.ok(value);
  return value;
}

function parseWithProblems(rest: Raw): [EndpointSlice, string] {
  const { value, problems } = parseEndpointSlice(rawSlice(rest));
  assert.ok(value, problems.join('; '));
  return [value, problems.join('\n')];
}

function metadata(labels: unknown, annotations?: unknown): Raw {
  return { namespace: 'shop', name: 'web-1', labels, annotations };
}

const SERVICE = { 'kubernetes.io/service-name': 'web' };

const slices = suite('slices');

slices('an endpoint on loopback is ignored: it would open what this node serves to itself alone', () => {
  const endpoints = [{ addresses: ['127.0.0.1'] }, { addresses: ['10.244.1.5'] }];
  const [slice, problems] = parseWithProblems({ endpoints });
  assert.equal(
    slice.endpoints.map((one) => one.ip),
    ['10.244.1.5'],
  );
  assert.match(problems, /endpoints\[0\]\.addresses\[0\]: 127\.0\.0\.1 is a loopback address/);
  const [six] = parseWithProblems({ addressType: 'IPv6', endpoints: [{ addresses: ['::1'] }] });
  assert.equal(six.endpoints, []);
});

slices('an ordinary slice is kept with what the proxy reads of it', () => {
  assert.equal(parse(), {
    namespace: 'shop',
    name: 'web-1',
    serviceName: 'web',
    family: 'IPv4',
    ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
    endpoints: [
      {
        ip: '10.244.1.5',
        nodeName: 'node-a',
        zone: 'zone-a',
        ready: true,
        serving: true,
        terminating: false,
        hintZones: [],
        hintNodes: [],
      },
    ],
    triggerTimeMs: 0,
  });
});

slices('slices of headless Services and of names are not ours, silently', () => {
  const nothing = { value: undefined, problems: [] };
  const headless = metadata({ ...SERVICE, 'service.kubernetes.io/headless': '' });
  assert.equal(parseEndpointSlice(rawSlice({ metadata: headless })), nothing);
  assert.equal(parseEndpointSlice(rawSlice({ addressType: 'FQDN' })), nothing);
});

slices('a slice managed by anyone counts', () => {
  const labels = { ...SERVICE, 'endpointslice.kubernetes.io/managed-by': 'my-operator' };
  assert.is(parse({ metadata: metadata(labels) }).serviceName, 'web');
});

slices('a slice without a Service is left out with a problem', () => {
  for (const labels of [undefined, {}, { 'kubernetes.io/service-name': '' }]) {
    const { value, problems } = parseEndpointSlice(rawSlice({ metadata: metadata(labels) }));
    assert.is(value, undefined);
    assert.match(problems.join(), /^metadata\.labels\["kubernetes\.io\/service-name"\]: missing/);
  }
});

const MALFORMED: readonly (readonly [Raw, RegExp])[] = [
  [{ kind: 'Endpoints' }, /^kind: "Endpoints" is not EndpointSlice/],
  [{ metadata: {} }, /^metadata\.name: /],
  [{ addressType: 'IP' }, /^addressType: "IP" is not IPv4/],
  [{ addressType: undefined }, /^addressType: nothing /],
  [{ ports: {} }, /^ports: an object is not a list/],
  [{ ports: ['http'] }, /^ports\[0\]: "http" is not an object/],
  [{ ports: [{ port: '8080' }] }, /^ports\[0\]\.port: "8080" is not a number/],
];
for (const [rest, problem] of MALFORMED) {
  slices(`malformed, left out: ${problem.source}`, () => {
    const { value, problems } = parseEndpointSlice(rawSlice(rest));
    assert.is(value, undefined);
    assert.is(problems.length, 1);
    assert.match(problems[0]!, problem);
  });
}

const TIMES: readonly (readonly [unknown, number])[] = [
  ['2026-03-01T12:00:00.123456789Z', Date.UTC(2026, 2, 1, 12, 0, 0, 123)],
  ['2026-03-01T12:00:00+02:00', Date.UTC(2026, 2, 1, 10)],
  ['2026-13-01T12:00:00Z', 0],
  ['yesterday', 0],
  ['2026', 0],
  [undefined, 0],
  [5, 0],
];
for (const [text, expected] of TIMES) {
  slices(`trigger time ${JSON.stringify(text)} is read as ${expected}`, () => {
    const annotations = { 'endpoints.kubernetes.io/last-change-trigger-time': text };
    assert.is(parse({ metadata: metadata(SERVICE, annotations) }).triggerTimeMs, expected);
  });
}

slices('only the kube-proxy.io annotations are kept, and where there are none there is no field', () => {
  const annotations = { 'kube-proxy.io/weight': '7', 'kubectl.kubernetes.io/x': 'y', 'kube-proxy.io': 'z' };
  assert.equal(parse({ metadata: metadata(SERVICE, annotations) }).annotations, { 'kube-proxy.io/weight': '7' });
  assert.not('annotations' in parse({ metadata: metadata(SERVICE, { 'kubectl.kubernetes.io/x': 'y' }) }));
  assert.not('annotations' in parse({ metadata: metadata(SERVICE) }));
});

slices.run();

const ports = suite('slice ports');

ports('a port without protocol is TCP and without name unnamed, as the API server fills in', () => {
  const expected = [{ name: '', protocol: 'TCP', port: 8080 }];
  assert.equal(parse({ ports: [{ port: 8080 }] }).ports, expected);
  assert.equal(parse({ ports: [{ port: 8080, name: null, protocol: null }] }).ports, expected);
});

ports('no ports is an empty list', () => {
  assert.equal(parse({ ports: null }).ports, []);
  assert.equal(parse({ ports: undefined }).ports, []);
});

const BAD: readonly (readonly [Raw, RegExp])[] = [
  [{ name: 'x' }, /^ports\[0\]\.port: nothing is not a port number/],
  [{ port: 0 }, /^ports\[0\]\.port: 0 /],
  [{ port: 65536 }, /^ports\[0\]\.port: 65536 /],
  [{ port: 8080, name: 'A B' }, /^ports\[0\]\.name: "A B" /],
  [{ port: 8080, protocol: 'ICMP' }, /^ports\[0\]\.protocol: "ICMP" /],
];
for (const [bad, problem] of BAD) {
  ports(`a bad port is ignored and the others count: ${problem.source}`, () => {
    const [slice, problems] = parseWithProblems({ ports: [bad, { name: 'good', port: 8081 }] });
    assert.equal(slice.ports, [{ name: 'good', protocol: 'TCP', port: 8081 }]);
    assert.match(problems, problem);
  });
}

ports.run();

const endpoints = suite('slice endpoints');

endpoints('only the first address of an endpoint counts', () => {
  const [found] = parse({ endpoints: [{ addresses: ['10.244.1.5', '10.244.1.6'] }] }).endpoints;
  assert.is(found?.ip, '10.244.1.5');
});

endpoints('an endpoint without addresses is ignored silently', () => {
  assert.equal(parse({ endpoints: [{ addresses: [] }, {}, { addresses: null }] }).endpoints, []);
  assert.equal(parse({ endpoints: null }).endpoints, []);
});

endpoints('conditions that are not given mean ready, serving, not terminating', () => {
  for (const conditions of [undefined, null, {}, { ready: null, serving: null, terminating: null }]) {
    const [found] = parse({ endpoints: [{ addresses: ['10.244.1.5'], conditions }] }).endpoints;
    assert.equal([found?.ready, found?.serving, found?.terminating], [true, true, false]);
  }
});

endpoints('conditions that are given are kept, each by itself', () => {
  const conditions = { ready: false, serving: false, terminating: true };
  const [found] = parse({ endpoints: [{ addresses: ['10.244.1.5'], conditions }] }).endpoints;
  assert.equal([found?.ready, found?.serving, found?.terminating], [false, false, true]);
});

endpoints('node, zone and hints that are not given are empty', () => {
  const [found] = parse({ endpoints: [{ addresses: ['10.244.1.5'], nodeName: null }] }).endpoints;
  assert.equal([found?.nodeName, found?.zone, found?.hintZones, found?.hintNodes], ['', '', [], []]);
});

endpoints('hints are lists of names', () => {
  const hints = { forZones: [{ name: 'zone-a' }, { name: 'zone-b' }], forNodes: [{ name: 'node-a' }] };
  const [found] = parse({ endpoints: [{ addresses: ['10.244.1.5'], hints }] }).endpoints;
  assert.equal(found?.hintZones, ['zone-a', 'zone-b']);
  assert.equal(found?.hintNodes, ['node-a']);
});

endpoints('an IPv6 slice holds canonical IPv6 addresses', () => {
  const [found] = parse({ addressType: 'IPv6', endpoints: [{ addresses: ['FD00:244:1:0::5'] }] }).endpoints;
  assert.is(found?.ip, 'fd00:244:1::5');
});

const BAD_ENDPOINTS: readonly (readonly [unknown, RegExp])[] = [
  ['10.244.1.5', /^endpoints\[0\]: "10\.244\.1\.5" is not an object/],
  [{ addresses: ['10.244.1.500'] }, /^endpoints\[0\]\.addresses\[0\]: "10\.244\.1\.500" is not an IPv4 address/],
  [{ addresses: ['fd00::5'] }, /^endpoints\[0\]\.addresses\[0\]: "fd00::5" is not an IPv4 address/],
  [{ addresses: [5] }, /^endpoints\[0\]\.addresses\[0\]: 5 /],
  [{ addresses: '10.244.1.5' }, /^endpoints\[0\]\.addresses: "10\.244\.1\.5" is not a list/],
  [
    { addresses: ['10.244.1.5'], conditions: { ready: 'false' } },
    /^endpoints\[0\]\.conditions\.ready: "false" is not true/,
  ],
];
for (const [bad, problem] of BAD_ENDPOINTS) {
  endpoints(`a bad endpoint is ignored and the others count: ${problem.source}`, () => {
    const [slice, problems] = parseWithProblems({ endpoints: [bad, { addresses: ['10.244.1.6'] }] });
    assert.equal(
      slice.endpoints.map(({ ip }) => ip),
      ['10.244.1.6'],
    );
    assert.match(problems, problem);
  });
}

endpoints('bad hints, node and zone are ignored with a problem and the endpoint is kept', () => {
  const hints = { forZones: ['zone-a', { name: 'zone-b' }, {}], forNodes: 'node-a' };
  const [slice, problems] = parseWithProblems({
    endpoints: [{ addresses: ['10.244.1.5'], hints, nodeName: 5, zone: [] }],
  });
  assert.equal(slice.endpoints[0]?.hintZones, ['zone-b']);
  assert.equal(slice.endpoints[0]?.hintNodes, []);
  assert.is(slice.endpoints[0]?.nodeName, '');
  assert.is(problems.split('\n').length, 5);
});

endpoints.run();
