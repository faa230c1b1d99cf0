/** Requests to a real HTTPS server of the test's own: who we are, whom we trust, and every way not to get an answer. */
import { getEventListeners } from 'node:events';
import { chmodSync, readFileSync, unlinkSync } from 'node:fs';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { stringify } from 'yaml';
import type { ApiConnection, RequestInfo } from '../../../core/source/api/api-connection.ts';
import { type ConnectionOptions, openConnection } from '../../../core/source/api/connection.ts';
import { createAuthority, opensslProblem } from '../../apiserver/certificates.ts';
import { skip } from '../../skip.ts';
import { fakeClock, settle } from '../sync/fake-clock.ts';
import { fakeLog } from '../sync/fake-log.ts';
import { type TlsServer, tlsServer } from './tls-server.ts';

const suiteOf = suite('connection');
const problem = opensslProblem();
const opened: ApiConnection[] = [];
let server: TlsServer;

/** Each test has a server of its own. */
function test(title: string, body: (there: TlsServer) => Promise<void>, names?: readonly string[]): void {
  if (problem !== undefined) {
    skip(title, problem);
    return;
  }
  suiteOf(title, async () => {
    server = await tlsServer(names);
    try {
      await body(server);
    } finally {
      for (const connection of opened.splice(0)) connection.close();
      await server.stop();
    }
  });
}

async function open(given: Partial<ConnectionOptions> = {}) {
  const clock = fakeClock();
  const log = fakeLog();
  const connection = await openConnection({
    kubeconfig: '',
    master: '',
    qps: -1,
    burst: 0,
    userAgent: 'kube-proxy/test',
    clock,
    log,
    environment: {},
    serviceAccountFolder: '/nonexistent',
    ...given,
  });
  opened.push(connection);
  return { connection, clock, log };
}

/** A kubeconfig of one context. Relative paths are those of the server's folder. */
function kubeconfig(
  user: Readonly<Record<string, unknown>> = {},
  cluster: Readonly<Record<string, unknown>> = { 'certificate-authority': 'ca.crt' },
): string {
  server.write('ca.crt', server.authority.certificate);
  const config = {
    clusters: [{ name: 'c', cluster: { server: server.url, ...cluster } }],
    users: [{ name: 'u', user }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  };
  return server.write('kubeconfig', stringify(config));
}

async function get(connection: ApiConnection, path = '/api', signal = new AbortController().signal): Promise<string> {
  const response = await connection.request({ path, signal });
  return `${response.status} ${await response.text()}`;
}

async function faultOf(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  try {
    await promise;
  } catch (error) {
    return error as Error & { code?: string };
  }
  return assert.unreachable('it did not fail') as never;
}

/** Wait for real I/O, at most some seconds. */
async function until(condition: () => boolean): Promise<void> {
  for (let round = 0; round < 500; round++) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.unreachable(`it never came to that: ${condition}`);
}

const tokens = (): (string | undefined)[] => server.requests.map(({ authorization }) => authorization);

// Who we are.

test('a pod talks to its cluster with its service account, and reads a renewed token after a refusal', async (there) => {
  there.write('token', 'first\n');
  there.write('ca.crt', there.authority.certificate);
  const environment = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(there.port) };
  const { connection } = await open({ environment, serviceAccountFolder: there.folder });
  assert.is(await get(connection), '200 {}');
  there.write('token', 'second');
  await connection.reloadCredentials('Unauthorized');
  await get(connection);
  assert.equal(tokens(), ['Bearer first', 'Bearer second']);
  assert.is(connection.server, there.url);
});

test('outside of a cluster, without a kubeconfig, the error says what to give', async () => {
  const error = await faultOf(open());
  assert.is(error.code, 'KP_API_CONFIG');
  assert.match(error.message, /--kubeconfig.*--manifests/);
});

test('a pod without a token says which file is missing', async (there) => {
  const environment = { KUBERNETES_SERVICE_HOST: '::1', KUBERNETES_SERVICE_PORT: '443' };
  const error = await faultOf(open({ environment, serviceAccountFolder: there.folder }));
  assert.is(error.code, 'KP_API_CONFIG');
  assert.match(error.message, `${there.folder}/token: cannot be read (ENOENT)`);
});

