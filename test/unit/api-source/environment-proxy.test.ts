/** The environment's proxy, as every Go program of the cluster reads it. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { proxyFromEnvironment } from '../../../core/source/api/environment-proxy.ts';

const test = suite('environment proxy');

const PROXY = 'http://proxy.example:3128';

function isDirect(server: string, noProxy: string): boolean {
  return proxyFromEnvironment(new URL(server), { HTTPS_PROXY: PROXY, NO_PROXY: noProxy }) === undefined;
}

test('the variable of the scheme counts, in capitals or not, with or without a scheme of its own', () => {
  const https = new URL('https://api.example:6443');
  const http = new URL('http://api.example:8080');
  assert.is(proxyFromEnvironment(https, {}), undefined);
  assert.is(proxyFromEnvironment(https, { HTTPS_PROXY: PROXY }), PROXY);
  assert.is(proxyFromEnvironment(https, { https_proxy: PROXY }), PROXY);
  assert.is(proxyFromEnvironment(https, { HTTPS_PROXY: PROXY, https_proxy: 'http://other' }), PROXY);
  assert.is(proxyFromEnvironment(https, { HTTP_PROXY: PROXY }), undefined);
  assert.is(proxyFromEnvironment(http, { HTTP_PROXY: 'proxy.example:3128' }), PROXY);
  assert.is(proxyFromEnvironment(https, { HTTPS_PROXY: 'socks5://proxy:1080' }), 'socks5://proxy:1080');
});

test('this host itself is never reached by a proxy', () => {
  for (const host of ['localhost', '127.0.0.1', '127.9.9.9', '[::1]']) {
    assert.is(proxyFromEnvironment(new URL(`https://${host}:6443`), { HTTPS_PROXY: PROXY }), undefined, host);
  }
});

test('NO_PROXY exempts by address, CIDR, domain and port', () => {
  for (const [server, noProxy, direct] of [
    ['https://10.96.0.1', '10.0.0.0/8', true],
    ['https://11.96.0.1', '10.0.0.0/8', false],
    ['https://10.96.0.1', 'x, 10.96.0.1 ,y', true],
    ['https://10.96.0.1', '10.96.0.1:443', true],
    ['https://10.96.0.1', '10.96.0.1:6443', false],
    ['https://10.96.0.1', '10.96.0.0/40', false],
    ['https://[2001:db8::5]', '2001:db8::/32', true],
    ['https://[2001:db8::5]', '2001:DB8:0::5', true],
    ['https://[2001:db8::5]:6443', '[2001:db8::5]:6443', true],
    ['https://[2001:db8::5]', '10.0.0.0/8', false],
    ['https://api.example.org', 'example.org', true],
    ['https://example.org', 'example.org', true],
    ['https://notexample.org', 'example.org', false],
    ['https://api.example.org', '.example.org', true],
    ['https://example.org', '.example.org', false],
    ['https://API.example.org', '*.Example.org', true],
    ['https://api.example.org:6443', 'example.org:6443', true],
    ['https://api.example.org', 'example.org:6443', false],
    ['https://api.example.org', '*', true],
    ['https://api.example.org', '', false],
    ['https://api.example.org', ',,', false],
  ] as const) {
    assert.is(isDirect(server, noProxy), direct, `${server} with ${noProxy}`);
  }
});

test.run();
