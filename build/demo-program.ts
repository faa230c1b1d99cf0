/** The real program, as an operator runs it: core/main.ts on the node of the world, its log read line by line. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { World } from '../test/netns/world.ts';
import type { ExecOutput } from '../test/netns/world-commands.ts';
import { NODE_NAME } from '../test/netns/world-topology.ts';

const MAIN = fileURLToPath(new URL('../core/main.ts', import.meta.url));
const READY_LIMIT_MS = 20_000;

export interface Program {
  /** Resolves with what it logged when the data plane had everything: `Ready backend="iptables" …`. */
  start(): Promise<string>;
  /** SIGTERM; resolves with the exit status, or the name of the signal that ended it. */
  stop(): Promise<number | string>;
  cleanup(): Promise<ExecOutput>;
}

/** `onLog` gets every line of the log, whole. */
export function program(world: World, flags: readonly string[], onLog: (line: string) => void): Program {
  let child: ChildProcess | undefined;

  async function start(): Promise<string> {
    // Of its own session: a terminal's Ctrl-C is for the demo, which then ends its world.
    const started = world.spawn(NODE_NAME, process.execPath, [MAIN, ...flags], {
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
    });
    child = started;
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    let last = '';
    createInterface({ input: started.stderr! }).on('line', (line) => {
      last = line;
      onLog(line);
      const message = line.replace(/^[IWE]\d{4} [^\]]*\] /, '');
      if (message.startsWith('Ready ')) resolve(message);
    });
    started.once('error', reject);
    started.once('close', (status) => {
      reject(new Error(`kube-proxy ended with status ${status} before it was ready; its last line was: ${last}`));
    });
    const timer = setTimeout(() => {
      reject(new Error(`kube-proxy was not ready within ${READY_LIMIT_MS / 1000} s; its last line was: ${last}`));
    }, READY_LIMIT_MS);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
    }
  }

  return {
    start,
    async stop() {
      if (child === undefined) throw new Error('kube-proxy was never started');
      if (child.exitCode === null && child.signalCode === null) {
        const ended = once(child, 'exit');
        child.kill('SIGTERM');
        await ended;
      }
      return child.exitCode ?? child.signalCode ?? -1;
    },
    cleanup: () => world.exec(NODE_NAME, process.execPath, [MAIN, 'cleanup'], { anyStatus: true }),
  };
}
