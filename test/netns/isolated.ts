/** First line of every test file of this folder, so that `node test/netns/x.test.ts` is safe by itself. */
import { relative } from 'node:path';
import { enterIsolation } from '../../build/isolate.ts';
import { skip } from '../skip.ts';

/**
 * Returns inside private namespaces only. Where the host has none, or a program is missing, the whole file is counted
 * as one skipped test with the reason, and the process ends.
 */
export async function isolateTests(packages: readonly string[] = ['iptables']): Promise<void> {
  try {
    await enterIsolation({ packages });
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== 'KP_ISOLATION' && code !== 'KP_PACKAGES') throw error;
    skip(`all of ${relative(process.cwd(), process.argv[1] ?? '')}`, (error as Error).message);
    process.exit(0);
  }
}