test("a kubeconfig's tokenFile counts, relative to it and before its token", async (there) => {
  there.write('token', 'from-file');
  const { connection } = await open({ kubeconfig: kubeconfig({ token: 'inline', tokenFile: 'token' }) });
  await get(connection);
  there.write('token', 'renewed');
  await connection.reloadCredentials('Unauthorized');
  await get(connection);
  assert.equal(tokens(), ['Bearer from-file', 'Bearer renewed']);
});

test('a token file that is gone for a moment leaves the last token in use', async (there) => {
  const file = there.write('token', 'first');
  const { connection, log } = await open({ kubeconfig: kubeconfig({ tokenFile: 'token' }) });
  await get(connection);
  unlinkSync(file);
  await connection.reloadCredentials('Unauthorized');
  await get(connection);
  await get(connection);
  assert.equal(tokens(), ['Bearer first', 'Bearer first', 'Bearer first']);
  assert.is(log.at('warn').length, 1);
  there.write('token', 'second');
  await get(connection);
  assert.is(tokens().at(-1), 'Bearer second');
});

test('a kubeconfig that is rewritten is in force with the next request; one that is broken is not', async (there) => {
  const file = kubeconfig({ token: 'first' });
  const { connection, log } = await open({ kubeconfig: file });
  await get(connection);
  there.write('kubeconfig', '{ broken');
  await get(connection);
  assert.match(String(log.at('warn')[0]?.values.problem), `kubeconfig ${file}: is not YAML or JSON`);
  kubeconfig({ token: 'second-one' });
  await get(connection);
  assert.equal(tokens(), ['Bearer first', 'Bearer first', 'Bearer second-one']);
});

test('a user name and a password are sent as such, impersonation too', async (there) => {
  const impersonated: unknown[] = [];
  there.handle = (request, response) => {
    impersonated.push(request.headers['impersonate-user']);
    response.end('{}');
  };
  const { connection } = await open({ kubeconfig: kubeconfig({ username: 'jane', password: 'x:y', as: 'proxy' }) });
  await get(connection);
  assert.equal(tokens(), [`Basic ${Buffer.from('jane:x:y').toString('base64')}`]);
  assert.equal(impersonated, ['proxy']);
});

test('a client certificate is presented, and a renewed one is taken for new connections', async (there) => {
  const write = (user: string): void => {
    const { certificate, key } = there.authority.issueClient(user);
    there.write('client.crt', certificate);
    there.write('client.key', key);
  };
  write('node-1');
  const user = { 'client-certificate': 'client.crt', 'client-key': 'client.key' };
  const { connection, log } = await open({ kubeconfig: kubeconfig(user) });
  await get(connection);
  await get(connection);
  assert.is(there.connections(), 1);
  write('node-1-renewed');
  await get(connection);
  assert.equal(
    there.requests.map(({ client }) => client),
    ['node-1', 'node-1', 'node-1-renewed'],
  );
  assert.is(log.at('info').length, 1);
});

test('a certificate that does not fit its key, as in the middle of a renewal, leaves the last pair in use', async (there) => {
  const first = there.authority.issueClient('node-1');
  const second = there.authority.issueClient('node-2');
  there.write('client.crt', first.certificate);
  there.write('client.key', first.key);
  const user = { 'client-certificate': 'client.crt', 'client-key': 'client.key' };
  const { connection, log } = await open({ kubeconfig: kubeconfig(user) });
  await get(connection);
  there.write('client.crt', second.certificate);
  await get(connection);
  assert.is(log.at('warn').length, 1);
  there.write('client.key', second.key);
  await get(connection);
  assert.equal(
    there.requests.map(({ client }) => client),
    ['node-1', 'node-1', 'node-2'],
  );
});

test('a credential plugin is asked once, told what for, and asked again after a refusal', async (there) => {
  const script = `#!/bin/sh
echo run >> "$(dirname "$0")/runs"
printf '{"kind":"ExecCredential","status":{"token":"t-%s-%s"}}' "$1" "$(echo "$KUBERNETES_EXEC_INFO" | grep -c ExecCredential)"
`;
  chmodSync(there.write('plugin.sh', script), 0o755);
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: './plugin.sh', args: ['arg'] };
  const { connection } = await open({ kubeconfig: kubeconfig({ exec }) });
  await get(connection);
  await get(connection);
  await connection.reloadCredentials('Unauthorized');
  await get(connection);
  assert.equal(tokens(), Array(3).fill('Bearer t-arg-1'));
  assert.is(readFileSync(`${there.folder}/runs`, 'utf8'), 'run\nrun\n');
});

