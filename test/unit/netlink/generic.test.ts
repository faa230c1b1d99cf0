import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createFakeTransport } from '../../../core/netlink/fake-transport.ts';
import { findFamily, genericAttributes } from '../../../core/netlink/generic.ts';
import { openConversation } from '../../../core/netlink/request.ts';
import { fault } from './fault.ts';
import { createGenericKernel, errorMessage, messageBytes } from './generic-kernel.ts';

const test = suite('generic netlink families');

test('are asked for by name, from the family of families', () => {
  const kernel = createGenericKernel('IPVS');
  const transport = createFakeTransport(kernel.answer);
  assert.equal(
    findFamily(
      openConversation(() => transport),
      'IPVS',
    ),
    { id: 29, version: 1 },
  );
  assert.is(
    Buffer.from(transport.sent[0]!).toString('hex'),
    '20000000100005000100000000000000' + // length, type 16, REQUEST|ACK, sequence, port id, padded to 4 in all
      '03010000' + // genlmsghdr: GETFAMILY, version 1
      '090002004950565300000000', // FAMILY_NAME "IPVS", NUL, padding
  );
});

test('as Linux 6.1 describes them, with operations that are not looked at', () => {
  const description = Buffer.from(
    '01020000' + // NEWFAMILY
      '0900020049505653000000000600010020000000' + // FAMILY_NAME, FAMILY_ID 32
      '080003000100000008000400000000000800050006000000' + // VERSION 1, HDRSIZE 0, MAXATTR 6
      '180006001400010008000100010000000800020000000000', // OPS { 1 { ID, FLAGS } }
    'hex',
  );
  const conversation = openConversation(() =>
    createFakeTransport(() => [messageBytes(16, 0, 1, description), errorMessage(1, 0)]),
  );
  assert.equal(findFamily(conversation, 'IPVS'), { id: 32, version: 1 });
});

test('that do not exist are undefined; other errors are errors', () => {
  const kernel = createGenericKernel('IPVS');
  const conversation = openConversation(() => createFakeTransport(kernel.answer));
  assert.is(findFamily(conversation, 'IPVSX'), undefined);
  const denying = openConversation(() => createFakeTransport(() => [errorMessage(1, 1)]));
  const error = fault(() => findFamily(denying, 'IPVS'));
  assert.match(error.message, /^generic netlink family IPVS: EPERM/);
});

for (const [what, description] of [
  ['nothing', undefined],
  ['no attributes', '01020000'],
  ['no id', '010200000800030001000000'],
  ['an id of four bytes', '01020000080001002000000008000300010000'],
  ['a header cut off', '0102'],
] as const) {
  test(`described with ${what} are malformed`, () => {
    const payload = description === undefined ? [] : [messageBytes(16, 0, 1, Buffer.from(description, 'hex'))];
    const conversation = openConversation(() => createFakeTransport(() => [...payload, errorMessage(1, 0)]));
    assert.is(fault(() => findFamily(conversation, 'IPVS')).code, 'KP_NETLINK_MALFORMED');
  });
}

test('have their attributes behind four bytes', () => {
  const message = { type: 1, flags: 0, sequence: 0, portId: 0, payload: Uint8Array.of(1, 1, 0, 0, 8, 9) };
  assert.equal([...genericAttributes(message)], [8, 9]);
});

test.run();
