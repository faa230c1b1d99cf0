import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { InterfaceAddress } from '../../../core/model/node-settings.ts';
import { interfaceAddresses, watchAddresses } from '../../../core/node/addresses.ts';
import { systemClock } from '../../../core/node/clock.ts';

const addresses = suite('addresses of the interfaces');

addresses('they are canonical, without zones, sorted, and each there once', () => {
  const found = interfaceAddresses({
    lo: [{ address: '127.0.0.1' }, { address: '::1' }],
    eth0: [{ address: 'fe80::1%eth0' }, { address: 'FE80:0::2' }, { address: 'fe80::2' }, { address: '10.0.0.2' }],
    gone: undefined,
    odd: [{ address: 'nonsense' }],
  });
  assert.equal(found, [
    { interfaceName: 'eth0', ip: '10.0.0.2' },
    { interfaceName: 'eth0', ip: 'fe80::1' },
    { interfaceName: 'eth0', ip: 'fe80::2' },
    { interfaceName: 'lo', ip: '127.0.0.1' },
    { interfaceName: 'lo', ip: '::1' },
  ]);
});

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

addresses('who watches is told when they differ, and only then', async () => {
  let now: readonly InterfaceAddress[] = [{ interfaceName: 'eth0', ip: '10.0.0.1' }];
  let told = 0;
  const faults: unknown[] = [];
  const watch = watchAddresses({
    read: () => [...now],
    intervalMs: 5,
    onChange: () => told++,
    onFault: (fault) => faults.push(fault),
  });
  assert.equal(watch.current(), now, 'known at once');
  await pause(30);
  assert.is(told, 0);
  now = [...now, { interfaceName: 'eth0', ip: '10.0.0.2' }];
  await pause(30);
  assert.is(told, 1);
  assert.is(watch.current().length, 2);
  watch.stop();
  now = [];
  await pause(30);
  assert.is(told, 1);
  assert.equal(faults, []);
});

addresses('when they cannot be read the last ones stay, and that is said once', async () => {
  let broken = false;
  const faults: unknown[] = [];
  const watch = watchAddresses({
    read() {
      if (broken) throw new Error('no netlink');
      return [{ interfaceName: 'eth0', ip: '10.0.0.1' }];
    },
    intervalMs: 5,
    onChange: () => assert.unreachable(),
    onFault: (fault) => faults.push(fault),
  });
  broken = true;
  await pause(40);
  watch.stop();
  assert.is(faults.length, 1);
  assert.is(watch.current().length, 1);
});

const clock = suite('clock');

clock('a callback comes once, after its time, and not when cancelled', async () => {
  const calls: string[] = [];
  const began = systemClock.now();
  const cancel = systemClock.after(10, () => calls.push('cancelled'));
  systemClock.after(20, () => calls.push('after'));
  cancel();
  await pause(60);
  assert.equal(calls, ['after']);
  assert.ok(systemClock.now() - began >= 20);
});

clock('a time longer than a timer of the runtime can last does not fire at once', async () => {
  let fired = false;
  const cancel = systemClock.after(2 ** 33, () => {
    fired = true;
  });
  await pause(20);
  cancel();
  assert.is(fired, false);
});

addresses.run();
clock.run();
