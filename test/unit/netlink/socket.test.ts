/** The socket itself, on the running kernel: NETLINK_ROUTE needs no privilege. */
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { attributesByType, attributeText } from '../../../core/netlink/attributes.ts';
import { openConversation } from '../../../core/netlink/request.ts';
import { NETLINK_ROUTE, openNetlink } from '../../../core/netlink/socket.ts';
import { fault } from './fault.ts';

const RTM_GETLINK = 18;
const IFLA_IFNAME = 3;
const IFINFOMSG_BYTES = 16;
const folder = new URL('../../../core/netlink/', import.meta.url);

const descriptors = () => readdirSync('/proc/self/fd').length;

const socket = suite('netlink socket');

socket('talks to the kernel', () => {
  const names: string[] = [];
  const conversation = openConversation(() => openNetlink({ protocol: NETLINK_ROUTE }));
  conversation.dump(
    { operation: 'link list', object: '', type: RTM_GETLINK, write: (w) => w.raw(new Uint8Array(IFINFOMSG_BYTES)) },
    ({ payload }) => {
      names.push(attributeText(attributesByType(payload.subarray(IFINFOMSG_BYTES)).get(IFLA_IFNAME)!));
    },
  );
  conversation.close();
  assert.ok(names.includes('lo'), names.join());
});

socket('closes its descriptor once, and does not touch its number afterwards', () => {
  openNetlink({ protocol: NETLINK_ROUTE }).close(); // Whatever koffi keeps open is open now.
  const before = descriptors();
  const opened = openNetlink({ protocol: NETLINK_ROUTE });
  assert.is(descriptors(), before + 1);
  opened.close();
  assert.is(descriptors(), before);
  const next = openNetlink({ protocol: NETLINK_ROUTE });
  assert.is(next.descriptor, opened.descriptor);
  opened.close();
  assert.is(descriptors(), before + 1);
  assert.is(fault(() => opened.receive()).code, 'KP_NETLINK_INVALID');
  assert.is(fault(() => opened.send(new Uint8Array(16))).code, 'KP_NETLINK_INVALID');
  next.close();
});

socket('gives up waiting for a kernel that says nothing', () => {
  const opened = openNetlink({ protocol: NETLINK_ROUTE, receiveTimeoutMs: 30 });
  const start = performance.now();
  const error = fault(() => opened.receive());
  const waited = performance.now() - start;
  opened.close();
  assert.ok(waited >= 25 && waited < 2000, String(waited));
  assert.is(error.code, 'KP_NETLINK_TIMEOUT');
  assert.match(error.text, 'within 30 ms');
});

socket('goes on waiting when a signal interrupts it', async () => {
  const script = `
    import { NETLINK_ROUTE, openNetlink } from ${JSON.stringify(new URL('socket.ts', folder).href)};
    process.on('SIGUSR2', () => {});
    const socket = openNetlink({ protocol: NETLINK_ROUTE, receiveTimeoutMs: 400 });
    const start = performance.now();
    process.stderr.write('waiting');
    try { socket.receive(); } catch (error) { console.log(error.code, performance.now() - start >= 390); }`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script]);
  let said = '';
  child.stdout.on('data', (data) => {
    said += data;
  });
  let signals: NodeJS.Timeout | undefined;
  child.stderr.once('data', () => {
    signals = setInterval(() => child.kill('SIGUSR2'), 20);
  });
  await new Promise((resolve) => child.on('close', resolve));
  clearInterval(signals);
  assert.is(said, 'KP_NETLINK_TIMEOUT true\n');
});

socket('reports a datagram that is larger than its buffer instead of cutting it', () => {
  const conversation = openConversation(() => openNetlink({ protocol: NETLINK_ROUTE, datagramBytes: 64 }));
  const list = { operation: 'link list', object: '', type: RTM_GETLINK };
  const error = fault(() => conversation.dump({ ...list, write: (w) => w.raw(new Uint8Array(16)) }, () => {}));
  conversation.close();
  assert.is(error.code, 'KP_NETLINK_OVERRUN');
  assert.match(error.message, /^link list: a datagram of 64 bytes or more/);
});

socket('reports a message that is larger than the send buffer', () => {
  const opened = openNetlink({ protocol: NETLINK_ROUTE, sendBufferBytes: 4096 });
  const error = fault(() => opened.send(new Uint8Array(1 << 20)));
  opened.close();
  assert.is(error.code, 'KP_NETLINK_TOO_LONG');
  assert.match(error.message, /message of 1048576 bytes: EMSGSIZE/);
});

socket('names a protocol that the kernel does not have', () => {
  const before = descriptors();
  const error = fault(() => openNetlink({ protocol: 31 }));
  assert.is(error.code, 'KP_NETLINK_UNAVAILABLE');
  assert.match(error.message, /^netlink open socket of protocol 31: EPROTONOSUPPORT/);
  assert.is(descriptors(), before);
});

socket('says what to install when koffi is not there, and needs it only when opening', () => {
  const elsewhere = mkdtempSync(join(tmpdir(), 'kp-netlink-'));
  try {
    cpSync(folder, elsewhere, { recursive: true });
    const script = `
      import { openNetlink } from ${JSON.stringify(join(elsewhere, 'socket.ts'))};
      try { openNetlink({ protocol: 0 }); } catch (error) { console.log(error.code, error.message); }`;
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    assert.match(stdout, /^KP_NETLINK_LIBRARY netlink open: koffi cannot be loaded on linux-.*: install /, stderr);
  } finally {
    rmSync(elsewhere, { recursive: true });
  }
});

if (process.platform === 'linux') socket.run();
else console.log('skipped: netlink sockets exist on Linux only');
