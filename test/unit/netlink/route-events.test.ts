import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { NetlinkError } from '../../../core/netlink/errors.ts';
import { type AddressEvents, openAddressEvents } from '../../../core/netlink/route-events.ts';
import { addressEvent, eventTransport } from './route-kernel.ts';

const lost = new NetlinkError({ code: 'KP_NETLINK_OVERRUN', text: 'lost' });
const broken = new NetlinkError({ code: 'KP_NETLINK_REFUSED', text: 'broken' });

const test = suite('events of addresses');

const two = addressEvent(2);

/** What each of so many questions hears. */
function heard(events: AddressEvents, count: number): readonly (readonly number[] | 'any')[] {
  return Array.from({ length: count }, () => {
    const links = events.changed();
    return links === 'any' ? links : [...links];
  });
}

test('all links of which events came since the last question are told once', () => {
  const gone = addressEvent(0x01020304, 21);
  const events = openAddressEvents(() => eventTransport(['nothing', two, gone, two, 'nothing', 'nothing', two]));
  assert.equal(heard(events, 4), [[], [2, 0x01020304], [], [2]]);
});

test('several events in one datagram are all read', () => {
  const both = new Uint8Array([...two, ...addressEvent(3)]);
  assert.equal(
    heard(
      openAddressEvents(() => eventTransport([both])),
      1,
    ),
    [[2, 3]],
  );
});

test('what cannot be read may be about any link', () => {
  const cut = two.slice(0, 20);
  cut[0] = 20;
  for (const odd of [cut, two.slice(0, 20), new Uint8Array(0), addressEvent(2, 16 as 20)]) {
    assert.equal(
      heard(
        openAddressEvents(() => eventTransport([two, odd, two, 'nothing'])),
        2,
      ),
      ['any', []],
    );
  }
});

test('lost events may be about any link, and the queue is emptied after them', () => {
  const events = openAddressEvents(() => eventTransport([lost, two, lost, 'nothing']));
  assert.equal(heard(events, 2), ['any', []]);
});

test('events that never end do not hold the process up', () => {
  const endless = { ...eventTransport([]), receive: () => two };
  const events = openAddressEvents(() => endless);
  assert.equal(heard(events, 1), [[2]]);
});

test('a broken socket is an error once, then replaced, and anything may have happened', () => {
  const first = eventTransport([broken]);
  const second = eventTransport([]);
  const unused = [first, second];
  const events = openAddressEvents(() => unused.shift()!);
  assert.throws(() => events.changed(), /broken/);
  assert.ok(first.closed);
  assert.equal(heard(events, 2), ['any', []]);
  events.close();
  assert.ok(second.closed);
  assert.equal(heard(events, 1), [[]]);
  assert.is(unused.length, 0);
});

test.run();
