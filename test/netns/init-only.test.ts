/** --init-only: what takes privilege is done once, and the daemon after it needs none of it. */

import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { isolateTests } from './isolated.ts';
import { createWorld } from './world.ts';

await isolateTests();
const MAIN = fileURLToPath(new URL('../../core/main.ts', import.meta.url));
const test = suite('--init-only');

for (const backend of ['iptables', 'nftables']) {
  test(`${backend}: kernel parameters are set, nothing is programmed, and it ends`, async () => {
    const world = await createWorld();
    try {
      const run = (...flags: readonly string[]) =>
        world.exec('node', process.execPath, [MAIN, '--init-only', '--backend', backend, ...flags], {
          anyStatus: true,
        });
      const read = async (name: string): Promise<string> =>
        (await world.exec('node', 'cat', [`/proc/sys/net/${name}`])).stdout.trim();
      const flags = [
        '--manifests=/nonexistent',
        '--conntrack-tcp-timeout-established=7h',
        '--conntrack-tcp-be-liberal',
      ];
      const first = await run(...flags);
      assert.is(first.status, 0, first.stderr);
      assert.match(first.stderr, /Initialized/);
      assert.is(await read('ipv4/conf/all/route_localnet'), '1');
      assert.is(await read('netfilter/nf_conntrack_tcp_timeout_established'), '25200');
      assert.is(await read('netfilter/nf_conntrack_tcp_be_liberal'), '1');
      const tables = (await world.exec('node', 'nft', ['list', 'tables'])).stdout;
      assert.not.match(tables, /kube/);
      assert.not.match((await world.exec('node', 'iptables-save', [])).stdout, /KUBE/);

      const again = await run(...flags);
      assert.is(again.status, 0, again.stderr);
      assert.not.match(again.stderr, /Set up conntrack/, 'nothing is left to set');
    } finally {
      await world.close();
    }
  });
}

test('without localhost node ports loopback addresses stay unroutable', async () => {
  const world = await createWorld();
  try {
    const flags = ['--init-only', '--manifests=/nonexistent', '--iptables-localhost-nodeports=false'];
    await world.exec('node', process.execPath, [MAIN, ...flags]);
    const { stdout } = await world.exec('node', 'cat', ['/proc/sys/net/ipv4/conf/all/route_localnet']);
    assert.is(stdout.trim(), '0');
  } finally {
    await world.close();
  }
});

test.run();
