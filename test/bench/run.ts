/**
 * `npm run bench -- [executable|start|nftables|iptables|ipvs|userspace] [options]`: one part, or without a name all, one after the
 * other. Options go to each; --max-services N, for a quick run, is known to all. Figures are printed, never judged by an exit status.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const PARTS = ['executable', 'start', 'nftables', 'iptables', 'ipvs', 'userspace'];
const [first = '', ...rest] = process.argv.slice(2);
const named = PARTS.includes(first);
for (const part of named ? [first] : PARTS) {
  const program = fileURLToPath(new URL(`./${part}.ts`, import.meta.url));
  const options = named ? rest : process.argv.slice(2);
  const { status, signal } = spawnSync(process.execPath, [...process.execArgv, program, ...options], {
    stdio: 'inherit',
  });
  if (status !== 0) {
    console.error(`the ${part} part ended with ${signal ?? `status ${status}`}`);
    process.exitCode = 1;
  }
}
