/** What a kubeconfig holds is in no error: errors go to the log, to /configz and, as events, to the cluster. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { systemClock } from '../../../core/node/clock.ts';
import { errorText } from '../../../core/observe/log.ts';
import { openConnection } from '../../../core/source/api/connection.ts';
import { fakeLog } from '../sync/fake-log.ts';

const test = suite('secrets of a kubeconfig');
const folder = mkdtempSync(join(tmpdir(), 'secrets-'));
test.after(() => rmSync(folder, { recursive: true }));

const SECRET = 'c2VjcmV0-dG9rZW4';

for (const [what, line] of [
  ['a colon too many', `    token: ${SECRET}: x`],
  ['a quote that is not closed', `    token: "${SECRET}`],
  ['a list that is not closed', `    token: [${SECRET}`],
  ['a tab', `\ttoken: ${SECRET}`],
  ['an alias', `    token: *${SECRET}`],
] as const) {
  test(`one with ${what} is refused without being quoted`, async () => {
    const path = join(folder, 'kubeconfig');
    writeFileSync(path, `apiVersion: v1\nkind: Config\nusers:\n- name: u\n  user:\n${line}\ncurrent-context: x\n`);
    const options = { kubeconfig: path, master: '', qps: 0, burst: 0, userAgent: 'test' };
    const error: unknown = await openConnection({ ...options, clock: systemClock, log: fakeLog() }).then(
      () => assert.unreachable('it was accepted'),
      (reason: unknown) => reason,
    );
    const text = errorText(error, 9);
    assert.match(text, /is not YAML or JSON/);
    assert.not(text.includes(SECRET), text);
  });
}

test.run();
