import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { BUILT_IN, backendNames, CLEANED_IN_ORDER, chooseBackend } from '../../../core/cli/backends.ts';
import { parseCommandLine } from '../../../core/config/command-line.ts';
import { checkSettings, type Settings } from '../../../core/config/settings.ts';
import { differences } from '../../../core/daemon/differences.ts';

const test = suite('built-in backends');

function settings(argv: readonly string[], text = ''): Settings {
  const file = { text, fileName: 'c.conf' };
  const checked = checkSettings(parseCommandLine(argv), backendNames(), text === '' ? undefined : file);
  assert.equal(checked.faults, []);
  return checked.settings;
}

const ENVELOPE = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n';
const STANZA = `ipvs:
  scheduler: mh
  strictARP: true
  excludeCIDRs: [198.51.100.0/24, "fd00:9::/64"]
  tcpTimeout: 15m
  tcpFinTimeout: 1500ms
  udpTimeout: 5m
  syncPeriod: 20s
`;

test('what the stanza of ipvs says are options of the backend, and what it leaves open are none', async () => {
  assert.equal((await chooseBackend(settings(['--proxy-mode=ipvs']))).options, {});
  assert.equal((await chooseBackend(settings(['--config=c.conf'], ENVELOPE + STANZA))).options, {
    scheduler: 'mh',
    strictARP: true,
    excludeCIDRs: ['198.51.100.0/24', 'fd00:9::/64'],
    tcpTimeoutSeconds: 900,
    tcpFinTimeoutSeconds: 2,
    udpTimeoutSeconds: 300,
  });
});

test('an option given by name goes before the stanza', async () => {
  const argv = ['--backend=ipvs', '--ipvs-scheduler=mh', '--ipvs-strict-arp', '--backend-option=scheduler=lc'];
  assert.equal((await chooseBackend(settings(argv))).options, { scheduler: 'lc', strictARP: true });
});

test('who cleans up leaves what the stanza of ipvs excludes, gives nothing else of it, and loads no IPVS', () => {
  const ofIPVS = (of: Settings) => BUILT_IN.find(({ name }) => name === 'ipvs')?.cleanupOptions?.(of);
  const excludeCIDRs = ['198.51.100.0/24', 'fd00:9::/64'];
  assert.equal(ofIPVS(settings(['--config=c.conf'], ENVELOPE + STANZA)), { excludeCIDRs, cleanupOnly: true });
  const other = (ENVELOPE + STANZA).replace('mode: ipvs', 'mode: nftables');
  assert.equal(ofIPVS(settings(['--config=c.conf'], other)), { excludeCIDRs, cleanupOnly: true });
  assert.equal(ofIPVS(settings([])), { cleanupOnly: true });
});

test("ipvs is cleaned up before iptables, which removes the sets by which upstream's servers are known", () => {
  const names = CLEANED_IN_ORDER.map(({ name }) => name);
  assert.ok(names.indexOf('ipvs') < names.indexOf('iptables'));
  assert.equal([...names].sort(), [...backendNames()].sort());
});

test('flags of ipvs are no options of another backend', async () => {
  const argv = ['--backend=nftables', '--ipvs-scheduler=mh', '--ipvs-strict-arp'];
  assert.equal((await chooseBackend(settings(argv))).options, {});
});

test('an edit of the stanza makes the backend anew, one of its periods only changes the pace', () => {
  const before = settings(['--config=c.conf'], ENVELOPE + STANZA);
  const after = (from: string, to: string) => {
    const { backend, pace } = differences(before, settings(['--config=c.conf'], ENVELOPE + STANZA.replace(from, to)));
    return { backend, pace };
  };
  assert.equal(after('', ''), { backend: false, pace: false });
  for (const [from, to] of [
    ['mh', 'sh'],
    ['strictARP: true', 'strictARP: false'],
    ['198.51.100.0/24', '198.51.100.0/25'],
    ['15m', '16m'],
  ] as const) {
    assert.equal(after(from, to), { backend: true, pace: false }, to);
  }
  assert.equal(after('syncPeriod: 20s', 'syncPeriod: 21s'), { backend: false, pace: true });
});

test.run();
