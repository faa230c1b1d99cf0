import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { NetlinkError } from '../../../core/netlink/errors.ts';
import { openAddressEvents } from '../../../core/netlink/route-events.ts';
import { eventTransport } from './route-kernel.ts';

const lost = new NetlinkError({ code: 'KP_NETLINK_OVERRUN', text: 'lost' });
const broken = new NetlinkError({ code: 'KP_NETLINK_REFUSED', text: 'broken' });

const test = suite('events of addresses');

test('all that came since the last question is one change', () => {
  const events = openAddressEvents(() =>
    eventTransport(['nothing', 'datagram', 'datagram', 'datagram', 'nothing', 'nothing', 'datagram']),
  );
  assert.equal([events.changed(), events.changed(), events.changed(), events.changed()], [false, true, false, true]);
});

test('lost events are a change, and the queue is emptied after them', () => {
  const events = openAddressEvents(() => eventTransport([lost, 'datagram', lost, 'nothing']));
  assert.equal([events.changed(), events.changed()], [true, false]);
});

test('events that never end do not hold the process up', () => {
  const endless = { ...eventTransport([]), receive: () => new Uint8Array(20) };
  const events = openAddressEvents(() => endless);
  assert.is(events.changed(), true);
});

test('a broken socket is an error once, then replaced, which is a change', () => {
  const first = eventTransport([broken]);
  const second = eventTransport([]);
  const unused = [first, second];
  const events = openAddressEvents(() => unused.shift()!);
  assert.throws(() => events.changed(), /broken/);
  assert.ok(first.closed);
  assert.is(events.changed(), true);
  assert.is(events.changed(), false);
  events.close();
  assert.ok(second.closed);
  assert.is(events.changed(), false);
  assert.is(unused.length, 0);
});

test.run();
