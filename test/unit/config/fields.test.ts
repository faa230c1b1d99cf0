/** Every field of the configuration: its default, how it is read, and that it is written as it is read. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeConfiguration } from '../../../core/config/decode.ts';
import { printConfiguration, toExternal } from '../../../core/config/external.ts';
import { FIELD_LIST, valueAt, withValues } from '../../../core/config/fields.ts';
import { ENVELOPE, load } from './files.ts';

interface Sample {
  /** As in a file written by --write-config-to. */
  readonly byDefault: unknown;
  /** As the file has it, on one line. */
  readonly yaml: string;
  readonly value: unknown;
  /** In another spelling when written. */
  readonly external?: unknown;
}

const sample = (byDefault: unknown, yaml: string, value: unknown, external: unknown = value): Sample => {
  return { byDefault, yaml, value, external };
};

/** Defaults are those of the reference, but for `ours` and ipvs.minSyncPeriod, which has one and not two. */
const SAMPLES: Readonly<Record<string, Sample>> = {
  featureGates: sample({}, '{AllAlpha: true, X: false}', { AllAlpha: true, X: false }),
  'clientConnection.kubeconfig': sample('', '/etc/kubeconfig', '/etc/kubeconfig'),
  'clientConnection.acceptContentTypes': sample('', 'text/plain', 'text/plain'),
  'clientConnection.contentType': sample('application/vnd.kubernetes.protobuf', 'application/json', 'application/json'),
  'clientConnection.qps': sample(5, '0.5', 0.5),
  'clientConnection.burst': sample(10, '20', 20),
  'logging.format': sample('text', 'json', 'json'),
  'logging.flushFrequency': sample('5s', '7s', 7000, '7s'),
  'logging.verbosity': sample(0, '4', 4),
  'logging.vmodule': sample([], '[{filePattern: proxier, verbosity: 9}]', [{ filePattern: 'proxier', verbosity: 9 }]),
  'logging.options.text.splitStream': sample(false, 'true', true),
  'logging.options.text.infoBufferSize': sample('0', '16Mi', '16Mi'),
  'logging.options.json.splitStream': sample(false, 'true', true),
  'logging.options.json.infoBufferSize': sample('0', '100', '100'),
  hostnameOverride: sample('', 'node-1', 'node-1'),
  bindAddress: sample('0.0.0.0', '10.0.0.9', '10.0.0.9'),
  healthzBindAddress: sample('0.0.0.0:10256', '10.0.0.9:1', '10.0.0.9:1'),
  metricsBindAddress: sample('127.0.0.1:10249', '"[::]:2"', '[::]:2'),
  bindAddressHardFail: sample(false, 'true', true),
  enableProfiling: sample(false, 'true', true),
  showHiddenMetricsForVersion: sample('', '"1.35"', '1.35'),
  mode: sample('iptables', 'nftables', 'nftables'),
  backend: sample(undefined, 'acme', 'acme'),
  pluginDir: sample(undefined, '/usr/lib/plugins', '/usr/lib/plugins'),
  backendOptions: sample(
    undefined,
    '{format: json, workers: 4, ratio: 0.5, fast: true, word: on, mode: "0o14", none: null, sizes: [1, [2]], to: {a: {b: c}}}',
    {
      format: 'json',
      workers: 4,
      ratio: 0.5,
      fast: true,
      word: 'on',
      mode: '0o14',
      none: null,
      sizes: [1, [2]],
      to: { a: { b: 'c' } },
    },
  ),
  'iptables.masqueradeBit': sample(14, '3', 3),
  'iptables.masqueradeAll': sample(false, 'true', true),
  'iptables.localhostNodePorts': sample(true, 'false', false),
  'iptables.syncPeriod': sample('30s', '1m30s', 90_000, '1m30s'),
  'iptables.minSyncPeriod': sample('1s', '100ms', 100, '100ms'),
  'ipvs.syncPeriod': sample('30s', '1h', 3_600_000, '1h0m0s'),
  'ipvs.minSyncPeriod': sample('0s', '1s', 1000, '1s'),
  'ipvs.scheduler': sample('', 'mh', 'mh'),
  'ipvs.excludeCIDRs': sample([], '[10.0.0.0/8]', ['10.0.0.0/8']),
  'ipvs.strictARP': sample(false, 'true', true),
  'ipvs.tcpTimeout': sample('0s', '15m', 900_000, '15m0s'),
  'ipvs.tcpFinTimeout': sample('0s', '1.5s', 1500, '1.5s'),
  'ipvs.udpTimeout': sample('0s', '300ms', 300, '300ms'),
  'nftables.masqueradeBit': sample(14, '4', 4),
  'nftables.masqueradeAll': sample(false, 'true', true),
  'nftables.syncPeriod': sample('30s', '20s', 20_000, '20s'),
  'nftables.minSyncPeriod': sample('1s', '2s', 2000, '2s'),
  'winkernel.networkName': sample('', 'net', 'net'),
  'winkernel.sourceVip': sample('', '10.0.0.1', '10.0.0.1'),
  'winkernel.enableDSR': sample(false, 'true', true),
  'winkernel.rootHnsEndpointName': sample('', 'cbr0', 'cbr0'),
  'winkernel.forwardHealthCheckVip': sample(false, 'true', true),
  detectLocalMode: sample('ClusterCIDR', 'NodeCIDR', 'NodeCIDR'),
  'detectLocal.bridgeInterface': sample('', 'cni0', 'cni0'),
  'detectLocal.interfaceNamePrefix': sample('', 'veth', 'veth'),
  clusterCIDR: sample('', '10.244.0.0/16,fd00::/48', '10.244.0.0/16,fd00::/48'),
  nodePortAddresses: sample([], '[primary]', ['primary']),
  oomScoreAdj: sample(-999, '-5', -5),
  'conntrack.maxPerCore': sample(32768, '0', 0),
  'conntrack.min': sample(131072, '0', 0),
  'conntrack.tcpEstablishedTimeout': sample('24h0m0s', '0s', 0, '0s'),
  'conntrack.tcpCloseWaitTimeout': sample('1h0m0s', '2h', 7_200_000, '2h0m0s'),
  'conntrack.tcpBeLiberal': sample(false, 'true', true),
  'conntrack.udpTimeout': sample('0s', '10s', 10_000, '10s'),
  'conntrack.udpStreamTimeout': sample('0s', '3m', 180_000, '3m0s'),
  configSyncPeriod: sample('15m0s', '1h', 3_600_000, '1h0m0s'),
  portRange: sample('', '300-400', '300-400'),
  windowsRunAsService: sample(false, 'true', true),
};

