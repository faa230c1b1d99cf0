import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  applyConntrackSettings,
  type ConntrackHost,
  type ConntrackSettings,
  conntrackMaximum,
} from '../../../core/node/conntrack-sysctls.ts';
import { fakeLog } from '../sync/fake-log.ts';

const test = suite('conntrack sysctls');
const HASHSIZE = '/sys/module/nf_conntrack/parameters/hashsize';

const NOTHING: ConntrackSettings = {
  maxPerCore: 0,
  min: 0,
  tcpEstablishedTimeoutSeconds: 0,
  tcpCloseWaitTimeoutSeconds: 0,
  udpTimeoutSeconds: 0,
  udpStreamTimeoutSeconds: 0,
  tcpBeLiberal: false,
};
const DEFAULTS: ConntrackSettings = {
  ...NOTHING,
  maxPerCore: 32_768,
  min: 131_072,
  tcpEstablishedTimeoutSeconds: 86_400,
  tcpCloseWaitTimeoutSeconds: 3600,
};
/** What a kernel has by itself. */
const KERNEL: Readonly<Record<string, string>> = {
  nf_conntrack_max: '65536',
  nf_conntrack_tcp_timeout_established: '432000',
  nf_conntrack_tcp_timeout_close_wait: '60',
  nf_conntrack_udp_timeout: '30',
  nf_conntrack_udp_timeout_stream: '120',
  nf_conntrack_tcp_be_liberal: '0',
  nf_conntrack_buckets: '16384',
};

interface FakeNode {
  readonly host: ConntrackHost;
  readonly log: ReturnType<typeof fakeLog>;
  /** Every write, "name=value". */
  readonly writes: readonly string[];
}

interface Refusals {
  /** Error code of any sysctl's write. */
  readonly sysctl?: string;
  readonly hashsize?: string;
}

/** A node of 8 CPUs; both ways to the hash table lead to the same number. */
function nodeWith(values: Readonly<Record<string, string>> = KERNEL, refusals: Refusals = {}): FakeNode {
  const parameters = new Map(Object.entries(values));
  const writes: string[] = [];
  const log = fakeLog();
  const refuse = (code: string | undefined, what: string) => {
    if (code !== undefined) throw Object.assign(new Error(what), { code });
  };
  const host: ConntrackHost = {
    log,
    cpus: 8,
    sysctl: {
      read: (name) => parameters.get(name.replace('net/netfilter/', '')),
      ensure(name, value) {
        const short = name.replace('net/netfilter/', '');
        const current = parameters.get(short);
        refuse(current === undefined ? 'KP_SYSCTL' : undefined, `sysctl ${name} does not exist`);
        if (current === value) return;
        const what = `sysctl ${name} is "${current}" and cannot be set to "${value}" (${refusals.sysctl}); set it on the host`;
        refuse(refusals.sysctl && 'KP_SYSCTL', what);
        parameters.set(short, value);
        writes.push(`${short}=${value}`);
      },
    },
    readFile: (path) => {
      assert.is(path, HASHSIZE);
      return `${parameters.get('nf_conntrack_buckets')}\n`;
    },
    writeFile(path, text) {
      refuse(refusals.hashsize, `${refusals.hashsize}: ${path}`);
      assert.is(path, HASHSIZE);
      parameters.set('nf_conntrack_buckets', text);
      writes.push(`hashsize=${text}`);
    },
  };
  return { host, log, writes };
}

function refusalOf(settings: ConntrackSettings, host: ConntrackHost): { message: string; code?: string } {
  try {
    applyConntrackSettings(settings, host);
  } catch (error) {
    return error as Error;
  }
  throw new Error('nothing was thrown');
}

test('the maximum grows with the CPUs up to a limit, and is never below the minimum', () => {
  const wanted = (maxPerCore: number, min: number, cpus: number) =>
    conntrackMaximum({ ...NOTHING, maxPerCore, min }, cpus);
  assert.is(wanted(32_768, 131_072, 8), 262_144);
  assert.is(wanted(32_768, 131_072, 2), 131_072);
  assert.is(wanted(32_768, 131_072, 256), 1_048_576);
  assert.is(wanted(32_768, 2_000_000, 256), 2_000_000, 'a minimum above the limit');
  assert.is(wanted(0, 131_072, 8), 0);
});

test('what is too small or different is set, and told in the order in which it was written', () => {
  const { host, writes, log } = nodeWith();
  const outcome = applyConntrackSettings({ ...DEFAULTS, tcpBeLiberal: true, udpTimeoutSeconds: 60 }, host);
  assert.equal(writes, [
    'nf_conntrack_max=262144',
    'nf_conntrack_tcp_timeout_established=86400',
    'nf_conntrack_tcp_timeout_close_wait=3600',
    'nf_conntrack_udp_timeout=60',
    'nf_conntrack_tcp_be_liberal=1',
    'hashsize=65536',
  ]);
  assert.equal(outcome, {
    changes: [
      'nf_conntrack_max 65536 → 262144',
      'nf_conntrack_tcp_timeout_established 432000 → 86400',
      'nf_conntrack_tcp_timeout_close_wait 60 → 3600',
      'nf_conntrack_udp_timeout 30 → 60',
      'nf_conntrack_tcp_be_liberal 0 → 1',
      'hash table 16384 → 65536 buckets',
    ],
    shortfall: '',
  });
  assert.equal(log.lines, []);
});

