/** The test's end of an agent: starts the program in its namespace and matches replies to calls. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Call, CommandName, Commands, Reply } from './agent-protocol.ts';
import { agentFromSources } from './from-sources.ts';

export interface Agent {
  /** Rejects with what the agent reports, or when it ends before it answered. */
  call<K extends CommandName>(command: K, input: Commands[K]['input']): Promise<Commands[K]['output']>;
  /** Ends it; resolves when it is gone. */
  close(): Promise<void>;
}

interface Waiting {
  resolve(output: unknown): void;
  reject(error: Error): void;
}

/**
 * `prefix`: the command that runs another one inside the namespace; `program`: the one that is an agent. Calls may be
 * made at once.
 */
export function startAgent(name: string, prefix: readonly string[], program = agentFromSources()): Agent {
  const [command, ...args] = [...prefix, ...program];
  // Of its own session: Ctrl-C is for the test, which then ends its agents.
  const child = spawn(command!, args, { stdio: ['pipe', 'pipe', 'inherit'], detached: true });
  const waiting = new Map<number, Waiting>();
  const gone = new Promise<void>((resolve) => {
    const end = (why: string) => {
      for (const { reject } of waiting.values())
        reject(new Error(`the agent in ${name} ended before it answered: ${why}`));
      waiting.clear();
      resolve();
    };
    child.on('error', (error) => end(error.message));
    child.on('exit', (status, signal) => end(signal ?? `status ${status}`));
  });
  child.stdin.on('error', () => undefined); // told by its exit
  createInterface({ input: child.stdout }).on('line', (line) => {
    const reply = JSON.parse(line) as Reply;
    const waiter = waiting.get(reply.sequence);
    waiting.delete(reply.sequence);
    if (waiting.size === 0) keepAlive(child, false);
    if ('error' in reply) waiter?.reject(new Error(`agent in ${name}: ${reply.error}`));
    else waiter?.resolve(reply.output);
  });
  keepAlive(child, false);
  let sequence = 0;
  return {
    call<K extends CommandName>(command: K, input: Commands[K]['input']) {
      if (child.exitCode !== null || child.signalCode !== null) {
        return Promise.reject(new Error(`the agent in ${name} has ended; it cannot be asked to ${command}`));
      }
      const call: Call<K> = { sequence: ++sequence, command, input };
      return new Promise<Commands[K]['output']>((resolve, reject) => {
        waiting.set(call.sequence, { resolve: resolve as (output: unknown) => void, reject });
        keepAlive(child, true);
        child.stdin.write(`${JSON.stringify(call)}\n`);
      });
    },
    async close() {
      keepAlive(child, true);
      child.stdin.end();
      const timer = setTimeout(() => child.kill('SIGKILL'), 1000);
      await gone;
      clearTimeout(timer);
    },
  };
}

/** An agent holds the test's process only while it owes an answer: a test that forgot to close its world still ends. */
function keepAlive(child: ChildProcess, alive: boolean): void {
  for (const handle of [child, child.stdout, child.stdin]) {
    if (handle && (alive ? 'ref' in handle : 'unref' in handle)) {
      const { ref, unref } = handle as { ref(): void; unref(): void };
      (alive ? ref : unref).call(handle);
    }
  }
}
