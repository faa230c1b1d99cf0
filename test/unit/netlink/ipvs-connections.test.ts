import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseConnection, readConnections } from '../../../core/netlink/ipvs-connections.ts';
import { fault, rejection } from './fault.ts';

const HEAD = 'Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n';
/** As Linux 6.1 wrote them: a connection in each family, and what persistence remembers. */
const V4 = 'TCP 0A600014 8160 0A600014 0050 7F000001 1F90 ESTABLISHED     899\n';
const V6 =
  'UDP fd00:0010:0000:0000:0000:0000:0000:0020 AC18 fd00:0010:0000:0000:0000:0000:0000:0020 0050 ' +
  '0000:0000:0000:0000:0000:0000:0000:0001 1F90 UDP             29\n';
const TEMPLATE = 'TCP 0A600014 0000 0A600014 0050 7F000001 1F90 ASSURED         299 sip data\n';

async function* pieces(text: string, size: number) {
  for (let at = 0; at < text.length; at += size) yield text.slice(at, at + size);
}

async function read(text: string, size = 1000) {
  const seen: ReturnType<typeof parseConnection>[] = [];
  await readConnections(pieces(text, size), (connection) => seen.push(connection));
  return seen;
}

const test = suite('IPVS connections');

test('are read in both families, whatever pieces the text comes in', async () => {
  for (const size of [1, 7, 64, 1000]) {
    assert.equal(await read(HEAD + V4 + V6 + TEMPLATE, size), [
      {
        protocol: 'TCP',
        clientIP: '10.96.0.20',
        clientPort: 33120,
        ip: '10.96.0.20',
        port: 80,
        realIP: '127.0.0.1',
        realPort: 8080,
        state: 'ESTABLISHED',
        expiresSeconds: 899,
      },
      {
        protocol: 'UDP',
        clientIP: 'fd00:10::20',
        clientPort: 44056,
        ip: 'fd00:10::20',
        port: 80,
        realIP: '::1',
        realPort: 8080,
        state: 'UDP',
        expiresSeconds: 29,
      },
      {
        protocol: 'TCP',
        clientIP: '10.96.0.20',
        clientPort: 0,
        ip: '10.96.0.20',
        port: 80,
        realIP: '127.0.0.1',
        realPort: 8080,
        state: 'ASSURED',
        expiresSeconds: 299,
      },
    ]);
  }
});

test('are none where the table has only its head, or is empty', async () => {
  assert.equal(await read(HEAD), []);
  assert.equal(await read(''), []);
});

test('of an IPv6 client may have an IPv4 real server behind a tunnel', () => {
  const { clientIP, realIP } = parseConnection(V6.replace(/0000:\S+ 1F90/, '0AF40909 1F90'));
  assert.equal([clientIP, realIP], ['fd00:10::20', '10.244.9.9']);
});

test('cut off, or in words that we do not know, are malformed', async () => {
  assert.is((await rejection(read(HEAD + V4.slice(0, -1)))).code, 'KP_NETLINK_MALFORMED');
  for (const [from, to] of [
    ['0A600014', '0A60001'],
    ['8160', '81600'],
    ['899', 'soon'],
    [' ESTABLISHED     899', ''],
    ['7F000001', 'localhost'],
  ] as const) {
    assert.is(fault(() => parseConnection(V4.trimEnd().replace(from, to))).code, 'KP_NETLINK_MALFORMED', to);
  }
});

test.run();
