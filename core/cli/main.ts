/**
 * From the words of the command line to an exit status. The only place that decides what a fault looks like:
 *
 *   0 done   1 it was tried and failed   2 what was given is wrong (flags, options, manifests), nothing was changed
 *
 * Commands are imported when they run, so that --help does not load what only the daemon needs.
 */
import { parseCommandLine } from '../config/command-line.ts';
import { checkSettings, type Settings } from '../config/settings.ts';
import { createLog, escapeControls, type Log } from '../observe/log.ts';
import { backendNames } from './backends.ts';
import { helpText } from './help.ts';
import { faultLines } from './report-fault.ts';
import { versionText } from './version.ts';

/** The process as the commands see it. */
export interface Terminal {
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  /** Of Node.js: "24.21.0". */
  readonly nodeVersion: string;
}

/** What every command gets. */
export interface Run {
  readonly settings: Settings;
  readonly terminal: Terminal;
  readonly log: Log;
}

export const OLDEST_NODE = 24;

export async function main(argv: readonly string[], terminal: Terminal = processTerminal()): Promise<number> {
  const say = (line: string): void => terminal.stderr(`kube-proxy: ${escapeControls(line)}\n`);
  if (Number.parseInt(terminal.nodeVersion, 10) < OLDEST_NODE) {
    const remedy = `install it (https://nodejs.org) and start it as: node core/main.ts`;
    say(`needs Node.js ${OLDEST_NODE} or newer, this is ${terminal.nodeVersion}; ${remedy}`);
    return 2;
  }

  const line = parseCommandLine(argv);
  // Who asks for help or the version gets it, whatever else the line says.
  const informs = line.command === 'help' || line.command === 'version';
  const { settings, faults } = informs ? { settings: undefined, faults: line.faults } : checked(line);
  const fatal = line.values.help ? [] : faults;
  if (fatal.length > 0) {
    for (const { where, what } of fatal) say(where === '' ? what : `${where}: ${what}`);
    return 2;
  }
  if (line.command === 'help') {
    terminal.stdout(await helpText(line.topic));
    return 0;
  }
  if (!settings) {
    terminal.stdout(versionText());
    return 0;
  }

  const log = createLog({
    verbosity: settings.verbosity,
    format: settings.logFormat,
    component: 'kube-proxy',
    pid: process.pid,
    write: terminal.stderr,
    now: () => performance.timeOrigin + performance.now(),
  });
  const run: Run = { settings, terminal, log };
  try {
    switch (line.command) {
      case 'render':
        return await (await import('./render.ts')).render(run);
      case 'cleanup':
        return await (await import('./cleanup.ts')).cleanup(run);
      default:
        return await (await import('./daemon.ts')).daemon(run);
    }
  } catch (error) {
    terminal.stderr(faultLines(error, '', settings.verbosity));
    return isUsageFault(error) ? 2 : 1;
  }
}

function checked(line: ReturnType<typeof parseCommandLine>): ReturnType<typeof checkSettings> {
  return checkSettings(line, backendNames());
}

/** What was given is wrong, though only the backend or the source could tell; nothing was changed. */
const USAGE_FAULTS: readonly unknown[] = ['KP_BACKEND_OPTION', 'KP_MANIFEST'];

function isUsageFault(error: unknown): boolean {
  return error instanceof Error && 'code' in error && USAGE_FAULTS.includes(error.code);
}

function processTerminal(): Terminal {
  // Who reads our output may stop reading (kube-proxy render | head); that ends no command and no daemon.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  return {
    stdout: (text) => void process.stdout.write(text),
    stderr: (text) => void process.stderr.write(text),
    nodeVersion: process.versions.node,
  };
}
