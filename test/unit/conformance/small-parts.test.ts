/** Parts of the kit that are pure: who listens, which names are slips, which messages vary. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from '../../conformance/listeners.ts';
import { memberNames, misspelt, slipFor } from '../../conformance/member-names.ts';
import { varyingMessages } from '../../conformance/varying-messages.ts';

const test = suite('conformance kit: small parts');

const HEAD = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';
const socket = (local: string, state: string, inode: number): string =>
  `   0: ${local} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000     0        0 ${inode} 1 0 10 0\n`;

test('sockets that wait are read from /proc/net, in both families', () => {
  const tcp = HEAD + socket('0100007F:1F90', '0A', 11) + socket('0100007F:1F91', '01', 12);
  assert.equal(parse('tcp', tcp, new Set(['11'])), [
    { name: 'tcp 127.0.0.1:8080', port: 8080, inode: '11', isOwn: true },
  ]);
  const udp6 = HEAD + socket('000000FD00000000000000000A000000:0035', '07', 13);
  assert.equal(parse('udp', udp6, new Set()), [{ name: 'udp [fd00::a]:53', port: 53, inode: '13', isOwn: false }]);
});

test('a slip is a name that is almost one of the contract, which is not there', () => {
  const known = ['sync', 'check', 'health', 'cleanup'];
  assert.equal(misspelt(['snyc', 'chek', 'healthz', 'cleanUp', 'state', 'log'], known), [
    'snyc is no member of the contract; did you mean sync?',
    'chek is no member of the contract; did you mean check?',
    'healthz is no member of the contract; did you mean health?',
    'cleanUp is no member of the contract; did you mean cleanup?',
  ]);
  assert.equal(misspelt(['sync', 'syncs', 'check', 'checked', 'health', 'cleanup'], known), []);
  assert.is(slipFor(['cleanUp'], 'cleanup'), 'cleanUp');
  assert.is(slipFor(['sync'], 'sync'), undefined);
});

test('members of a class count as those of an object do', () => {
  class Made {
    families = [];
    sync(): void {}
  }
  assert.equal(memberNames(new Made()).toSorted(), ['families', 'sync']);
  assert.equal(memberNames(undefined), []);
});

test('messages vary if they are alike but for numbers and names of what was given', () => {
  assert.equal(varyingMessages([['Serving 4 ports'], ['Serving 3 ports']], []), ['Serving 4 ports', 'Serving 3 ports']);
  assert.ok(varyingMessages([['Serving shop/web, a/b'], ['Serving shop/db']], ['shop/web', 'a/b', 'shop/db']));
  const phases = ['Phase 1', 'Phase 2'];
  assert.is(varyingMessages([phases, phases], []), undefined);
  assert.is(varyingMessages([['Synced', 'No UDP here'], ['Synced']], []), undefined);
});

test.run();
