/**
 * From the words of the command line to an exit status. The only place that decides what a fault looks like:
 *
 *   0 done   1 it was tried and failed   2 what was given is wrong (flags, options, manifests), nothing was changed
 *
 * Commands are imported when they run, so that --help does not load what only the daemon needs.
 */
import { type CommandLine, INFORMS, parseCommandLine } from '../config/command-line.ts';
import { readConfigFile } from '../config/read-config.ts';
import { type CheckedSettings, checkSettings, type Settings } from '../config/settings.ts';
import { createLog, escapeControls, type Log } from '../observe/log.ts';
import { PLUGIN_FAULTS } from '../plugin/fault.ts';
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
  /**
   * Whether what was printed is lost: the output could not be written. Undefined where the process is not ours to end.
   */
  readonly isOutputLost?: () => boolean;
}

/** What every command gets. */
export interface Run {
  readonly settings: Settings;
  /** With which an edited configuration file is read again. */
  readonly line: CommandLine;
  readonly terminal: Terminal;
  readonly log: Log;
}

export const OLDEST_NODE = 24;

/** As they are before a plugin is loaded, which may break them. */
const { timeOrigin } = performance;
const now = performance.now.bind(performance);

export async function main(argv: readonly string[], terminal: Terminal = processTerminal()): Promise<number> {
  const say = (line: string): void => terminal.stderr(`kube-proxy: ${escapeControls(line)}\n`);
  if (Number.parseInt(terminal.nodeVersion, 10) < OLDEST_NODE) {
    const remedy = `install it (https://nodejs.org) and start it as: node core/main.ts`;
    say(`needs Node.js ${OLDEST_NODE} or newer, this is ${terminal.nodeVersion}; ${remedy}`);
    return 2;
  }

  if (!hasFolder()) {
    const isRelative = argv.some((word) => /^(--[\w-]+=)?\.{1,2}\//.test(word));
    if (isRelative) {
      say('the working directory was removed, so that a relative path leads nowhere; change to one that is there');
      return 2;
    }
  }
  const line = parseCommandLine(argv);
  // Who asks for help or the version gets it, whatever else the line says.
  const informs = INFORMS.includes(line.command);
  const { settings, faults } = informs ? { settings: undefined, faults: line.faults } : await check(line);
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
    now: () => timeOrigin + now(),
  });
  for (const { where, what } of settings.warnings)
    log.warn('The configuration was accepted, with a warning', { where, what });
  const run: Run = { settings, line, terminal, log };
  const { isOutputLost } = terminal;
  if (!isOutputLost || !runsPlugins(line, settings)) return await command(run);
  // Before any plugin is loaded: both keep what they need as it is now.
  const { containForGood, guardForGood } = await import('../daemon/process.ts');
  const { endWhenPrinted } = await import('./end-when-printed.ts');
  // The test of a plugin counts what escapes from it.
  if (line.command === 'plugin test') guardForGood(log);
  else containForGood(log);
  // A process that nothing keeps alive would end with a status that says nothing.
  setInterval(() => {}, 60_000);
  const status = await command(run);
  return endWhenPrinted(() => status || (isOutputLost() ? 1 : 0));
}

/** Whose file may say anything: of a command that cleans up it is read later. */
function runsPlugins({ command, values }: CommandLine, { backend, writeConfigTo }: Settings): boolean {
  if (writeConfigTo !== '') return false;
  const isPlugin = !backendNames().includes(backend);
  switch (command) {
    case 'plugin new':
      return false;
    case 'render':
      return isPlugin;
    case 'cleanup':
      return isPlugin || values.config !== '';
    default:
      return true;
  }
}

/** The working directory may have been removed, which matters to relative paths alone. */
function hasFolder(): boolean {
  try {
    process.cwd();
    return true;
  } catch {
    return false;
  }
}

/** Never rejects. */
async function command(run: Run): Promise<number> {
  const { settings, line, terminal } = run;
  try {
    if (settings.writeConfigTo !== '') return await writeConfig(run);
    switch (line.command) {
      case 'render':
        return await (await import('./render.ts')).render(run);
      case 'cleanup':
        return await (await import('./cleanup.ts')).cleanup(run);
      case 'plugin test':
        return await (await import('./plugin-test.ts')).pluginTest(run);
      case 'plugins':
        return await (await import('./plugins.ts')).plugins(run);
      case 'plugin new':
        return await (await import('./plugin-new.ts')).pluginNew(run);
      default:
        return await (await import('./daemon.ts')).daemon(run);
    }
  } catch (error) {
    terminal.stderr(faultLines(error, '', settings.verbosity));
    return hasCode(error, ...USAGE_FAULTS) ? 2 : 1;
  }
}

/** With the file, if --config names one. Cleaning up goes by no configuration, so that a bad one does not prevent it. */
async function check(line: CommandLine): Promise<CheckedSettings> {
  const fileName = line.values.config;
  if (fileName === '' || line.command === 'cleanup') return checkSettings(line, backendNames());
  try {
    return checkSettings(line, backendNames(), { text: await readConfigFile(fileName), fileName });
  } catch (error) {
    if (!hasCode(error, 'KP_CONFIG')) throw error;
    const faults = [...line.faults, { where: '--config', what: error.message }];
    return { ...checkSettings(line, backendNames()), faults };
  }
}

async function writeConfig({ settings, terminal }: Run): Promise<number> {
  const { writeConfigFile } = await import('../config/write-config.ts');
  await writeConfigFile(settings.writeConfigTo, settings.configuration);
  terminal.stdout(`kube-proxy: wrote the configuration to ${escapeControls(settings.writeConfigTo)}\n`);
  return 0;
}

/** What was given is wrong, though only the backend or the source could tell; nothing was changed. */
const USAGE_FAULTS: readonly string[] = ['KP_USAGE', 'KP_BACKEND_OPTION', 'KP_MANIFEST', ...PLUGIN_FAULTS];

function hasCode(error: unknown, ...codes: readonly string[]): error is Error {
  return error instanceof Error && 'code' in error && codes.some((code) => code === error.code);
}

function processTerminal(): Terminal {
  let isLost = false;
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', ({ code, message }: NodeJS.ErrnoException) => {
      // Who reads our output may stop reading (kube-proxy render | head); that ends no command and no daemon.
      if (code === 'EPIPE' || stream === process.stderr) return;
      process.exitCode = 1;
      isLost = true;
      process.stderr.write(`kube-proxy: the output is not complete: ${message}; write it where there is room\n`);
    });
  }
  return {
    stdout: (text) => void process.stdout.write(text),
    stderr: (text) => void process.stderr.write(text),
    nodeVersion: process.versions.node,
    isOutputLost: () => isLost,
  };
}
