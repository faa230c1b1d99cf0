/** install.sh --from a URL: what it fetches by curl and by wget, and that nobody on the way can change what it installs. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo, Server } from 'node:net';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createAuthority, opensslProblem } from '../apiserver/certificates.ts';
import { skip } from '../skip.ts';
import {
  BASE_PATH,
  emptyTree,
  FIRST,
  HERE,
  install,
  installAsync,
  PROGRAM,
  pathOf,
  refused,
  SCRATCH,
  SECOND,
  unchanged,
  which,
} from './install-tree.ts';
import { pathsBelow, snapshot } from './release-folder.ts';

const test = suite('install.sh --from URL');
const SUMS = ['--sums', join(FIRST, 'SHA256SUMS')];
const running: { close(): unknown; closeAllConnections(): void }[] = [];
test.after(() => {
  for (const server of running) {
    server.close();
    server.closeAllConnections();
  }
});

test('where neither curl nor wget is installed, it says so', () => {
  const root = emptyTree();
  refused(install(['--from', 'https://127.0.0.1:9/release', '--root', root], BASE_PATH), /neither curl nor wget/);
  assert.equal(pathsBelow(root), []);
});

test('plain http is refused where nothing but itself says what the files should be', () => {
  const root = emptyTree();
  const outcome = install(['--from', 'http://127.0.0.1:9/v1', '--root', root]);
  assert.is(outcome.status, 2);
  refused(outcome, /--sums/);
});

for (const tool of ['curl', 'wget']) {
  const title = `${tool} alone fetches a release, and a release that is not there changes nothing`;
  if (which(tool) === '') {
    skip(title, `there is no ${tool}`);
    continue;
  }
  test(title, async () => {
    const release = await serve(FIRST);
    const root = emptyTree();
    const check = unchanged(root);
    const missing = await installAsync(['--from', `${release.url}/v0`, '--root', root, ...SUMS], only(tool));
    assert.is(missing.status, 1);
    assert.match(missing.stderr, /could not be read; nothing was changed/);
    check();
    const outcome = await installAsync(['--from', `${release.url}/v1/`, '--root', root, ...SUMS], only(tool));
    assert.is(outcome.status, 0, outcome.stderr);
    assert.is(snapshot(root)[PROGRAM], snapshot(FIRST)[`kube-proxy-linux-${HERE}`]?.replace(/^\d+/, '755'));
    assert.ok(release.asked.includes(`/v1/kube-proxy-linux-${HERE}`));
  });
}

const noRedirects = opensslProblem() ?? (which('curl') === '' || which('wget') === '' ? 'curl or wget is missing' : '');
if (noRedirects) skip('a redirect from https to http installs nothing that --sums does not name', noRedirects);
else {
  const authority = createAuthority(SCRATCH);
  const trusted = join(SCRATCH, 'trusted.crt');
  writeFileSync(trusted, authority.certificate);
  const wgetrc = join(SCRATCH, 'wgetrc');
  writeFileSync(wgetrc, `ca_certificate = ${trusted}\n`);
  // Certificates are right, so that nothing but the redirect is at fault.
  const environment = { CURL_CA_BUNDLE: trusted, WGETRC: wgetrc };

  test('curl does not follow a redirect from https to http', async () => {
    const plain = await serve(SECOND);
    const secure = await redirect(authority, plain.url);
    const root = emptyTree();
    const outcome = await installAsync(['--from', `${secure.url}/v1`, '--root', root], only('curl'), environment);
    assert.is(outcome.status, 1);
    assert.match(outcome.stderr, /SHA256SUMS could not be read; nothing was changed/);
    assert.equal(secure.asked, ['/v1/SHA256SUMS']);
    assert.equal(plain.asked, []);
    assert.equal(pathsBelow(root), []);
  });

  test('wget, which would follow it, is not used without --sums, and nothing is fetched', async () => {
    const plain = await serve(SECOND);
    const secure = await redirect(authority, plain.url);
    const root = emptyTree();
    const outcome = await installAsync(['--from', `${secure.url}/v1`, '--root', root], only('wget'), environment);
    assert.is(outcome.status, 2);
    refused(outcome, /wget may be led to http:.*--sums/);
    assert.equal([...secure.asked, ...plain.asked], []);
    assert.equal(pathsBelow(root), []);
  });

  test('with --sums wget installs what they name, and nothing else that it is led to', async () => {
    for (const [served, status] of [
      [SECOND, 1],
      [FIRST, 0],
    ] as const) {
      const plain = await serve(served);
      const secure = await redirect(authority, plain.url);
      const root = emptyTree();
      const args = ['--from', `${secure.url}/v1`, '--root', root, ...SUMS];
      const outcome = await installAsync(args, only('wget'), environment);
      assert.is(outcome.status, status, outcome.stderr);
      assert.ok(plain.asked.length > 0, 'it is led there');
      if (status === 0) assert.ok(existsSync(join(root, PROGRAM)));
      else {
        assert.match(outcome.stderr, /has the SHA-256 .*nothing was changed/);
        assert.equal(pathsBelow(root), []);
      }
    }
  });
}

test.run();

/** A PATH with this one of them. */
function only(tool: string): string {
  return `${BASE_PATH}:${pathOf({ [tool]: which(tool) })}`;
}

interface Served {
  readonly url: string;
  /** Paths, in order. */
  readonly asked: readonly string[];
}

/** A release below /v1/. */
function serve(folder: string): Promise<Served> {
  return listen(
    'http',
    (answer) => createServer(answer),
    (path, response) => {
      const file = join(folder, path.replace('/v1/', ''));
      if (existsSync(file)) response.end(readFileSync(file));
      else response.writeHead(404).end('not here\n');
    },
  );
}

/** Sends everybody elsewhere. */
function redirect(authority: ReturnType<typeof createAuthority>, to: string): Promise<Served> {
  const { certificate: cert, key } = authority.issueServer();
  return listen(
    'https',
    (answer) => createSecureServer({ cert, key }, answer),
    (path, response) => {
      response.writeHead(302, { location: `${to}${path}` }).end();
    },
  );
}

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

async function listen(
  scheme: string,
  create: (answer: Answer) => Server & { closeAllConnections(): void },
  answer: (path: string, response: ServerResponse) => void,
): Promise<Served> {
  const asked: string[] = [];
  const server = create((request, response) => {
    asked.push(request.url ?? '');
    answer(request.url ?? '', response);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  running.push(server);
  return { url: `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}