/** One field on one line, from line 3 on. */
function flow(path: string, yaml: string): string {
  const names = path.split('.');
  const last = names.pop()!;
  return `${names.map((name, depth) => `${'  '.repeat(depth)}${name}:\n`).join('')}${'  '.repeat(names.length)}${last}: ${yaml}\n`;
}

function inExternal(external: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((value, name) => (value as Record<string, unknown>)[name], external);
}

const test = suite('fields');
const defaults = toExternal(load('').settings!.configuration);

test('the samples below are of every field that there is', () => {
  assert.equal(
    Object.keys(SAMPLES),
    FIELD_LIST.map(([path]) => path),
  );
});

for (const [path, field] of FIELD_LIST) {
  const { byDefault, yaml, value, external } = SAMPLES[path] ?? sample(undefined, '', undefined);

  test(`${path} has its default`, () => assert.equal(inExternal(defaults, path), byDefault));

  test(`${path} is read, and known to be on its line`, () => {
    const body = flow(path, yaml);
    const { configuration, lines, faults, warnings } = decodeConfiguration(ENVELOPE + body, 'c.conf');
    assert.equal([faults, warnings], [[], []]);
    assert.equal(valueAt(configuration, path), value);
    assert.equal([...lines], [[path, 2 + body.trimEnd().split('\n').length]]);
  });

  test(`${path} is written as it is read`, () => {
    const { configuration } = decodeConfiguration(ENVELOPE + flow(path, yaml), 'c.conf');
    assert.equal(inExternal(toExternal(configuration), path), external);
    const again = decodeConfiguration(printConfiguration(configuration), 'c.conf');
    assert.equal([again.faults, again.warnings], [[], []]);
    assert.equal(valueAt(again.configuration, path), value);
  });

  test(`${path} written as null has its default`, () => {
    const { settings } = load(flow(path, 'null'));
    assert.equal(inExternal(toExternal(settings!.configuration), path), byDefault);
  });

  test(`${path} has a type, and says so`, () => {
    const wrong = typeof value === 'object' ? 'scalar' : '[{}]';
    const { faults } = decodeConfiguration(ENVELOPE + flow(path, wrong), 'c.conf');
    assert.is(faults.length, 1);
    assert.match(faults[0]!.where, new RegExp(`^c\\.conf:\\d+: ${path}$`));
    assert.match(faults[0]!.what, /is not .*; write .+/);
  });

  if (field.zeroIsDefault) {
    test(`${path}: the zero that kubeadm writes is the default`, () => {
      const zero = typeof external === 'number' ? '0' : typeof value === 'number' ? '0s' : '""';
      const { settings } = load(flow(path, zero));
      assert.equal(inExternal(toExternal(settings!.configuration), path), byDefault);
    });
  }
}

test('all samples together survive being written and read', () => {
  const entries = FIELD_LIST.map(([path]) => [path, SAMPLES[path]!.value] as const);
  const configuration = withValues(load('').settings!.configuration, new Map(entries));
  const again = decodeConfiguration(printConfiguration(configuration), 'c.conf');
  assert.equal([again.faults, again.warnings], [[], []]);
  assert.equal(again.configuration, configuration);
});

test('values set in one configuration leave the other as it was', () => {
  const before = JSON.stringify(load('').settings!.configuration);
  const { configuration } = load('').settings!;
  withValues(configuration, new Map([['logging.options.text.splitStream', true]]));
  assert.is(JSON.stringify(configuration), before);
});

test.run();