test('where all values suffice nothing is written, so that a read-only container starts', () => {
  const { host } = nodeWith();
  applyConntrackSettings(DEFAULTS, host);
  const right = { nf_conntrack_max: '262144', nf_conntrack_buckets: '65536' };
  const timeouts = { nf_conntrack_tcp_timeout_established: '86400', nf_conntrack_tcp_timeout_close_wait: '3600' };
  const readOnly = nodeWith({ ...KERNEL, ...right, ...timeouts }, { sysctl: 'EROFS', hashsize: 'EROFS' });
  assert.equal(applyConntrackSettings(DEFAULTS, readOnly.host), { changes: [], shortfall: '' });
  assert.equal(readOnly.log.lines, []);
});

test('a maximum that is higher, or has no limit, is left', () => {
  for (const current of ['1000000', '0']) {
    const { host, writes } = nodeWith({ ...KERNEL, nf_conntrack_max: current, nf_conntrack_buckets: '65536' });
    applyConntrackSettings({ ...NOTHING, maxPerCore: 32_768 }, host);
    assert.equal(writes, [], current);
  }
});

test('nothing wanted means that nothing is read or written, whether conntrack is loaded or not', () => {
  const { host, writes } = nodeWith({});
  assert.equal(applyConntrackSettings({ ...NOTHING, min: 131_072 }, host), { changes: [], shortfall: '' });
  assert.equal(writes, []);
});

test('timeouts are whole seconds, and a fraction of one is not "at once"', () => {
  const { host, writes } = nodeWith();
  applyConntrackSettings({ ...NOTHING, udpTimeoutSeconds: 0.5, udpStreamTimeoutSeconds: 90.9 }, host);
  assert.equal(writes, ['nf_conntrack_udp_timeout=1', 'nf_conntrack_udp_timeout_stream=90']);
});

test('every value that cannot be set is named at once, with what it is, what it should be, and the way out', () => {
  const { host, writes } = nodeWith(KERNEL, { sysctl: 'EACCES' });
  const { message, code } = refusalOf(DEFAULTS, host);
  assert.is(code, 'KP_SYSCTL');
  assert.match(
    message,
    /nf_conntrack_max is "65536" and cannot be set to "262144" \(EACCES\).*conntrack\.maxPerCore: 0/,
  );
  assert.match(message, /nf_conntrack_tcp_timeout_established is "432000".*conntrack\.tcpEstablishedTimeout: 0s/);
  assert.match(message, /nf_conntrack_tcp_timeout_close_wait is "60".*conntrack\.tcpCloseWaitTimeout: 0s/);
  assert.equal(writes, []);
});

test('without conntrack the remedy is to load it, told once and not for each value', () => {
  const { message, code } = refusalOf(DEFAULTS, nodeWith({}).host);
  assert.is(code, 'KP_SYSCTL');
  assert.match(
    message,
    /nf_conntrack_max does not exist: conntrack is not loaded.*modprobe nf_conntrack.*maxPerCore: 0/,
  );
  assert.is(message.split('does not exist').length, 2);
});

test('conntrack is loaded by asking for it where that works', () => {
  const node = nodeWith({});
  const loaded = nodeWith();
  let asked = 0;
  const sysctl = {
    read: (name: string) => (asked > 0 ? loaded : node).host.sysctl.read(name),
    ensure: (name: string, value: string) => (asked > 0 ? loaded : node).host.sysctl.ensure(name, value),
  };
  const settings = { ...NOTHING, udpTimeoutSeconds: 60 };
  applyConntrackSettings(settings, { ...node.host, sysctl, loadConntrack: () => asked++ });
  assert.is(asked, 1);
  assert.equal(loaded.writes, ['nf_conntrack_udp_timeout=60']);
  applyConntrackSettings(settings, { ...node.host, sysctl, loadConntrack: () => asked++ });
  assert.is(asked, 1, 'only if it is missing');
  const refuse = () => {
    throw new Error('EPERM');
  };
  assert.match(refusalOf(settings, { ...node.host, loadConntrack: refuse }).message, /modprobe nf_conntrack/);
});

test('a hash table that cannot be enlarged by /sys is by its sysctl', () => {
  const { host, writes } = nodeWith({ ...KERNEL, nf_conntrack_max: '262144' }, { hashsize: 'EROFS' });
  const outcome = applyConntrackSettings({ ...NOTHING, maxPerCore: 32_768 }, host);
  assert.equal(writes, ['nf_conntrack_buckets=65536']);
  assert.equal(outcome, { changes: ['hash table 16384 → 65536 buckets'], shortfall: '' });
});

test('a hash table that stays small is told with the remedy, and does not keep the node from starting', () => {
  for (const reason of ['EROFS', 'EOPNOTSUPP']) {
    const { host, log } = nodeWith({ ...KERNEL, nf_conntrack_max: '262144' }, { sysctl: 'EACCES', hashsize: reason });
    const { changes, shortfall } = applyConntrackSettings({ ...NOTHING, maxPerCore: 32_768 }, host);
    assert.equal(changes, []);
    assert.match(shortfall, new RegExp(`16384 buckets instead of 65536.*${reason}.*echo 65536 > ${HASHSIZE}`));
    assert.is(log.at('warn').length, 1);
  }
});

test('the size of a hash table that /sys does not show is asked of the sysctl', () => {
  const { host, writes } = nodeWith({ ...KERNEL, nf_conntrack_max: '262144', nf_conntrack_buckets: '65536' });
  const hidden = () => {
    throw Object.assign(new Error('ENOENT'), { code: 'ENOENT' });
  };
  applyConntrackSettings({ ...NOTHING, maxPerCore: 32_768 }, { ...host, readFile: hidden });
  assert.equal(writes, []);
});

test.run();
