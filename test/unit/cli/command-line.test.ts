import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { nearest, parseCommandLine } from '../../../core/config/command-line.ts';

const parse = (line: string) => parseCommandLine(line === '' ? [] : line.split(' '));
/** The faults as they are printed. */
const faults = (line: string): string[] => parse(line).faults.map(({ where, what }) => `${where}: ${what}`);

const spelling = suite('spelling of flags');

spelling('a value follows "=" or is the next word', () => {
  assert.is(parse('--backend dry-run').values.backend, 'dry-run');
  assert.is(parse('--backend=dry-run').values.backend, 'dry-run');
});

spelling('the verbosity has four spellings', () => {
  for (const line of ['-v 2', '-v2', '-v=2', '--v=2', '--v 2']) assert.is(parse(line).values.v, 2, line);
});

spelling('a boolean stands alone or has its value after "="', () => {
  assert.is(parse('--masquerade-all').values['masquerade-all'], true);
  assert.is(parse('--masquerade-all=true').values['masquerade-all'], true);
  assert.is(parse('--iptables-localhost-nodeports=false').values['iptables-localhost-nodeports'], false);
  assert.is(parse('--iptables-localhost-nodeports=0').values['iptables-localhost-nodeports'], false);
});

spelling('a boolean takes no next word, and the complaint says how it is given', () => {
  const [fault] = faults('--masquerade-all false');
  assert.match(fault!, /unknown command "false".*--flag=false/);
});

spelling('a value may begin with a dash or be empty', () => {
  assert.is(parse('--iptables-min-sync-period -1s').values['iptables-min-sync-period'], -1000);
  assert.is(parse('--hostname-override=').values['hostname-override'], '');
});

spelling('a flag without its value is a fault', () => {
  assert.equal(faults('--cluster-cidr'), ['--cluster-cidr: needs a value: --cluster-cidr=CIDR,…']);
});

spelling('of a flag given twice the last one counts, but lists of node port addresses add up', () => {
  assert.is(parse('--v 1 --v 3').values.v, 3);
  assert.is(parse('--cluster-cidr 10.0.0.0/8 --cluster-cidr 11.0.0.0/8').values['cluster-cidr'], '11.0.0.0/8');
  const { values } = parse('--nodeport-addresses 10.0.0.0/8,11.0.0.0/8 --nodeport-addresses 12.0.0.0/8');
  assert.equal(values['nodeport-addresses'], ['10.0.0.0/8', '11.0.0.0/8', '12.0.0.0/8']);
});

spelling('options of the backend are repeatable and split at the first "="', () => {
  const { values } = parse('--backend-option format=json --backend-option a=b=c');
  assert.equal(values['backend-option'], { format: 'json', a: 'b=c' });
  assert.match(faults('--backend-option format')[0]!, /"format" is not of the form key=value/);
});

spelling('--proxy-mode is --backend', () => {
  assert.is(parse('--proxy-mode dry-run').values.backend, 'dry-run');
  assert.equal(faults('--proxy-mode dry-run --backend dry-run'), []);
  assert.match(faults('--proxy-mode iptables --backend dry-run')[0]!, /contradicts --proxy-mode="iptables"/);
});

spelling('what is not given has its default', () => {
  const { values, given } = parse('');
  assert.is(values.backend, 'iptables');
  assert.is(values['iptables-sync-period'], 30_000);
  assert.is(values['iptables-min-sync-period'], 1000);
  assert.is(values['iptables-masquerade-bit'], 14);
  assert.is(values['iptables-localhost-nodeports'], true);
  assert.is(values['detect-local-mode'], 'ClusterCIDR');
  assert.is(values['bind-address'], '0.0.0.0');
  assert.equal(values['feature-gates'], {});
  assert.is(given.size, 0);
});

spelling('it is told by which of its names a flag was given', () => {
  assert.equal([...parse('--proxy-mode ipvs').spellings], [['backend', new Set(['proxy-mode'])]]);
  const both = parse('--backend ipvs --proxy-mode=ipvs').spellings.get('backend');
  assert.equal(both, new Set(['backend', 'proxy-mode']));
});

spelling('feature gates and patterns of vmodule add up', () => {
  const gates = parse('--feature-gates A=true,B=false --feature-gates B=1').values['feature-gates'];
  assert.equal(gates, { A: true, B: true });
  const { vmodule } = parse('--vmodule proxier=4,ro*=2 --vmodule x=1').values;
  assert.equal(vmodule, [
    { filePattern: 'proxier', verbosity: 4 },
    { filePattern: 'ro*', verbosity: 2 },
    { filePattern: 'x', verbosity: 1 },
  ]);
});

const values = suite('faults of single values');

