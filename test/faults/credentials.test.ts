/** Tokens, certificates and authorities that expire or are exchanged while the program runs, as they all do. */
import { chmodSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { ApiServer } from '../apiserver/server.ts';
import { mostRequests, RESOURCES } from './bounds.ts';
import { faultSuite } from './fault-suite.ts';
import { running, type Scene, scene, tokenKubeconfig } from './scene.ts';

const test = faultSuite('faults: credentials');
const USER = 'system:kube-proxy';

/** As the kubelet and cert-manager do it: a new file takes the name of the old one. */
function replace(file: string, text: string): void {
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}

const certificate = (server: ApiServer, days?: number) =>
  server.kubeconfigFor(
    { kind: 'certificate', files: true, ...server.clientCertificate(USER, ['system:nodes'], days) },
    'proxy',
  );

/** Every connection and all that is open is lost, so that each resource has to come with its credentials again. */
async function refusedFor(stage: Scene, milliseconds: number): Promise<void> {
  const { server, clock, during, recorder } = stage;
  server.dropConnections('reset');
  const calls = recorder.calls();
  const { requests, asked } = await during(() => clock.sleep(milliseconds));
  assert.is(recorder.calls(), calls, 'the last state stays in force');
  assert.ok(
    requests.every(({ status }) => status === 401 || status === 403),
    'nothing was answered',
  );
  const most = mostRequests(milliseconds) * RESOURCES.length;
  assert.ok(requests.length <= most, `the server saw ${requests.length} requests, at most ${most} are due`);
  assert.ok(asked >= RESOURCES.length && asked <= most, `${asked} requests were tried, at most ${most} are due`);
}

test('a token that expired is replaced by what its file holds by now', () => {
  let token = '';
  return running(
    {
      pace: 400,
      connect(server) {
        const files = tokenKubeconfig(server);
        token = files.tokenFile;
        return { kubeconfig: files.path };
      },
    },
    async (stage) => {
      const { server, settled, requests } = stage;
      server.tokens.expire(readFileSync(token, 'utf8'));
      await refusedFor(stage, 120_000);
      assert.is(requests().at(-1)?.status, 401);
      replace(token, `${server.tokens.issue(USER)}\n`);
      await settled();
      // Renewed in time, nothing is noticed.
      const old = readFileSync(token, 'utf8').trim();
      replace(token, server.tokens.issue(USER));
      server.tokens.expire(old);
      const before = requests().length;
      server.dropConnections('reset');
      await settled(30_000);
      const refused = requests()
        .slice(before)
        .filter(({ status }) => status === 401);
      assert.ok(refused.length <= RESOURCES.length, 'at most once for each resource with the token read before');
    },
  );
});

test("a pod's token is renewed under the same name", () => {
  let folder = '';
  return running(
    {
      pace: 400,
      connect(server) {
        folder = server.serviceAccountFolder(server.tokens.issue('system:serviceaccount:kube-system:kube-proxy'));
        const environment = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(server.port) };
        return { serviceAccountFolder: folder, environment };
      },
    },
    async (stage) => {
      const { server, settled, requests } = stage;
      assert.ok(requests().every(({ user }) => user === 'system:serviceaccount:kube-system:kube-proxy'));
      server.tokens.expire(readFileSync(join(folder, 'token'), 'utf8'));
      await refusedFor(stage, 60_000);
      replace(join(folder, 'token'), server.tokens.issue('system:serviceaccount:kube-system:kube-proxy'));
      await settled();
    },
  );
});

test('a kubeconfig whose token was exchanged is read again', () => {
  let file = '';
  let token = '';
  return running(
    {
      pace: 400,
      connect(server) {
        token = server.tokens.issue(USER);
        file = server.kubeconfigFor({ kind: 'token', token }, 'proxy').path;
        return { kubeconfig: file };
      },
    },
    async (stage) => {
      const { server, settled } = stage;
      server.tokens.expire(token);
      await refusedFor(stage, 60_000);
      const text = readFileSync(file, 'utf8').replace(token, server.tokens.issue(USER));
      // For a moment, only half of it is written.
      replace(file, text.slice(0, 200));
      await refusedFor(stage, 60_000);
      replace(file, text);
      await settled();
    },
  );
});

