/**
 * `kube-proxy plugin test FILE`: the conformance kit, run on one backend. The kit is no part of what the daemon needs:
 * in the packed program it lies apart, and is loaded here.
 */
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { isSea } from 'node:sea';
import type { Settings } from '../config/settings.ts';
import { endProcess } from '../node/end-process.ts';
import { createHost } from '../node/host.ts';
import { BUILT_IN, findBackend } from './backends.ts';
import type { Run } from './main.ts';
import { AGENT_WORD } from './plugin-test-agent.ts';
import { VERSION } from './version.ts';

export async function pluginTest({ settings, line, log, terminal }: Run): Promise<number> {
  const { testBackend } = await import('../../test/conformance/kit.ts');
  endBySignals();
  const name = asGiven(line.operand);
  // That of the settings is the one of the backend that --backend names.
  const { pluginDir } = settings.configuration;
  return testBackend({
    load: async () => {
      const { plugin, builtIn, path = '' } = await findBackend(name, pluginDir);
      const options = { ...builtIn?.options?.(settings), ...settings.backendOptions };
      return { plugin, options, file: path, version: builtIn ? VERSION : (plugin.version ?? '') };
    },
    file: isBuiltIn(name) ? '' : name,
    also: [settings.configFile, pluginDir],
    makeHost: createHost,
    program: ownProgram(),
    agent: [...ownProgram(), AGENT_WORD],
    words: process.argv.slice(2),
    flags: flagsOf(name, settings),
    packets: line.values.packets,
    output: line.values.output,
    print: terminal.stdout,
    ...(settings.verbosity > 0 && { show: log }),
  });
}

/** As the first process of a namespace it gets only signals that it handles, and process.exit() is refused by then. */
function endBySignals(): void {
  if (process.pid !== 1) return;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => endProcess(128 + constants.signals[signal]));
  }
}

/** Why there are none, where the command line has no words for what a configuration file says. */
function flagsOf(name: string, { configuration: { pluginDir }, backendOptions }: Settings): readonly string[] | string {
  const options = Object.entries(backendOptions);
  const structured = options.find(([, value]) => typeof value !== 'string');
  if (structured) return `the option ${structured[0]} is no text, so that it cannot be given to the daemon by a flag`;
  return [
    `--backend=${name}`,
    ...(pluginDir === '' ? [] : [`--plugin-dir=${pluginDir}`]),
    ...options.map(([option, value]) => `--backend-option=${option}=${String(value)}`),
  ];
}

/** Who writes `plugin test my-backend.js` means the file that is there. */
function asGiven(operand: string): string {
  const isFile = !operand.includes('/') && !isBuiltIn(operand) && /\.(js|mjs|cjs|ts)$/.test(operand);
  return isFile && existsSync(operand) ? `./${operand}` : operand;
}

function isBuiltIn(name: string): boolean {
  return BUILT_IN.some((entry) => entry.name === name);
}

/** The command that starts this program again. */
function ownProgram(): readonly string[] {
  return isSea() ? [process.execPath] : [process.execPath, ...process.execArgv, process.argv[1] ?? ''];
}