test('a credential plugin that fails or is missing is named in the error of the request', async (there) => {
  chmodSync(there.write('plugin.sh', '#!/bin/sh\necho "no session" >&2\nexit 3\n'), 0o755);
  const failing = await open({ kubeconfig: kubeconfig({ exec: { command: './plugin.sh' } }) });
  assert.match((await faultOf(get(failing.connection))).message, /credential plugin .*plugin\.sh: no session/);
  const missing = await open({ kubeconfig: kubeconfig({ exec: { command: './none.sh' } }) });
  assert.match((await faultOf(get(missing.connection))).message, /credential plugin .*none\.sh: .*ENOENT/);
});

// Whom we trust.

test("a server of another authority is refused, and trusted once the kubeconfig's authority is renewed", async (there) => {
  const other = createAuthority(there.folder, 'other-ca');
  there.present(other, ['IP:127.0.0.1']);
  const { connection } = await open({ kubeconfig: kubeconfig({ token: 't' }) });
  const error = await faultOf(get(connection));
  assert.is(error.code, 'KP_API_TLS');
  assert.match(error.message, /certificate is not accepted .*certificate-authority/);
  there.write('ca.crt', other.certificate);
  assert.is(await get(connection), '200 {}');
});

test('the server is expected under tls-server-name if there is one, else under its own', async () => {
  const authority = { 'certificate-authority': 'ca.crt' };
  const plain = await open({ kubeconfig: kubeconfig({}, authority) });
  const error = await faultOf(get(plain.connection));
  assert.is(error.code, 'KP_API_TLS');
  const named = await open({ kubeconfig: kubeconfig({}, { ...authority, 'tls-server-name': 'api.test' }) });
  assert.is(await get(named.connection), '200 {}');
}, ['DNS:api.test']);

test('insecure-skip-tls-verify trusts anybody', async () => {
  const { connection } = await open({ kubeconfig: kubeconfig({}, { 'insecure-skip-tls-verify': true }) });
  assert.is(await get(connection), '200 {}');
});

test('a context without a user keeps its certificate authority', async (there) => {
  there.write('ca.crt', there.authority.certificate);
  const config = {
    clusters: [{ name: 'c', cluster: { server: there.url, 'certificate-authority': 'ca.crt' } }],
    contexts: [{ name: 'x', context: { cluster: 'c' } }],
    'current-context': 'x',
  };
  const { connection } = await open({ kubeconfig: there.write('kubeconfig', JSON.stringify(config)) });
  assert.is(await get(connection), '200 {}');
});

test('what is wrong with a kubeconfig is said with its path and what to do', async (there) => {
  const good = { clusters: [{ name: 'c', cluster: { server: there.url } }], users: [{ name: 'u', user: {} }] };
  const contexts = [{ name: 'x', context: { cluster: 'c', user: 'u' } }];
  for (const [content, message] of [
    ['', 'is not a kubeconfig'],
    ['[', 'is not YAML or JSON'],
    [{ ...good, contexts }, 'current-context: is not set'],
    [{ ...good, contexts, 'current-context': 'y' }, 'current-context: "y" is not in contexts'],
    [{ users: good.users, contexts, 'current-context': 'x' }, 'its cluster "c" is not in clusters'],
    [{ clusters: good.clusters, contexts, 'current-context': 'x' }, 'its user "u" is not in users'],
    [
      { ...good, clusters: [{ name: 'c', cluster: {} }], contexts, 'current-context': 'x' },
      'server: nothing is not a URL',
    ],
    [
      { ...good, users: [{ name: 'u', user: { tokenFile: 'none' } }], contexts, 'current-context': 'x' },
      'tokenFile /.*/none: cannot be read \\(ENOENT\\)',
    ],
    [
      {
        ...good,
        users: [{ name: 'u', user: { 'client-certificate-data': 'eHh4', 'client-key-data': 'eHh4' } }],
        contexts,
        'current-context': 'x',
      },
      'its certificates cannot be used',
    ],
    [
      { ...good, users: [{ name: 'u', user: { as: 'a', 'as-groups': ['g'] } }], contexts, 'current-context': 'x' },
      'as-groups is not supported',
    ],
  ] as const) {
    const file = there.write('kubeconfig', typeof content === 'string' ? content : stringify(content));
    const error = await faultOf(open({ kubeconfig: file }));
    assert.is(error.code, 'KP_API_CONFIG', message);
    assert.match(error.message, new RegExp(`${file}: .*${message}`));
  }
  const missing = await faultOf(open({ kubeconfig: '/nonexistent/kubeconfig' }));
  assert.match(missing.message, '/nonexistent/kubeconfig: cannot be read (ENOENT)');
});

