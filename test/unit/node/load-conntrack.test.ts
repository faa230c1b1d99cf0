import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createFakeTransport } from '../../../core/netlink/fake-transport.ts';
import { loadConntrack } from '../../../core/node/load-conntrack.ts';
import { fault } from '../netlink/fault.ts';

const test = suite('loading conntrack');

/** An acknowledgement of sequence number 1 with this error number. */
function acknowledgement(errno: number): Uint8Array {
  const bytes = Buffer.alloc(36);
  bytes.writeUInt32LE(36, 0);
  bytes.writeUInt16LE(2, 4);
  bytes.writeUInt32LE(1, 8);
  bytes.writeInt32LE(-errno, 16);
  return new Uint8Array(bytes);
}

test('one question goes to the subsystem of conntrack, and the socket is closed', () => {
  const transport = createFakeTransport(() => [acknowledgement(0)]);
  loadConntrack(() => transport);
  assert.is(transport.sent.length, 1);
  assert.equal([...transport.sent[0]!.subarray(4, 6)], [5, 1]);
  assert.is(transport.closed, true);
});

test('a kernel without it is an error, and the socket is closed as well', () => {
  const transport = createFakeTransport(() => [acknowledgement(22)]);
  assert.match(fault(() => loadConntrack(() => transport)).message, /^conntrack statistics: EINVAL/);
  assert.is(transport.closed, true);
});

test.run();