test('a client certificate that expired is replaced by what its files hold by now', () => {
  let files = { certificateFile: '', keyFile: '' };
  return running(
    {
      pace: 400,
      connect(server) {
        const written = certificate(server);
        files = written;
        return { kubeconfig: written.path };
      },
    },
    async (stage) => {
      const { server, settled, requests } = stage;
      assert.ok(requests().every(({ user }) => user === USER));
      const expired = server.clientCertificate(USER, [], -1);
      replace(files.certificateFile, expired.certificate);
      replace(files.keyFile, expired.key);
      await refusedFor(stage, 120_000);
      assert.is(requests().at(-1)?.status, 401);
      const fresh = server.clientCertificate(USER, []);
      // For a moment, certificate and key do not fit each other.
      replace(files.certificateFile, fresh.certificate);
      await refusedFor(stage, 30_000);
      replace(files.keyFile, fresh.key);
      await settled();
    },
  );
});

test("another certificate of the server's, by the same authority, goes unnoticed", () =>
  running({}, async ({ server, churn, clock, settled, log }) => {
    churn.start(clock, 200);
    for (let round = 0; round < 3; round++) {
      server.rotateCertificate();
      await clock.sleep(5_000);
      server.dropConnections('close');
    }
    churn.stop();
    await settled();
    assert.not.ok(log.lines.some(({ message }) => message.includes('trust')));
  }));

for (const by of ['token', 'certificate'] as const) {
  test(`another authority of the server's is trusted once the kubeconfig has it (${by})`, () => {
    const write = by === 'token' ? tokenKubeconfig : certificate;
    return running({ pace: 400, connect: (server) => ({ kubeconfig: write(server).path }) }, async (stage) => {
      const { server, settled, requests, log, clock } = stage;
      server.rotateCertificate({ newAuthority: true });
      const before = requests().length;
      await clock.sleep(10_000);
      assert.is(requests().length, before, 'connections that are open live on');
      await refusedFor(stage, 120_000);
      assert.is(requests().length, before, 'nothing is said to a stranger');
      assert.ok(log.at('warn').some(({ message }) => message.includes('cannot be trusted')));
      write(server);
      await settled();
    });
  });
}

test('a server with the certificate of another host is told nothing', () =>
  running({ pace: 400 }, async (stage) => {
    const { server, settled, requests } = stage;
    const another = server.clientCertificate('not-a-server');
    server.rotateCertificate({ certificate: another });
    const before = requests().length;
    await refusedFor(stage, 60_000);
    assert.is(requests().length, before);
    server.rotateCertificate();
    await settled();
  }));

/** A credential plugin: what it prints, and how it ends, is in files beside it. */
function plugin(server: ApiServer) {
  const at = (name: string) => join(server.folder, name);
  const say = (token: string, expires?: Date): void => {
    const status = { token, ...(expires ? { expirationTimestamp: expires.toISOString() } : {}) };
    const credential = { apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential', status };
    replace(at('says'), JSON.stringify(credential));
  };
  const calls = () => readFileSync(at('calls'), 'utf8').length;
  const script = ['#!/bin/sh', `printf x >> ${at('calls')}`, `cat ${at('says')}`, `exit $(cat ${at('ends')})`];
  writeFileSync(at('calls'), '');
  replace(at('ends'), '0');
  writeFileSync(at('plugin'), `${script.join('\n')}\n`);
  chmodSync(at('plugin'), 0o755);
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: at('plugin'), interactiveMode: 'Never' };
  return { say, calls, at, kubeconfig: server.kubeconfigFor({ kind: 'raw', user: { exec } }, 'proxy').path };
}

