/** First line of every test file of this folder, so that `node test/vm/x.test.ts` by itself says where it belongs. */
import { relative } from 'node:path';
import { skip } from '../skip.ts';

/** Set in the virtual machine. */
export const INSIDE = 'KUBE_PROXY_TEST_VM';

/** Returns in the virtual machine only; elsewhere the whole file is counted as one skipped test and the process ends. */
export function onlyInVm(): void {
  if (process.env[INSIDE] !== undefined) return;
  const file = relative(process.cwd(), process.argv[1] ?? '');
  skip(`all of ${file}`, `it needs the virtual machine: npm run test:vm -- ${file}`);
  process.exit(0);
}
