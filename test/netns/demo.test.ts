/**
 * The demo, as a newcomer runs it: it succeeds, as root and as nobody; it can be looked into; it leaves nothing. And
 * it can fail: what it prints is what was seen, and what should not be counts against it.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { observe } from '../../build/demo-observation.ts';
import type { Question } from '../../build/demo-questions.ts';
import { columnWidths, tableRow, WIDTH, wrap } from '../../build/demo-table.ts';
import type { NodeView } from '../../core/backend.ts';
import { skip } from '../skip.ts';
import type { Outcome } from './agent-protocol.ts';
import { isolateTests } from './isolated.ts';

await isolateTests();
const test = suite('demo');

const DEMO = fileURLToPath(new URL('../../build/demo.ts', import.meta.url));
/** As from a terminal of somebody who is in no private namespaces yet. */
const environment: NodeJS.ProcessEnv = { ...process.env };
delete environment.KUBE_PROXY_ISOLATED_FROM;
delete environment.KUBE_PROXY_DEMO_USER_NAMESPACE;

const AGREES = /^All that was seen, \d+ connections and what else is shown, is what the oracle said\.$/;

function checkOutput({ status, stdout, stderr }: { status: number | null; stdout: string; stderr: string }): void {
  assert.is(status, 0, stdout + stderr);
  const lines = stdout.trimEnd().split('\n');
  assert.match(lines.at(-1)!, AGREES);
  for (const line of lines) assert.ok(line.length <= WIDTH, `${line.length} characters: ${line}`);
  assert.not.match(stdout, '\x1b');
  const rows = lines.filter((line) => /^ {4}\S+ +[\da-f.:]+ /.test(line));
  assert.ok(rows.filter((line) => line.endsWith(' ok')).length > 20, 'a row for each question');
  for (const text of ['refused at once', 'no answer (dropped)', 'kept', 'masqueraded', 'fd00:50::100']) {
    assert.ok(
      rows.some((line) => line.includes(text)),
      `some row says ${text}`,
    );
  }
  assert.match(stdout, /First connection to pod-c \d+ ms after the file was written/);
}

for (const backend of ['iptables', 'nftables']) {
  test(`all that the demo of ${backend} shows is what the oracle said`, () => {
    checkOutput(spawnSync(process.execPath, [DEMO, '--backend', backend], { encoding: 'utf8', env: environment }));
  });
}

const nobody = ['--reuid', '65534', '--regid', '65534', '--clear-groups', '--'];
const obstacle = [
  ['this user cannot become another one', 'true'],
  ['another user cannot run this Node or read this checkout', process.execPath, '--check', DEMO],
  ['this host allows no unprivileged user namespaces', 'unshare', '--user', '--map-root-user', '--net', 'true'],
].find(([, ...command]) => spawnSync('setpriv', [...nobody, ...command]).status !== 0)?.[0];

if (obstacle !== undefined) skip('an unprivileged user sees the same', obstacle);
else {
  test('an unprivileged user sees the same', () => {
    const command = [...nobody, process.execPath, DEMO];
    checkOutput(spawnSync('setpriv', command, { encoding: 'utf8', env: environment }));
  });
}

const running = new Set<ChildProcess>();
test.after.each(() => {
  for (const child of running) child.kill('SIGKILL');
});

/** In a process group of its own, as a shell starts a job; ended after a minute, or with its test. */
function started(...args: readonly string[]): { child: ChildProcess; until: (text: string) => Promise<string> } {
  const child = spawn(process.execPath, [DEMO, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: environment,
    detached: true,
  });
  running.add(child);
  const deadline = setTimeout(() => child.kill('SIGKILL'), 60_000);
  child.once('exit', () => {
    clearTimeout(deadline);
    running.delete(child);
  });
  let output = '';
  child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
    output += chunk;
  });
  const until = async (text: string): Promise<string> => {
    for (let attempt = 0; attempt < 600 && !output.includes(text); attempt++) await sleep(50);
    assert.ok(output.includes(text), `the demo did not print "${text}" within 30 s:\n${output}`);
    return output;
  };
  return { child, until };
}

/** What a terminal does: the signal goes to every process of the job. */
function pressControlC({ pid }: ChildProcess): void {
  process.kill(-pid!, 'SIGINT');
}

/** Command lines of the demo's processes, in whatever namespaces below this one. */
function leftOver(): readonly string[] {
  return readdirSync('/proc').flatMap((pid) => {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return words.some((word) => /build\/demo\.ts$|netns\/agent\.ts$|core\/main\.ts$/.test(word))
        ? words.join(' ')
        : [];
    } catch {
      return []; // it ended meanwhile
    }
  });
}

test('Ctrl-C in the middle ends it at once and leaves no process', async () => {
  const { child, until } = started();
  await until('kube-proxy on the node');
  assert.ok(leftOver().length > 3, 'it runs');
  const ended = once(child, 'exit');
  pressControlC(child);
  assert.equal(await ended, [130, null]);
  for (let attempt = 0; attempt < 40 && leftOver().length > 0; attempt++) await sleep(50);
  assert.equal(leftOver(), []);
});

