import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { attributesByType, attributeText, attributeU32, parseAttributes } from '../../../core/netlink/attributes.ts';
import { NetlinkError } from '../../../core/netlink/errors.ts';
import { parseDone, parseError, parseMessages } from '../../../core/netlink/message.ts';

const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'));

function malformation(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof NetlinkError && error.code === 'KP_NETLINK_MALFORMED') return error.text;
    return `another error: ${error}`;
  }
  return 'no error';
}

// Recorded from Linux 6.18: the names of two sets, and the end of the list.
const NAME_A = '28000000 0706 0200 05000000 db1b0000 02000000 0500010007000000 0b0002004b5542452d410000';
const NAME_6 = '28000000 0706 0200 05000000 db1b0000 02000000 0500010007000000 0b0002004b5542452d360000';
const DONE = '14000000 0300 0200 05000000 db1b0000 00000000';

const messages = suite('netlink messages');

messages('splits a datagram into its messages', () => {
  const parsed = parseMessages(hex(NAME_A + NAME_6 + DONE));
  assert.equal(
    parsed.map(({ type, flags, sequence, portId }) => ({ type, flags, sequence, portId })),
    [
      { type: 0x607, flags: 2, sequence: 5, portId: 0x1bdb },
      { type: 0x607, flags: 2, sequence: 5, portId: 0x1bdb },
      { type: 3, flags: 2, sequence: 5, portId: 0x1bdb },
    ],
  );
  assert.is(attributeText(attributesByType(parsed[1]!.payload.subarray(4)).get(2)!), 'KUBE-6');
});

messages('reads a datagram that is a view into a larger buffer', () => {
  const buffer = hex(`ffffffffff${NAME_A}ff`);
  const parsed = parseMessages(buffer.subarray(5, buffer.length - 1));
  assert.is(parsed[0]?.sequence, 5);
});

messages('accepts a last message whose padding is missing', () => {
  const parsed = parseMessages(hex('15000000 0300 0200 05000000 db1b0000 00000000 aa'));
  assert.is(parsed[0]?.payload.length, 5);
});

messages('rejects an empty datagram, a cut header and lengths that cannot be', () => {
  assert.match(
    malformation(() => parseMessages(new Uint8Array(0))),
    'empty',
  );
  assert.match(
    malformation(() => parseMessages(hex(`${DONE}1400`))),
    '2 bytes where a message header',
  );
  assert.match(
    malformation(() => parseMessages(hex(DONE).subarray(0, 19))),
    'length 20 with 19 bytes left',
  );
  assert.match(
    malformation(() => parseMessages(hex(DONE.replace('14', '00')))),
    'length 0',
  );
  assert.match(
    malformation(() => parseMessages(hex(DONE.replace('14', '0f')))),
    'length 15',
  );
  assert.match(
    malformation(() => parseMessages(hex(DONE.replace('14000000', 'fdffffff')))),
    'length 4294967293',
  );
});

const ATTRIBUTE = '0800 0640 00000064';

messages('rejects attributes that are cut or whose length cannot be', () => {
  assert.match(
    malformation(() => parseAttributes(hex(`${ATTRIBUTE} 0800`))),
    '2 bytes where an attribute',
  );
  assert.match(
    malformation(() => parseAttributes(hex('0900 0640 00000064'))),
    'attribute 6 of length 9 with 8 bytes left',
  );
  assert.match(
    malformation(() => parseAttributes(hex('0000 0600 00000000'))),
    'length 0',
  );
  assert.match(
    malformation(() => parseAttributes(hex('0300 0600 00000000'))),
    'length 3',
  );
});

messages('strips the flags from attribute types, and keeps repeated attributes in order', () => {
  const list = parseAttributes(hex('0500 0780 01000000 0500 0740 02000000 0400 0900'));
  assert.equal(
    list.map(({ type, data }) => [type, ...data]),
    [[7, 1], [7, 2], [9]],
  );
  assert.equal([...attributesByType(hex('0500 0780 01000000 0500 0740 02000000')).get(7)!], [2]);
});

messages('rejects a number of another size than it must have', () => {
  assert.match(
    malformation(() => attributeU32(hex('000000'))),
    '3 bytes where 4 are due',
  );
  assert.match(
    malformation(() => attributeU32(hex('0000000000'))),
    '5 bytes where 4 are due',
  );
});

messages('reads text that has no NUL at its end', () => {
  assert.is(attributeText(hex('4b5542')), 'KUB');
  assert.is(attributeText(hex('')), '');
});

const outcome = suite('netlink outcomes');

const error = (rest: string, flags = '0001') => {
  const payload = hex(rest);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(16 + payload.length);
  return parseError(parseMessages(hex(`${length.toString('hex')} 0200 ${flags} 08000000 db1b0000 ${rest}`))[0]!);
};
const REQUEST = '28000000 0706 0503 08000000 00000000';
const TEXT = '0b00 0100 6e6f7420736f00 00';
const OFFSET = '0800 0200 14000000';

outcome('reads an ack and an error number', () => {
  assert.equal(error(`00000000 ${REQUEST}`), { errno: 0, text: '' });
  assert.equal(error(`feffffff ${REQUEST}`), { errno: 2, text: '' });
  assert.equal(error(`fcefffff ${REQUEST}`), { errno: 4100, text: '' });
});

outcome("reads the kernel's own words after a capped and after a repeated request", () => {
  const text = 'not so, at byte 20 of the request';
  assert.equal(error(`eaffffff ${REQUEST} ${TEXT} ${OFFSET}`, '0003'), { errno: 22, text });
  const whole = `${REQUEST} ${'aa'.repeat(24)}`;
  assert.equal(error(`eaffffff ${whole} ${TEXT} ${OFFSET}`, '0002'), { errno: 22, text });
});

outcome('keeps the error number when the words are broken or the length of the request is absurd', () => {
  assert.equal(error(`eaffffff ${REQUEST} ffff 0100 6e6f`, '0003'), { errno: 22, text: '' });
  assert.equal(error(`eaffffff ${REQUEST.replace('28000000', 'fdffffff')}`, '0002'), { errno: 22, text: '' });
});

outcome('rejects an error message without room for the request it is about', () => {
  assert.match(
    malformation(() => error('eaffffff 28000000')),
    'an error message of 8 bytes',
  );
});

outcome('reads the end of a dump, with and without an error number', () => {
  const done = (rest: string, length: string, flags = '0200') =>
    parseDone(parseMessages(hex(`${length} 0300 ${flags} 05000000 00000000 ${rest}`))[0]!);
  assert.equal(done('', '10000000'), { errno: 0, text: '' });
  assert.equal(done('00000000', '14000000'), { errno: 0, text: '' });
  assert.equal(done('f5ffffff', '14000000'), { errno: 11, text: '' });
  assert.equal(done(`f5ffffff ${TEXT}`, '20000000', '0202'), { errno: 11, text: 'not so' });
});

messages.run();
outcome.run();
