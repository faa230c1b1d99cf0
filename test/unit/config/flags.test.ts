/** The table of flags against the configuration: a flag must not promise a default that the configuration has not. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseCommandLine } from '../../../core/config/command-line.ts';
import { complete } from '../../../core/config/complete.ts';
import { DEFAULTS } from '../../../core/config/configuration.ts';
import { FIELD_LIST, valueAt } from '../../../core/config/fields.ts';
import { FLAG_GROUPS } from '../../../core/config/flag.ts';
import { FLAG_LIST } from '../../../core/config/flags.ts';
import { checkSettings } from '../../../core/config/settings.ts';

/** Flags of the reference's 1.36 that are worth a name here; two that it inherits by accident are not. */
const OF_THE_REFERENCE: Readonly<Record<string, string>> = {
  config: '',
  'write-config-to': '',
  cleanup: 'false',
  'init-only': 'false',
  'feature-gates': '',
  kubeconfig: '',
  master: '',
  'kube-api-content-type': 'application/vnd.kubernetes.protobuf',
  'kube-api-qps': '5',
  'kube-api-burst': '10',
  'hostname-override': '',
  'bind-address': '0.0.0.0',
  'healthz-bind-address': '0.0.0.0:10256',
  'metrics-bind-address': '127.0.0.1:10249',
  'healthz-port': '10256',
  'metrics-port': '10249',
  'bind-address-hard-fail': 'false',
  profiling: 'false',
  'show-hidden-metrics-for-version': '',
  'iptables-masquerade-bit': '14',
  'masquerade-all': 'false',
  'iptables-localhost-nodeports': 'true',
  'iptables-sync-period': '30s',
  'iptables-min-sync-period': '1s',
  'ipvs-sync-period': '30s',
  'ipvs-scheduler': '',
  'ipvs-exclude-cidrs': '',
  'ipvs-strict-arp': 'false',
  'ipvs-tcp-timeout': '0s',
  'ipvs-tcpfin-timeout': '0s',
  'ipvs-udp-timeout': '0s',
  'pod-bridge-interface': '',
  'pod-interface-name-prefix': '',
  'cluster-cidr': '',
  'nodeport-addresses': '',
  'oom-score-adj': '-999',
  'conntrack-max-per-core': '32768',
  'conntrack-min': '131072',
  'conntrack-tcp-timeout-established': '24h',
  'conntrack-tcp-timeout-close-wait': '1h',
  'conntrack-tcp-be-liberal': 'false',
  'conntrack-udp-timeout': '0s',
  'conntrack-udp-timeout-stream': '0s',
  'config-sync-period': '15m',
  v: '0',
  vmodule: '',
  'logging-format': 'text',
  'log-flush-frequency': '5s',
  'log-text-split-stream': 'false',
  'log-text-info-buffer-size': '0',
  'log-json-split-stream': 'false',
  'log-json-info-buffer-size': '0',
  version: 'false',
  help: 'false',
};

const test = suite('table of flags');
const table = new Map(FLAG_LIST);

test('it has the flags of the reference, with its defaults', () => {
  for (const [name, byDefault] of Object.entries(OF_THE_REFERENCE)) {
    const found = FLAG_LIST.find(([each]) => each === name)?.[1];
    assert.is(found?.default, byDefault, name);
  }
  assert.is(table.get('backend')?.alias, 'proxy-mode');
});

test('a flag given with its default changes nothing', () => {
  const expected = checkSettings(parseCommandLine([]), ['iptables']).settings.configuration;
  for (const [name, flag] of FLAG_LIST) {
    if (
      (flag.only !== undefined && flag.only !== 'run') ||
      flag.group === 'command' ||
      flag.kind.parse(flag.default).faults.length > 0
    )
      continue;
    const { settings, faults } = checkSettings(parseCommandLine([`--${name}=${flag.default}`]), ['iptables']);
    assert.equal([name, faults], [name, []]);
    assert.equal(settings.configuration, expected, name);
  }
});

test('fields that flags stand for exist, and their defaults are the completed ones', () => {
  const paths = FIELD_LIST.map(([path]) => path);
  const defaults = complete(DEFAULTS);
  let checked = 0;
  for (const [name, flag] of FLAG_LIST) {
    for (const path of flag.fields ?? []) {
      assert.ok(paths.includes(path), `${name}: ${path}`);
      if (flag.deprecated) continue;
      assert.equal(flag.kind.parse(flag.default).value, valueAt(defaults, path), name);
      checked++;
    }
  }
  assert.ok(checked > 40, `${checked}`);
});

test('every group has a flag, and every flag a group', () => {
  const used = new Set(FLAG_LIST.map(([, { group }]) => group));
  assert.equal([...used].toSorted(), Object.keys(FLAG_GROUPS).toSorted());
});

test.run();