test('--master replaces the server of a kubeconfig, and stands alone without one', async (there) => {
  const file = kubeconfig({ token: 't' }, { server: 'https://192.0.2.1:1', 'certificate-authority': 'ca.crt' });
  const { connection } = await open({ kubeconfig: file, master: there.url });
  assert.is(await get(connection), '200 {}');

  const plain = http.createServer((request, response) => response.end(request.url));
  await new Promise<void>((resolve) => plain.listen(0, '127.0.0.1', resolve));
  const { port } = plain.address() as AddressInfo;
  const alone = await open({ master: `127.0.0.1:${port}` });
  assert.is(await get(alone.connection, '/api/v1/services?limit=1'), '200 /api/v1/services?limit=1');
  const behindGateway = await open({ master: `http://127.0.0.1:${port}/k8s/clusters/c-1/` });
  assert.is(await get(behindGateway.connection), '200 /k8s/clusters/c-1/api');
  const error = await faultOf(open({ master: 'ftp://x' }));
  assert.is(error.code, 'KP_API_CONFIG');
  plain.closeAllConnections();
  await new Promise((resolve) => plain.close(resolve));
});

test("a kubeconfig's proxy is asked to connect to the server", async (there) => {
  const asked: string[] = [];
  const proxy = http.createServer();
  proxy.on('connect', (request, socket) => {
    asked.push(request.url ?? '');
    const target = net.connect(there.port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      target.pipe(socket).pipe(target);
    });
    for (const end of [socket, target]) end.on('error', () => {});
    target.on('close', () => socket.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  const cluster = { 'certificate-authority': 'ca.crt', 'proxy-url': url };
  const { connection } = await open({ kubeconfig: kubeconfig({ token: 't' }, cluster) });
  assert.is(await get(connection), '200 {}');
  assert.equal(asked, [`127.0.0.1:${there.port}`]);
  connection.close();
  proxy.closeAllConnections();
  await new Promise((resolve) => proxy.close(resolve));
});

// Answers, and none.

test('whatever its status, an answer is an answer, and each is told to the observer', async (there) => {
  const infos: RequestInfo[] = [];
  there.handle = (_request, response) => response.writeHead(429, { 'Retry-After': '7' }).end('slow down');
  const { connection } = await open({
    kubeconfig: kubeconfig(),
    observer: { onRequest: (info) => infos.push(info) },
  });
  const { signal } = new AbortController();
  const response = await connection.request({ path: '/apis', method: 'POST', body: '{"ä":1}', signal });
  assert.equal([response.status, response.headers['retry-after'], await response.text()], [429, '7', 'slow down']);
  const [info] = infos;
  assert.equal([info?.verb, info?.code, info?.host, info?.requestBytes], ['POST', '429', `127.0.0.1:${there.port}`, 8]);
});

test('a body is sent with its type and length, and we say who we are', async (there) => {
  const got: unknown[] = [];
  there.handle = (request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      const { 'content-type': type, 'content-length': length, 'user-agent': agent, accept } = request.headers;
      got.push(request.method, type, length, agent, accept, body);
      response.end('{}');
    });
  };
  const { connection } = await open({ kubeconfig: kubeconfig() });
  const { signal } = new AbortController();
  const contentType = 'application/merge-patch+json';
  await (await connection.request({ path: '/x', method: 'PATCH', body: '{}', contentType, signal })).text();
  assert.equal(got, ['PATCH', contentType, '2', 'kube-proxy/test', 'application/json', '{}']);
});