test('a credential plugin is asked again once its credential has expired, and not before', () => {
  let exec: ReturnType<typeof plugin> | undefined;
  let token = '';
  const { now } = Date;
  return running(
    {
      pace: 50,
      connect(server) {
        exec = plugin(server);
        token = server.tokens.issue(USER);
        exec.say(token, new Date(now() + 3_600_000));
        return { kubeconfig: exec.kubeconfig };
      },
    },
    async ({ server, settled, requests }) => {
      const { say, calls } = exec!;
      const before = calls();
      server.dropConnections('reset');
      await settled();
      assert.is(calls(), before, 'it has not expired');
      Date.now = () => now() + 3_600_001;
      server.tokens.expire(token);
      say(server.tokens.issue(USER));
      server.dropConnections('reset');
      await settled();
      assert.is(calls(), before + 1);
      assert.ok(requests().every(({ status }) => status === 200));
    },
  ).finally(() => {
    Date.now = now;
  });
});

test('a credential plugin is asked again when the server refuses what it gave', () => {
  let exec: ReturnType<typeof plugin> | undefined;
  let token = '';
  return running(
    {
      pace: 50,
      connect(server) {
        exec = plugin(server);
        token = server.tokens.issue(USER);
        exec.say(token, new Date(Date.now() + 3_600_000));
        return { kubeconfig: exec.kubeconfig };
      },
    },
    async ({ server, settled, until, requests }) => {
      const { say, calls } = exec!;
      const before = calls();
      server.tokens.expire(token);
      server.dropConnections('reset');
      await until('it was refused', () => requests().at(-1)?.status === 401);
      say(server.tokens.issue(USER));
      await settled();
      assert.ok(calls() > before);
    },
  );
});

for (const [what, spoil, mend] of [
  ['fails', { ends: '1' }, { ends: '0' }],
  ['prints no JSON', { says: 'Please log in at https://login.example' }, {}],
  ['prints a credential without a token', { says: '{"kind":"ExecCredential","status":{}}' }, {}],
  ['prints another object', { says: '{"kind":"ConfigMap"}' }, {}],
  ['is not there', { plugin: undefined }, {}],
] as const) {
  test(`a credential plugin that ${what} for a while is no end and no busy loop`, () => {
    let exec: ReturnType<typeof plugin> | undefined;
    let token = '';
    return running(
      {
        pace: 100,
        connect(server) {
          exec = plugin(server);
          token = server.tokens.issue(USER);
          exec.say(token);
          return { kubeconfig: exec.kubeconfig };
        },
      },
      async (stage) => {
        const { at, say, calls } = exec!;
        stage.server.tokens.expire(token);
        for (const [file, text] of Object.entries(spoil)) {
          if (text === undefined) renameSync(at(file), at(`${file}.away`));
          else replace(at(file), text);
        }
        const before = calls();
        await refusedFor(stage, 30_000);
        const most = mostRequests(30_000) * RESOURCES.length;
        assert.ok(calls() - before <= most, `${calls() - before} calls in half a minute, at most ${most}`);
        for (const [file, text] of Object.entries(mend)) replace(at(file), text);
        if ('plugin' in spoil) renameSync(at('plugin.away'), at('plugin'));
        say(stage.server.tokens.issue(USER));
        await stage.settled();
      },
    );
  });
}

test('a credential plugin that makes no sense at first is asked again', () => {
  let exec: ReturnType<typeof plugin> | undefined;
  return scene(
    {
      pace: 100,
      connect(server) {
        exec = plugin(server);
        replace(exec.at('says'), '{"kind":"ConfigMap"}');
        return { kubeconfig: exec.kubeconfig };
      },
    },
    async ({ server, start, clock, recorder, settled }) => {
      await start();
      await clock.sleep(20_000);
      assert.is(recorder.calls(), 0);
      exec!.say(server.tokens.issue(USER));
      await settled();
    },
  );
});

test('credentials that are refused from the start are waited for', () =>
  scene(
    {
      connect(server) {
        const files = tokenKubeconfig(server);
        server.tokens.expire(readFileSync(files.tokenFile, 'utf8'));
        return { kubeconfig: files.path };
      },
    },
    async ({ server, start, clock, recorder, settled }) => {
      await start();
      await clock.sleep(60_000);
      assert.is(recorder.calls() + recorder.syncs(), 0);
      tokenKubeconfig(server);
      await settled();
    },
  ));

test.run();