for (const [line, expected] of [
  ['--iptables-masquerade-bit 1.5', /"1.5" is not a whole number of at most 32 bits/],
  ['--conntrack-min 2147483648', /"2147483648" is not a whole number of at most 32 bits/],
  ['--kube-api-qps fast', /"fast" is not a number; give for example 5 or 0.5/],
  ['--kube-api-qps=', /"" is not a number/],
  ['--feature-gates AllAlpha', /"AllAlpha" is not of the form name=bool; give for example AllAlpha=false/],
  ['--feature-gates AllAlpha=maybe', /"AllAlpha=maybe" is not of the form/],
  ['--vmodule proxier', /"proxier" is not of the form pattern=level/],
  ['--v -1', /"-1" is not a whole number from 0 up/],
  ['--masquerade-all=yes', /"yes" is neither true nor false/],
  ['--iptables-sync-period 30', /"30" is not a duration; give for example 30s/],
  ['--logging-format xml', /"xml" is none of text, json/],
  ['--service-cidr 10.0.0.0', /"10.0.0.0" is not a CIDR/],
] as const) {
  values(`${line} is refused with the reason`, () => {
    const found = faults(line);
    assert.is(found.length, 1, found.join('\n'));
    assert.match(found[0]!, expected);
  });
}

values('addresses and CIDRs become canonical', () => {
  assert.equal(parse('render --node-addresses FD00:0::1').values['node-addresses'], ['fd00::1']);
  assert.equal(parse('--service-cidr 10.96.3.4/12, FD00::5/112'.replace(', ', ',')).values['service-cidr'], [
    '10.96.0.0/12',
    'fd00::/112',
  ]);
});

values('every bad item of a list is named', () => {
  assert.is(faults('--service-cidr a,10.0.0.0/8,b').length, 2);
});

const unknown = suite('unknown words');

unknown('an unknown flag brings the nearest to mind', () => {
  assert.equal(faults('--cluster-cdir=10.0.0.0/8'), ['--cluster-cdir: unknown flag; did you mean --cluster-cidr?']);
  assert.equal(faults('--cluster_cidr=10.0.0.0/8'), ['--cluster_cidr: unknown flag; did you mean --cluster-cidr?']);
  assert.equal(faults('--boot-id-file=x'), ['--boot-id-file: unknown flag; see kube-proxy --help']);
});

unknown('the value of an unknown flag is not complained about again', () => {
  assert.is(faults('--cluster-cdir 10.0.0.0/8').length, 1);
});

unknown('the beginning of a long name is enough to be recognised', () => {
  assert.is(nearest('nodeport', ['nodeport-addresses', 'node-addresses']), 'nodeport-addresses');
  assert.is(nearest('zzz', ['manifests']), undefined);
  assert.is(nearest('ab', ['cd']), undefined, 'two letters that are both wrong');
});

unknown('an unknown short flag is a fault', () => assert.match(faults('-x')[0]!, /-x: unknown flag/));

unknown('an unknown command or another word is a fault', () => {
  assert.match(faults('rendr')[0]!, /unknown command "rendr"; did you mean render\?/);
  assert.match(faults('frobnicate')[0]!, /unknown command "frobnicate"; there are render, cleanup/);
  assert.equal(faults('render web.yaml'), [': unexpected argument "web.yaml"']);
  assert.match(faults('help frobnicate')[0]!, /no help on "frobnicate"/);
});

unknown('all faults come together', () => {
  assert.is(faults('--nope --v x --conntrack-min y stray').length, 4);
});

const commands = suite('commands');

for (const [line, command] of [
  ['', 'run'],
  ['--backend iptables', 'run'],
  ['render', 'render'],
  ['--backend dry-run render', 'render'],
  ['cleanup', 'cleanup'],
  ['--cleanup', 'cleanup'],
  ['--cleanup=false', 'run'],
  ['version', 'version'],
  ['--version', 'version'],
  ['help', 'help'],
  ['-h', 'help'],
  ['render --help', 'help'],
] as const) {
  commands(`"${line}" means ${command}`, () => {
    assert.is(parse(line).command, command);
    assert.equal(faults(line), []);
  });
}

commands('help is about the command that it is asked with', () => {
  assert.is(parse('help render').topic, 'render');
  assert.is(parse('render -h').topic, 'render');
  assert.is(parse('help').topic, 'run');
});

commands('two commands at once contradict', () => {
  assert.match(faults('render --cleanup')[0]!, /--cleanup: cannot be combined with the command render/);
});

commands('what goes instead of running goes with no other command', () => {
  const expected = ': cannot be combined with the command cleanup';
  assert.equal(faults('cleanup --init-only'), [`--init-only${expected}`]);
  assert.equal(faults('--cleanup --write-config-to=x'), [`--write-config-to${expected}`]);
  assert.equal(faults('--write-config-to=x --init-only'), []);
});

commands('a flag of render is refused elsewhere', () => {
  assert.equal(faults('--family IPv4'), ['--family: is for kube-proxy render only']);
  assert.equal(faults('render --family IPv4'), []);
});

spelling.run();
values.run();
unknown.run();
commands.run();