test('a compressed answer is asked for only if wanted, and comes out plain', async (there) => {
  const wanted: unknown[] = [];
  const text = JSON.stringify({ items: Array(5_000).fill({ name: 'x' }) });
  there.handle = (request, response) => {
    wanted.push(request.headers['accept-encoding']);
    if (request.headers['accept-encoding'] !== 'gzip') response.end(text);
    else response.writeHead(200, { 'Content-Encoding': 'gzip' }).end(gzipSync(text));
  };
  const { connection } = await open({ kubeconfig: kubeconfig() });
  const { signal } = new AbortController();
  for (const compressed of [true, false]) {
    const response = await connection.request({ path: '/', compressed, signal });
    assert.is(await response.text(1e6), text);
  }
  assert.equal(wanted, ['gzip', undefined]);
  assert.is(there.connections(), 1);
});

test('an answer that breaks off throws while it is read, compressed or not', async (there) => {
  const zipped = gzipSync(Buffer.from(Array.from({ length: 100_000 }, (_, i) => i * 7919)));
  for (const compressed of [true, false]) {
    there.handle = (_request, response) => {
      if (compressed) response.setHeader('Content-Encoding', 'gzip');
      response.setHeader('Content-Length', zipped.length);
      response.write(zipped.subarray(0, zipped.length / 2), () => response.destroy());
    };
    const { connection } = await open({ kubeconfig: kubeconfig() });
    const response = await connection.request({ path: '/', signal: new AbortController().signal });
    assert.is(response.status, 200);
    assert.ok(await faultOf(response.text(1e6)));
  }
});

test('a compressed answer that ends properly, but too early, throws, too', async (there) => {
  const zipped = gzipSync('x'.repeat(1000));
  there.handle = (_request, response) => {
    response.writeHead(200, { 'Content-Encoding': 'gzip' }).end(zipped.subarray(0, -10));
  };
  const { connection } = await open({ kubeconfig: kubeconfig() });
  const response = await connection.request({ path: '/', signal: new AbortController().signal });
  assert.ok(await faultOf(response.text()));
});

test('a text is cut at its limit and the rest is not waited for', async (there) => {
  there.handle = (_request, response) => {
    response.write('0123456789'.repeat(100));
  };
  const { connection } = await open({ kubeconfig: kubeconfig() });
  const response = await connection.request({ path: '/', signal: new AbortController().signal });
  assert.is(await response.text(15), '012345678901234');
});

test('leaving the loop over a body closes its connection', async (there) => {
  let closed = false;
  there.handle = (_request, response) => {
    response.on('close', () => {
      closed = true;
    });
    response.write('one');
  };
  const { connection } = await open({ kubeconfig: kubeconfig() });
  const response = await connection.request({ path: '/', signal: new AbortController().signal });
  for await (const chunk of response.body) {
    assert.is(Buffer.from(chunk).toString(), 'one');
    break;
  }
  await until(() => closed);
});

test('headers that never come end the request after its time', async (there) => {
  let asked = false;
  there.handle = () => {
    asked = true;
  };
  const { connection, clock } = await open({ kubeconfig: kubeconfig() });
  const fault = faultOf(connection.request({ path: '/', timeoutMs: 5_000, signal: new AbortController().signal }));
  await until(() => asked);
  await clock.advance(5_000);
  const error = await fault;
  assert.is(error.code, 'KP_API_TIMEOUT');
  assert.match(error.message, 'no answer came within 5 s');
  assert.is(clock.pending(), 0);
});

test('a server that takes the connection and says nothing, not even in TLS, is given up after ten seconds', async () => {
  const sockets: net.Socket[] = [];
  const mute = net.createServer((socket) => {
    sockets.push(socket.on('error', () => {}));
  });
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
  const url = `https://127.0.0.1:${(mute.address() as AddressInfo).port}`;
  const { connection, clock } = await open({ kubeconfig: kubeconfig(), master: url });
  const fault = faultOf(connection.request({ path: '/', signal: new AbortController().signal }));
  await until(() => sockets.length > 0);
  await clock.advance(9_999);
  await clock.advance(1);
  assert.match((await fault).message, 'no connection came about within 10 s');
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => mute.close(resolve));
});

