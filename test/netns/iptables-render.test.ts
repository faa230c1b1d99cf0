/**
 * What `kube-proxy render` prints, the kernel keeps word for word: so a full sync can compare text, and finds nothing
 * to do where rules are right. Every golden case, both variants, both families.
 */
import { spawnSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createNetlink } from '../../core/netlink/netlink.ts';
import { parseSave } from '../../plugins/iptables/restore-text.ts';
import { goldenCases, renderCase } from '../golden/cases.ts';
import { isolateTests } from './isolated.ts';

await isolateTests();
const test = suite('rendered iptables rules');
const netlink = createNetlink();

function run(command: string, args: readonly string[], input = ''): string {
  const { status, stdout, stderr } = spawnSync(command, args, { input, encoding: 'utf8' });
  assert.is(status, 0, `${command}: ${stderr}`);
  return stdout;
}

/** Only what rules say; chains in any order. KUBE-FIREWALL is filled by insertion, which parseSave does not read. */
function comparable(text: string): unknown {
  const tables = parseSave(text);
  return (['mangle', 'nat', 'filter'] as const).map((table) =>
    [...tables[table]]
      .filter(([chain]) => chain.startsWith('KUBE-') && chain !== 'KUBE-FIREWALL')
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );
}

for (const variant of ['nft', 'legacy'] as const) {
  for (const golden of goldenCases()) {
    test(`${variant}: ${golden.name} comes back as it was written`, async () => {
      for (const family of ['IPv4', 'IPv6'] as const) {
        const command = `${family === 'IPv4' ? 'iptables' : 'ip6tables'}-${variant}`;
        const rendered = await renderCase(golden, 'iptables', ['--family', family]);
        for (const [, name = ''] of rendered.matchAll(/^# ipset create (\S+)/gm)) {
          netlink.ipset().createHashIP({ name, family, timeoutSeconds: 60, maxElements: 100 });
        }
        run(`${command}-restore`, ['--noflush'], rendered);
        assert.equal(comparable(run(`${command}-save`, [])), comparable(rendered), `${command}-save differs`);
        for (const table of ['nat', 'filter', 'mangle']) {
          run(command, ['-t', table, '-F']);
          run(command, ['-t', table, '-X']);
        }
      }
    });
  }
}
test.run();
netlink.close();
