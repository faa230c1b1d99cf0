/**
 * `npm run demo -- [--backend NAME] [--keep]`: the program at work, in ten seconds, on any Linux machine, as root
 * or not. It builds a small world of network namespaces, runs kube-proxy on its node, sends real connections and
 * compares everything with what the model's oracle says. Exit status 0 if all agrees, 1 if not, 2 for a wrong option.
 *
 * All of it lives in the private namespaces of isolate.ts, its files included, and ends with this process: Ctrl-C, or
 * kill -9, leaves nothing on the machine. The world and its judge are those of the tests (test/netns,
 * test/conformance): what the demo shows is what the tests rely on.
 */
import { parseArgs } from 'node:util';
import { backendNames } from '../core/cli/backends.ts';
import { keepWorld, rememberUserNamespace } from './demo-keep.ts';
import { BACKEND_VIEWS } from './demo-rules.ts';
import { playScenes } from './demo-scenes.ts';
import { type Paint, painter, wrap } from './demo-table.ts';
import { enterIsolation } from './isolate.ts';

/** Programs nothing: there would be no traffic to show. */
const IDLE_BACKENDS = ['dry-run'];

// Not exitCode: what else lives in here has to end, whatever it is.
process.exit(await main());

async function main(): Promise<number> {
  const options = readOptions();
  if (typeof options === 'number') return options;
  const colours = process.stdout.isTTY === true && !process.env.NO_COLOR;
  try {
    rememberUserNamespace();
    const packages = BACKEND_VIEWS[options.backend]?.packages ?? [];
    await enterIsolation({ packages: [...new Set(['iptables', ...packages])] });
    return await play(options, painter(colours));
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    process.stderr.write(`demo: ${message.trim().replace(/\s*\n\s*/g, ' | ')}\n`);
    return 1;
  }
}

async function play({ backend, keep }: Options, paint: Paint): Promise<number> {
  const print = (line: string): void => void process.stdout.write(`${line}\n`);
  let follow = false;
  const onLog = (line: string): void => {
    if (follow) for (const part of wrap(`  ${line}`, { indent: 6 })) print(part);
  };
  const scenes = await playScenes({ backend, print, paint, onLog });
  const { stage, world } = scenes;

  const faults = stage.faults();
  print('');
  for (const fault of faults) for (const line of wrap(`  differs: ${fault}`, { indent: 4 })) print(line);
  const seen = `${stage.connections()} connections`;
  print(
    faults.length === 0
      ? paint(`All that was seen, ${seen} and what else is shown, is what the oracle said.`, 'good')
      : paint(
          `Not all is what the oracle said: ${faults.length} ${faults.length === 1 ? 'difference' : 'differences'} in ${seen} and what else is shown.`,
          'bad',
        ),
  );
  if (keep) {
    follow = true;
    await keepWorld(scenes, print);
    follow = false;
  }
  await world.close();
  return faults.length === 0 ? 0 : 1;
}

interface Options {
  readonly backend: string;
  readonly keep: boolean;
}

/** The options, or the exit status when there is nothing to do. */
function readOptions(): Options | number {
  const usable = backendNames().filter((name) => !IDLE_BACKENDS.includes(name));
  const usage = `usage: npm run demo -- [--backend ${usable.join('|')}] [--keep]`;
  try {
    const { values } = parseArgs({
      options: { backend: { type: 'string' }, keep: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
    });
    if (values.help) {
      process.stdout.write(`${usage}\n  --keep: leave the world running, to look around in it, until Ctrl-C\n`);
      return 0;
    }
    const backend = values.backend ?? usable[0]!;
    if (usable.includes(backend)) return { backend, keep: values.keep ?? false };
    process.stderr.write(`demo: --backend: the demo needs one of ${usable.join(', ')}, not "${backend}"\n`);
  } catch (error) {
    process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}; ${usage}\n`);
  }
  return 2;
}