test('with --keep the world stays, can be entered and edited as the hint says, and goes with Ctrl-C', async () => {
  const { child, until } = started('--keep');
  const output = await until('To edit the manifests:\n  cd ');
  const enter = /^ {2}(nsenter .*netns\/node) bash$/m.exec(output)![1]!.split(' ');
  const run = (...command: readonly string[]) =>
    spawnSync(enter[0]!, [...enter.slice(1), ...command], { encoding: 'utf8' });
  assert.match(run('ip', '-brief', 'address').stdout, '192.168.50.10');
  assert.match(run('iptables', '-t', 'nat', '-S', 'KUBE-SERVICES').stdout, 'default/web:http');

  const folder = /^ {2}cd (.*)$/m.exec(await until('/run/manifests'))![1]!;
  const edit = spawnSync('sed', ['-i', 's/10[.]96[.]0[.]40/10.96.0.41/', `${folder}/services.yaml`]);
  assert.is(edit.status, 0);
  await until('sync="partial"');
  assert.match(run('iptables', '-t', 'nat', '-S', 'KUBE-SERVICES').stdout, '10.96.0.41');

  const ended = once(child, 'exit');
  pressControlC(child);
  assert.equal(await ended, [0, null]);
  assert.equal(leftOver(), []);
});

test('a wrong option ends it with status 2 and one line', () => {
  for (const args of [['--backend', 'nonesuch'], ['--kepe'], ['now']]) {
    const { status, stdout, stderr } = spawnSync(process.execPath, [DEMO, ...args], {
      encoding: 'utf8',
      env: environment,
    });
    assert.is(status, 2);
    assert.is(stdout, '');
    assert.match(stderr, /^demo: .*\n$/);
  }
});

const node: NodeView = {
  name: 'node',
  zone: '',
  nodeIPs: ['192.168.50.10'],
  addresses: ['127.0.0.1', '192.168.50.10'],
  nodePortAddresses: { match: 'all', loopback: true },
  localDetector: { kind: 'none' },
  masqueradeAll: false,
  serviceCIDRs: [],
  tcpBeLiberal: false,
};
const endpoint = { port: 8080, isLocal: true, ready: true, nodeName: 'node', zone: '' };
const question: Question = {
  from: 'pod-a 10.244.1.11',
  sticky: false,
  probe: {
    namespace: 'pod-a',
    packet: {
      family: 'IPv4',
      protocol: 'TCP',
      sourceIP: '10.244.1.11',
      origin: 'pod',
      inputInterface: 'vethpod-a',
      destinationIP: '10.96.0.10',
      destinationPort: 80,
    },
    verdict: {
      action: 'endpoints',
      servicePort: 'default/web/TCP',
      destination: 'clusterIP',
      endpoints: [
        { ip: '10.244.1.11', ...endpoint },
        { ip: '10.244.1.12', ...endpoint },
      ],
      masquerade: ({ ip }) => ip === '10.244.1.11',
    },
  },
};
const answer = (pod: 'a' | 'b' | 'c', peer: string): Outcome => {
  const ip = { a: '10.244.1.11', b: '10.244.1.12', c: '10.244.1.13' }[pod];
  return { outcome: 'answered', server: `pod-${pod}`, address: `${ip}:8080`, peer, peerPort: 1, localPort: 2 };
};
const times = (count: number, outcome: Outcome): readonly Outcome[] => Array<Outcome>(count).fill(outcome);
const good = [...times(20, answer('a', '192.168.50.10')), ...times(20, answer('b', '10.244.1.11'))];

test('the cells say what was seen, and there is no fault where it is as told', () => {
  const seen = observe(question, good, node);
  assert.equal(seen, { reached: 'pod-a 20, pod-b 20', source: 'kept 20, masqueraded 20', faults: [] });
});

test('every way of differing from the oracle is a fault', () => {
  const faults = (outcomes: readonly Outcome[], changed: Partial<Question> = {}) =>
    observe({ ...question, ...changed }, outcomes, node).faults;
  assert.match(
    faults([...good, answer('c', '10.244.1.11')])[0]!,
    'expected an answer of 10.244.1.11:8080 or 10.244.1.12',
  );
  assert.match(faults([...good, ...times(3, { outcome: 'timeout' })])[0]!, /^3x .*"timeout"/);
  assert.match(faults([...good, { outcome: 'refused', code: 'ECONNREFUSED' }])[0]!, 'refused');
  assert.match(faults([...good, answer('b', '192.168.50.10')])[0]!, 'the source address kept');
  assert.match(faults(times(40, answer('b', '10.244.1.11')))[0]!, '10.244.1.11:8080 never reached by 40 connections');
  assert.match(faults(good, { sticky: true })[0]!, 'expected one endpoint');
  const pass = { ...question.probe, verdict: { action: 'pass' } } as const;
  assert.match(faults(good, { probe: pass })[0]!, 'expected no answer');
});

test('a row lines up and has no blanks at its end; a long text is broken, and nothing of it lost', () => {
  const rows = [
    ['one', 'two', ''],
    ['three', '', 'x'],
  ];
  const widths = columnWidths(rows);
  const lines = rows.map((row) => tableRow(row, widths, (text) => text));
  assert.equal(lines, ['one    two', 'three       x']);

  const text = `  ${'word '.repeat(30)}${'x'.repeat(250)}`;
  const broken = wrap(text, { indent: 6 });
  assert.ok(broken.every((line) => line.length <= WIDTH));
  assert.is(broken.join('').replaceAll(' ', ''), text.replaceAll(' ', ''));
  assert.ok(broken.slice(1).every((line) => /^ {6}\S/.test(line)));
});

test.run();
