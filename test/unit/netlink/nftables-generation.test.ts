import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createFakeTransport } from '../../../core/netlink/fake-transport.ts';
import { parseMessages } from '../../../core/netlink/message.ts';
import { openNftablesGeneration } from '../../../core/netlink/nftables-generation.ts';
import { createMessageWriter } from '../../../core/netlink/writer.ts';

const test = suite('generation of nf_tables');
const NEWGEN = (10 << 8) | 15;
const NLMSG_ERROR = 2;

/** A kernel that answers with these attribute bytes, then with the outcome. */
function kernel(attributes: Uint8Array | undefined, errno = 0) {
  return createFakeTransport((datagram) => {
    const [question] = [...parseMessages(datagram)];
    const writer = createMessageWriter();
    if (attributes) {
      writer.begin({ type: NEWGEN, flags: 0, sequence: question!.sequence });
      writer.raw(Uint8Array.of(0, 0, 0, 0, ...attributes));
      writer.end();
    }
    writer.begin({ type: NLMSG_ERROR, flags: 0, sequence: question!.sequence });
    const error = new Int32Array([-errno]);
    writer.raw(new Uint8Array([...new Uint8Array(error.buffer), ...datagram.slice(0, 16)]));
    writer.end();
    return [writer.bytes().slice()];
  });
}

test('it is the big-endian number in the answer', () => {
  const transport = kernel(Uint8Array.of(8, 0, 1, 0, 0, 1, 2, 3));
  assert.is(openNftablesGeneration(() => transport).read(), 0x010203);
  // nlmsghdr with type NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, then nfgenmsg: 20 bytes.
  assert.is(transport.sent[0]!.length, 20);
  assert.equal([...transport.sent[0]!.slice(4, 6)], [16, 10]);
});

test('an answer without the number, a refusal and silence are errors', () => {
  for (const transport of [kernel(new Uint8Array()), kernel(undefined, 22), createFakeTransport(() => [])]) {
    assert.throws(() => openNftablesGeneration(() => transport).read());
  }
});

test.run();
