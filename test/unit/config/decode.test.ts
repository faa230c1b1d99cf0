/** What a file may look like, and what is said of one that does not. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeConfiguration } from '../../../core/config/decode.ts';
import { ENVELOPE, told } from './files.ts';

const decode = (text: string) => decodeConfiguration(text, 'c.conf');
/** Of a body that begins at line 3. */
const faults = (body: string): readonly string[] => told(decode(ENVELOPE + body).faults);
const warnings = (body: string): readonly string[] => {
  const found = decode(ENVELOPE + body);
  assert.equal(found.faults, []);
  return told(found.warnings);
};

const envelope = suite('the file as a whole');

const WHOLE: readonly (readonly [text: string, expected: RegExp])[] = [
  ['', /^c\.conf: is empty; it must hold a KubeProxyConfiguration$/],
  ['# nothing\n---\n', /^c\.conf: is empty/],
  ['hello', /^c\.conf:1: is not a KubeProxyConfiguration; it begins with "apiVersion: kubeproxy/],
  ['- a\n', /^c\.conf:1: is not a KubeProxyConfiguration/],
  [
    'kind: KubeProxyConfiguration\n',
    /^c\.conf: apiVersion: is missing; .*"apiVersion: kubeproxy\.config\.k8s\.io\/v1al/,
  ],
  ['apiVersion: kubeproxy.config.k8s.io/v1alpha1\n', /^c\.conf: kind: is missing; .*"kind: KubeProxyConfiguration"$/],
  [ENVELOPE.replace('v1alpha1', 'v1'), /^c\.conf:1: apiVersion: is "kubeproxy\.config\.k8s\.io\/v1"; .*v1alpha1"$/],
  [
    'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nx: 1\nmode: 3\n',
    /^c\.conf:2: kind: is "KubeletC.*must say "kind: KubeProxyConfiguration" and "apiVersion: kube/,
  ],
  [`${ENVELOPE}---\n${ENVELOPE}`, /^c\.conf:4: holds 2 documents; keep one/],
  [`${ENVELOPE}mode: "iptables\n`, /^c\.conf:\d: is neither YAML nor JSON at column \d+: /],
  [`${ENVELOPE}  mode: x\n`, /^c\.conf:\d: is neither YAML nor JSON at column/],
  [`${ENVELOPE}\tmode: x\n`, /^c\.conf:3: is neither YAML nor JSON at column 1: Tabs/],
  ['{"kind": }}', /^c\.conf:1: is neither YAML nor JSON/],
  [
    `${ENVELOPE}iptables: &a {masqueradeBit: 1}\nnftables:\n  <<: *a\n`,
    /^c\.conf:5: merge keys \(<<\) are not read; write/,
  ],
  [`${ENVELOPE}iptables: *a\n`, /^c\.conf:3: \*a is nowhere defined/],
  [`${ENVELOPE}nodePortAddresses: &a [*a]\n`, /^c\.conf: holds more than 10000 values, or refers to itself/],
];
for (const [text, expected] of WHOLE) {
  envelope(`${JSON.stringify(text.replace(ENVELOPE, '… '))} has one fault, which is clear`, () => {
    const found = told(decode(text).faults);
    assert.is(found.length, 1, found.join('\n'));
    assert.match(found[0]!, expected);
  });
}

envelope('a few lines cannot unfold to millions of values', () => {
  const levels = Array.from({ length: 9 }, (_, level) => {
    return `x${level}: &x${level} [${Array.from({ length: 9 }, () => (level === 0 ? '1' : `*x${level - 1}`)).join(', ')}]`;
  });
  const begin = performance.now();
  assert.match(faults(`${levels.join('\n')}\n`)[0]!, /holds more than 10000 values/);
  assert.ok(performance.now() - begin < 5_000, 'nine to the power of nine would take longer');
});

envelope('a document marker before and after is no second document', () => {
  assert.equal(decode(`---\n${ENVELOPE}mode: ipvs\n---\n`).faults, []);
  assert.is(decode(`---\n${ENVELOPE}mode: ipvs\n...\n`).configuration.mode, 'ipvs');
});

envelope('JSON is read, whatever it is indented with', () => {
  const text =
    '{\n\t"apiVersion": "kubeproxy.config.k8s.io/v1alpha1",\n\t"kind": "KubeProxyConfiguration",\n\t"mode": "ipvs"\n}';
  const { configuration, lines, faults: found } = decode(text);
  assert.equal([configuration.mode, lines.get('mode'), found], ['ipvs', 4, []]);
});

envelope('ends of lines may be those of Windows, and a byte order mark may come first', () => {
  const found = decode(`\uFEFF${ENVELOPE}mode: ipvs\n`.replaceAll('\n', '\r\n'));
  assert.equal([found.faults, found.configuration.mode], [[], 'ipvs']);
});

envelope('anchors are resolved', () => {
  const { configuration } = decode(`${ENVELOPE}iptables: {syncPeriod: &long 5m}\nnftables: {syncPeriod: *long}\n`);
  assert.is(configuration.nftables.syncPeriod, 300_000);
});

const lenient = suite('what is warned of and ignored');

const WARNED: readonly (readonly [body: string, expected: readonly string[]])[] = [
  [
    'masqueradeBit: 3\n',
    [
      'c.conf:3: masqueradeBit: is no field of a KubeProxyConfiguration, and ignored; did you mean iptables.masqueradeBit or nftables.masqueradeBit?',
    ],
  ],
  [
    'iptables:\n  masqueradebit: 3\n',
    [
      'c.conf:4: iptables.masqueradebit: is no field of a KubeProxyConfiguration, and ignored; did you mean iptables.masqueradeBit?',
    ],
  ],
  [
    'iptables:\n  strictARP: true\n',
    [
      'c.conf:4: iptables.strictARP: is no field of a KubeProxyConfiguration, and ignored; did you mean ipvs.strictARP?',
    ],
  ],
  [
    'udpIdleTimeout: 250ms\nconfigHardFail: x\n',
    [
      'c.conf:3: udpIdleTimeout: is no field of a KubeProxyConfiguration, and ignored',
      'c.conf:4: configHardFail: is no field of a KubeProxyConfiguration, and ignored',
    ],
  ],
  ['toString: 1\n', ['c.conf:3: toString: is no field of a KubeProxyConfiguration, and ignored']],
  ['mode: ipvs\nmode: nftables\n', ['c.conf:4: mode: is there 2 times (lines 3, 4); the last counts']],
];
for (const [body, expected] of WARNED) {
  lenient(JSON.stringify(body), () => assert.equal(warnings(body), expected));
}

lenient('an unknown field changes nothing, also if only its case is wrong', () => {
  assert.equal(decode(`${ENVELOPE}Mode: ipvs\nmasqueradeBit: 3\n`).configuration, decode(ENVELOPE).configuration);
});

lenient('of what is written twice the last counts, whole', () => {
  const { configuration, lines } = decode(
    `${ENVELOPE}iptables: {masqueradeBit: 3}\nmode: a\niptables: {masqueradeAll: true}\nmode: b\n`,
  );
  assert.equal([configuration.mode, lines.get('mode')], ['b', 6]);
  assert.equal([configuration.iptables.masqueradeBit, configuration.iptables.masqueradeAll], [14, true]);
});

lenient('a fault in what does not count is none', () => {
  assert.is(warnings('mode: [x]\nmode: ipvs\n').length, 1);
});

const types = suite('values of wrong types');

const WRONG: readonly (readonly [body: string, expected: string])[] = [
  ['hostnameOverride: 12345', 'c.conf:3: hostnameOverride: 12345 is not a text; write it in quotes: "12345"'],
  ['bindAddress: true', 'c.conf:3: bindAddress: true is not a text; write it in quotes: "true"'],
  ['metricsBindAddress: 0', 'c.conf:3: metricsBindAddress: 0 is not a text; write it in quotes: "0"'],
  ['mode: {a: b}', 'c.conf:3: mode: a map is not a text; write one, after the colon'],
  [
    'bindAddressHardFail: "true"',
    'c.conf:3: bindAddressHardFail: "true" is not true or false; write one of these words, without quotes',
  ],
  [
    'bindAddressHardFail: 1',
    'c.conf:3: bindAddressHardFail: 1 is not true or false; write one of these words, without quotes',
  ],
  [
    'oomScoreAdj: "14"',
    'c.conf:3: oomScoreAdj: "14" is not a whole number of at most 32 bits; write for example 14, without quotes',
  ],
  [
    'oomScoreAdj: 1.5',
    'c.conf:3: oomScoreAdj: 1.5 is not a whole number of at most 32 bits; write for example 14, without quotes',
  ],
  [
    'oomScoreAdj: 010',
    'c.conf:3: oomScoreAdj: 010 is not a whole number of at most 32 bits; write for example 14, without quotes',
  ],
  [
    'oomScoreAdj: 2147483648',
    'c.conf:3: oomScoreAdj: 2147483648 is not a whole number of at most 32 bits; write for example 14, without quotes',
  ],
  [
    'clientConnection: {qps: fast}',
    'c.conf:3: clientConnection.qps: fast is not a number; write for example 5 or 0.5, without quotes',
  ],
  [
    'clientConnection: {qps: .inf}',
    'c.conf:3: clientConnection.qps: .inf is not a number; write for example 5 or 0.5, without quotes',
  ],
  [
    'configSyncPeriod: 30',
    'c.conf:3: configSyncPeriod: 30 is not a duration; write a number and its unit, for example 30s',
  ],
  [
    'configSyncPeriod: "30"',
    'c.conf:3: configSyncPeriod: "30" is not a duration; write a number and its unit, for example 30s or 1m30s',
  ],
  [
    'configSyncPeriod: ""',
    'c.conf:3: configSyncPeriod: "" is not a duration; write a number and its unit, for example 30s or 1m30s',
  ],
  [
    'logging: {flushFrequency: 1.5}',
    'c.conf:3: logging.flushFrequency: 1.5 is not a duration; write a number and its unit, for example 1.5s',
  ],
  [
    'logging: {options: {text: {infoBufferSize: big}}}',
    'c.conf:3: logging.options.text.infoBufferSize: big is not a quantity; write for example "16Mi"',
  ],
  [
    'nodePortAddresses: primary',
    'c.conf:3: nodePortAddresses: is not a list; write one text for each line, after "- "',
  ],
  ['nodePortAddresses:\n- 10.0.0.0/8\n- 5', 'c.conf:5: nodePortAddresses[1]: 5 is not a text; write it in quotes: "5"'],
  [
    'featureGates: AllAlpha=true',
    'c.conf:3: featureGates: is not a map of names to values; write below it for example AllowServiceExternalIPs: false',
  ],
  [
    'featureGates: {AllAlpha: "true"}',
    'c.conf:3: featureGates.AllAlpha: "true" is not true or false; write one of these words, without quotes',
  ],
  [
    'backendOptions: {a: [1, 12345678901234567890]}',
    'c.conf:3: backendOptions.a[1]: 12345678901234567890 cannot be held exactly as a number; write it in quotes',
  ],
  [
    'backendOptions:\n  a:\n    b: .inf',
    'c.conf:5: backendOptions.a.b: .inf cannot be held exactly as a number; write it in quotes',
  ],
  [
    'backendOptions: [a]',
    'c.conf:3: backendOptions: is not a map of names to values; write below it for example format: json',
  ],
  ['logging: {vmodule: [{filePattern: x}]}', 'c.conf:3: logging.vmodule[0]: needs filePattern and verbosity'],
  ['logging: {vmodule: [x=1]}', 'c.conf:3: logging.vmodule[0]: needs filePattern and verbosity'],
  [
    'logging: {vmodule: [{filePattern: x, verbosity: y}]}',
    'c.conf:3: logging.vmodule[0].verbosity: y is not a whole number of at most 32 bits; write for example 14, without quotes',
  ],
  ['iptables: 14', 'c.conf:3: iptables: holds fields; write them below it, for example masqueradeBit'],
  ['conntrack:\n- min: 1', 'c.conf:3: conntrack: holds fields; write them below it, for example maxPerCore'],
];
for (const [body, expected] of WRONG) {
  types(body, () => assert.equal(faults(`${body}\n`), [expected]));
}

types('all of them are told, and what could not be read is known', () => {
  const body = 'mode: 1\niptables:\n  syncPeriod: 5\n  masqueradeBit: x\n';
  assert.is(faults(body).length, 3);
  const { unreadable } = decode(ENVELOPE + body);
  assert.equal([...unreadable], ['mode', 'iptables.syncPeriod', 'iptables.masqueradeBit']);
});

const good = suite('spellings that are read');

good('booleans are also what YAML 1.1, which Kubernetes reads, takes for them', () => {
  for (const [text, expected] of [
    ['yes', true],
    ['On', true],
    ['TRUE', true],
    ['no', false],
    ['off', false],
  ] as const) {
    assert.is(decode(`${ENVELOPE}ipvs: {strictARP: ${text}}\n`).configuration.ipvs.strictARP, expected, text);
  }
  assert.match(faults('ipvs: {strictARP: "yes"}\n')[0]!, /"yes" is not true or false/);
});

good('numbers may be hexadecimal, and whole with a point', () => {
  const { configuration } = decode(`${ENVELOPE}oomScoreAdj: 14.0\niptables: {masqueradeBit: 0x0e}\n`);
  assert.equal([configuration.oomScoreAdj, configuration.iptables.masqueradeBit], [14, 14]);
});

good('a number of logging.flushFrequency is nanoseconds', () => {
  assert.is(decode(`${ENVELOPE}logging: {flushFrequency: 3000000000}\n`).configuration.logging.flushFrequency, 3000);
});

good('a quantity may be a number', () => {
  const { configuration } = decode(`${ENVELOPE}logging: {options: {json: {infoBufferSize: 0}}}\n`);
  assert.is(configuration.logging.options.json.infoBufferSize, '0');
});

envelope.run();
lenient.run();
types.run();
good.run();
