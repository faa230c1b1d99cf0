/**
 * `npm run soak -- [--minutes 3] [--backend iptables|nftables] [--services 200] [--seed N] [--changes-per-second 50]
 *                  [--report-every 10] [--keep-log]`
 *
 * Minutes of random churn with faults against the test API server, with the real program and a real kernel in private
 * namespaces. Exit status 0 if server, proxy and kernel agree in the end; 1 if not, with what differs; 2 for a wrong
 * option. The same seed gives the same churn and the same faults. Ctrl-C ends it and leaves nothing behind.
 */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { enterIsolation } from '../../build/isolate.ts';
import { MOST_SERVICES } from './places.ts';
import { type SoakOptions, soak } from './soak.ts';
import { SOAK_PACKAGES } from './stage.ts';

// Not exitCode: what else lives in here has to end, whatever it is.
process.exit(await main(process.argv.slice(2)));

async function main(args: readonly string[]): Promise<number> {
  let options: SoakOptions;
  try {
    options = readOptions(args);
  } catch (error) {
    console.error(`soak: ${(error as Error).message}`);
    return 2;
  }
  try {
    await enterIsolation({ packages: SOAK_PACKAGES });
  } catch (error) {
    console.error(`soak: ${(error as Error).message}`);
    return 1;
  }
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(130);
      controller.abort();
    });
  }
  const { seed, backend, services, minutes } = options;
  console.log(`soak: seed ${seed}, backend ${backend}, ${services} Services, ${minutes} minutes`);
  try {
    const problems = await soak(options, { print: (line) => console.log(line), signal: controller.signal });
    for (const problem of problems) console.log(`DIFFERS  ${problem}`);
    console.log(problems.length === 0 ? 'all agree' : `not all agree; again with --seed ${seed}`);
    return problems.length === 0 ? 0 : 1;
  } catch (error) {
    if (controller.signal.aborted) {
      console.log('ended by a signal');
      return 130;
    }
    console.error(`soak: ${error instanceof Error ? error.stack : error}`);
    console.log(`failed; again with --seed ${seed}`);
    return 1;
  }
}

/** Throws with one line that names the option. */
function readOptions(args: readonly string[]): SoakOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: 'string', default: '3' },
      backend: { type: 'string', default: 'iptables' },
      services: { type: 'string', default: '200' },
      seed: { type: 'string', default: String(randomInt(1, 1_000_000)) },
      'changes-per-second': { type: 'string', default: '50' },
      'report-every': { type: 'string', default: '10' },
      'keep-log': { type: 'boolean', default: false },
    },
  });
  const number = (
    name: Exclude<keyof typeof values, 'keep-log'>,
    least: number,
    most: number,
    whole: boolean,
  ): number => {
    const value = Number(values[name]);
    if (values[name] !== '' && value >= least && value <= most && (!whole || Number.isInteger(value))) return value;
    throw new Error(
      `--${name} ${values[name]}: give ${whole ? 'a whole number' : 'a number'} from ${least} to ${most}`,
    );
  };
  const { backend } = values;
  if (backend !== 'iptables' && backend !== 'nftables') {
    throw new Error(`--backend ${backend}: give iptables or nftables`);
  }
  return {
    minutes: number('minutes', 0.1, 10_080, false),
    backend,
    services: number('services', 1, MOST_SERVICES, true),
    seed: number('seed', 0, 2 ** 32 - 10, true),
    changesPerSecond: number('changes-per-second', 1, 1000, true),
    reportEverySeconds: number('report-every', 1, 3600, true),
    keepLog: values['keep-log'],
  };
}
