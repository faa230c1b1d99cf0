/**
 * `kube-proxy` as the commands of release/sdk/README.md call it: the program from its sources; a daemon is ended when it
 * is ready, as a reader would end it after a look, and its log goes to standard error.
 */
import { spawn } from 'node:child_process';
import { MAIN } from '../unit/cli/program.ts';

const LIMIT_MS = 60_000;

const words = process.argv.slice(2);
const isDaemon = words[0]?.startsWith('-') ?? true;
const child = spawn(process.execPath, [MAIN, ...words], {
  stdio: ['inherit', 'inherit', isDaemon ? 'pipe' : 'inherit'],
});
let log = '';
let isTold = false;
child.stderr?.setEncoding('utf8').on('data', (text: string) => {
  process.stderr.write(text);
  log += text;
  // A second signal would end it in the middle of ending.
  if (isTold || !/\] Ready /.test(log)) return;
  isTold = true;
  child.kill('SIGTERM');
});
const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
child.on('exit', (status) => {
  clearTimeout(timer);
  process.exitCode = status ?? 1;
});
