/**
 * What is written for each case is what was once read and found right. UPDATE_GOLDEN=1 writes the files anew: then
 * read the difference. (That the kernel takes these rules, and that they do what the oracle says: test/netns/.)
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { goldenCases, renderCase } from './cases.ts';

const test = suite('golden');

for (const golden of goldenCases()) {
  for (const backend of ['iptables', 'nftables', 'ipvs', 'userspace', 'dry-run']) {
    test(`${golden.name}: ${backend} writes what it wrote before`, async () => {
      const file = join(golden.folder, `${backend}.txt`);
      const text = await renderCase(golden, backend);
      if (process.env.UPDATE_GOLDEN) writeFileSync(file, text);
      assert.fixture(text, readFileSync(file, 'utf8'));
    });
  }
}
test.run();
