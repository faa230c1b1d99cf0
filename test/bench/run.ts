/**
 * `npm run bench -- [nftables|iptables] [options]`: one half, or without a name both, one after the other. Options go
 * to each; --max-services N, for a quick run, is known to both. Figures are printed, never judged by an exit status.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const HALVES = ['nftables', 'iptables'];
const [first = '', ...rest] = process.argv.slice(2);
const named = HALVES.includes(first);
for (const half of named ? [first] : HALVES) {
  const program = fileURLToPath(new URL(`./${half}.ts`, import.meta.url));
  const options = named ? rest : process.argv.slice(2);
  const { status, signal } = spawnSync(process.execPath, [...process.execArgv, program, ...options], {
    stdio: 'inherit',
  });
  if (status !== 0) {
    console.error(`the ${half} half ended with ${signal ?? `status ${status}`}`);
    process.exitCode = 1;
  }
}