test('a body may be silent for as long as it likes', async (there) => {
  there.handle = (_request, response) => {
    response.write('begun');
    setTimeout(() => response.end(' ended'), 50);
  };
  const { connection, clock } = await open({ kubeconfig: kubeconfig() });
  const response = await connection.request({ path: '/', signal: new AbortController().signal });
  await clock.advance(10 * 60_000);
  assert.is(await response.text(), 'begun ended');
});

test('nobody there is an error that names the server', async () => {
  const { connection } = await open({ kubeconfig: kubeconfig(), master: 'https://127.0.0.1:1' });
  const error = await faultOf(get(connection));
  assert.is(error.code, 'KP_API_UNREACHABLE');
  assert.match(error.message, /^https:\/\/127\.0\.0\.1:1: .*ECONNREFUSED/);
});

test('a signal ends a request before its answer, and the reading of an answer', async (there) => {
  there.handle = (request, response) => {
    if (request.url === '/body') response.write('begun');
  };
  const { connection } = await open({ kubeconfig: kubeconfig() });
  const before = new AbortController();
  const unanswered = faultOf(connection.request({ path: '/none', signal: before.signal }));
  await until(() => there.requests.length === 1);
  before.abort(new Error('enough'));
  assert.is((await unanswered).message, 'enough');

  const during = new AbortController();
  const response = await connection.request({ path: '/body', signal: during.signal });
  const reading = faultOf(response.text());
  await settle();
  during.abort();
  assert.ok(await reading);

  const already = await faultOf(connection.request({ path: '/x', signal: AbortSignal.abort(new Error('too late')) }));
  assert.is(already.message, 'too late');
});

test('closing ends what is under way, and nothing is sent after it', async (there) => {
  there.handle = (request, response) => {
    if (request.url === '/body') response.write('begun');
  };
  const { connection } = await open({ kubeconfig: kubeconfig() });
  const { signal } = new AbortController();
  const response = await connection.request({ path: '/body', signal });
  const reading = faultOf(response.text());
  const unanswered = faultOf(connection.request({ path: '/none', signal }));
  await until(() => there.requests.length === 2);
  connection.close();
  assert.ok(await reading);
  assert.ok(await unanswered);
  assert.is((await faultOf(get(connection))).code, 'KP_API_UNREACHABLE');
  assert.is(there.requests.length, 2);
});

test('closing ends those, too, that go on with certificates of before', async (there) => {
  there.handle = (request, response) => {
    if (request.url === '/body') response.write('begun');
    else response.end('{}');
  };
  const { connection } = await open({ kubeconfig: kubeconfig() });
  const response = await connection.request({ path: '/body', signal: new AbortController().signal });
  const reading = faultOf(response.text());
  there.write('ca.crt', there.authority.certificate + createAuthority(there.folder, 'second').certificate);
  await get(connection);
  assert.is(there.connections(), 2);
  connection.close();
  assert.ok(await reading);
});

test('hundreds of requests with one signal leave no listener on it, and use one connection', async (there) => {
  const { connection, clock } = await open({ kubeconfig: kubeconfig({ token: 't' }) });
  const { signal } = new AbortController();
  for (let round = 0; round < 200; round++) await get(connection, '/api', signal);
  await until(() => getEventListeners(signal, 'abort').length === 0);
  assert.is(clock.pending(), 0);
  assert.is(there.connections(), 1);
});

test('failed requests leave no listener and no timer either', async () => {
  const { connection, clock } = await open({ kubeconfig: kubeconfig(), master: 'https://127.0.0.1:1' });
  const { signal } = new AbortController();
  for (let round = 0; round < 200; round++) await faultOf(get(connection, '/api', signal));
  assert.is(getEventListeners(signal, 'abort').length, 0);
  assert.is(clock.pending(), 0);
});

test('requests beyond the burst wait for their turn', async (there) => {
  const { connection, clock } = await open({ kubeconfig: kubeconfig(), qps: 2, burst: 3 });
  const all = Array.from({ length: 5 }, () => get(connection));
  await Promise.all(all.slice(0, 3));
  assert.is(there.requests.length, 3);
  await clock.advance(500);
  await all[3];
  assert.is(there.requests.length, 4);
  await clock.advance(500);
  await all[4];
});

suiteOf.run();
