/**
 * The conformance kit: whether a backend keeps the contract, tried on it. `kube-proxy plugin test` calls `testBackend`,
 * which the packed program loads for that command only; `runAgent` is what the program becomes in the namespaces of the
 * world that the packets are sent through.
 *
 *   testBackend ──▶ the same program, in private namespaces ──▶ load ──▶ contract.ts: calls of the plugin
 *                                                                  └──▶ packets.ts: connections through a real kernel
 */
import { networkInterfaces } from 'node:os';
import type { BackendPlugin, Logger } from '../../core/backend.ts';
import { parseIP } from '../../core/model/ip.ts';
import type { InterfaceAddress } from '../../core/model/node-settings.ts';
import type { Result } from './behaviour.ts';
import { tryContract } from './contract.ts';
import { OPTIONS_REFUSED } from './contract-create.ts';
import { kernelEvidence } from './evidence.ts';
import { PACKET_BEHAVIOURS, tryPackets } from './packets.ts';
import {
  actLikeAnOrdinaryProcess,
  insidePrivateNetwork,
  kernelVersion,
  privateNetwork,
  startBeats,
} from './private-network.ts';
import { type ProcessWatch, watchProcess } from './process-watch.ts';
import { count, jsonPrinter, type Printer, textPrinter } from './report.ts';
import { SAMPLE_ADDRESSES } from './sample-cluster.ts';
import { LIMITS } from './trial.ts';
import type { MakeHost } from './watched-host.ts';

export { runAgent } from '../netns/agent.ts';

export interface KitOptions {
  /** As the core loads it; rejects if the file is no plugin. */
  readonly load: () => Promise<{
    readonly plugin: BackendPlugin;
    readonly options: Readonly<Record<string, unknown>>;
    /** "" for one that is built in. */
    readonly file: string;
    readonly version: string;
  }>;
  /** The plugin's file, or a path that leads to it; "" for none. */
  readonly file: string;
  /** What else is read to load it: a configuration file, a folder of plugins; "" = none. */
  readonly also: readonly string[];
  readonly makeHost: MakeHost;
  /** The command that this program is; words for it follow. */
  readonly program: readonly string[];
  /** The command by which it becomes an agent of the world. */
  readonly agent: readonly string[];
  /** The words that this process was started with. */
  readonly words: readonly string[];
  /** Flags with which the daemon runs this backend, or why there are none. */
  readonly flags: readonly string[] | string;
  readonly packets: 'auto' | 'no' | 'only';
  readonly output: 'text' | 'json';
  readonly print: (text: string) => void;
  /** Gets what the plugin logs. */
  readonly show?: Logger;
}

/** Resolves with the exit status: 0 if nothing fails, 1 if a behaviour does, 2 if its options do not fit. Rejects as `load` does. */
export async function testBackend(options: KitOptions): Promise<number> {
  if (insidePrivateNetwork()) {
    actLikeAnOrdinaryProcess();
    return tryAll(options, undefined);
  }
  const network = privateNetwork();
  if (network.kind === 'none') {
    const why = `this host gives no private network namespace (${network.reason}), and outside of one the host's own network could suffer; run it as root, or allow unprivileged user namespaces`;
    return tryAll(options, why);
  }
  return network.run({
    program: [...options.program, ...options.words],
    file: options.file,
    also: options.also,
    onSilence: (trying, seconds) => options.print(silenceText(options, trying, seconds)),
  });
}

/** `harmlessOnly`: why nothing may be done that touches the host; undefined inside private namespaces. */
async function tryAll(options: KitOptions, harmlessOnly: string | undefined): Promise<number> {
  const beats = startBeats();
  const watch = watchProcess();
  const printer = options.output === 'json' ? jsonPrinter() : textPrinter();
  // A backend may have nothing that keeps the process alive while it is waited for.
  const alive = setInterval(() => {}, 60_000);
  try {
    return await tryLoaded(options, harmlessOnly, { beats, watch, printer });
  } finally {
    clearInterval(alive);
    beats.stop();
    watch.stop();
  }
}

interface Tools {
  readonly beats: ReturnType<typeof startBeats>;
  readonly watch: ProcessWatch;
  readonly printer: Printer;
}

async function tryLoaded(
  options: KitOptions,
  harmlessOnly: string | undefined,
  { beats, watch, printer }: Tools,
): Promise<number> {
  const { load, makeHost, packets, show } = options;
  beats.trying('loading');
  const { plugin, options: pluginOptions, file, version } = await load();
  const program = file === '' ? programOf(plugin, pluginOptions) : undefined;
  const isAlone = plugin.leavesHostAlone === true;
  // What programs nothing of the host can do no harm to its network either.
  const restrained = isAlone ? undefined : harmlessOnly;
  const results: Result[] = [];
  const tried = (result: Result): void => {
    results.push(result);
    watch.print(printer.result(result));
  };
  const where = harmlessOnly === undefined ? 'in private namespaces' : 'outside of private namespaces';
  const place = `Linux ${kernelVersion()}, ${where}${program === undefined ? '' : `, with the program ${program}`}`;
  let pathless: string | undefined;
  watch.print(printer.head({ name: String(plugin.name), version, summary: String(plugin.summary), place }));

  if (packets !== 'only') {
    const observer = makeHost({
      log: SILENT,
      signal: new AbortController().signal,
      requestFullSync() {},
      metrics: NONE,
      events: { warn() {} },
    });
    const facts = await tryContract({
      subject: {
        plugin,
        options: pluginOptions,
        makeHost,
        evidence: kernelEvidence(observer),
        process: watch,
        addresses: harmlessOnly === undefined ? ownAddresses() : SAMPLE_ADDRESSES,
        limits: LIMITS,
        ...(program !== undefined && { program }),
        ...(show && { show }),
      },
      ...(restrained !== undefined && { harmlessOnly: restrained }),
      trying: beats.trying,
      tried,
    });
    observer.close();
    if (program !== undefined && facts.inTheWay === false) pathless = NO_PATH;
  }
  const why =
    packets === 'no'
      ? 'not asked for (--packets no)'
      : (harmlessOnly ??
        (typeof options.flags === 'string' ? options.flags : undefined) ??
        (isAlone ? 'no connection passes through what it programs (leavesHostAlone)' : cannotBeCreated(results)) ??
        pathless);
  if (why !== undefined || typeof options.flags === 'string') {
    for (const sentence of PACKET_BEHAVIOURS)
      tried({ ...sentence, part: 'packets', verdict: { kind: 'not tried', why: why ?? '' } });
  } else {
    watch.trying('packets');
    await tryPackets({
      program: options.program,
      agent: options.agent,
      flags: options.flags,
      hidesSources: plugin.hidesSources === true,
      endsWithProcess: plugin.endsWithProcess === true,
      protocols: plugin.protocols ?? ['TCP', 'UDP', 'SCTP'],
      trying: beats.trying,
      tried,
    });
  }
  watch.print(printer.tail(results));
  if (count(results).fails > 0) return 1;
  return cannotBeCreated(results)?.startsWith(OPTIONS_REFUSED) ? 2 : 0;
}

/** The one that the exec backend is to run; only that of the program itself is called so. */
function programOf({ name }: BackendPlugin, { command }: Readonly<Record<string, unknown>>): string | undefined {
  return name === 'exec' && typeof command === 'string' ? command : undefined;
}

const NO_PATH =
  'the program made nothing that connections could pass through and the kit can see (rules, interfaces, listeners), but files at most; if they do pass, --packets only asks them';

/** The daemon could not start with it either. */
function cannotBeCreated(results: readonly Result[]): string | undefined {
  const created = results.find(({ id }) => id === 'create');
  if (created === undefined || created.verdict.kind === 'holds') return undefined;
  return created.verdict.kind === 'not tried' ? created.verdict.why : 'it could not be created';
}

function silenceText({ output }: KitOptions, trying: string, seconds: number): string {
  const seen = `while "${trying}" was tried, nothing else could run for ${seconds} s: the plugin keeps the event loop to itself`;
  if (output === 'json') return `${JSON.stringify({ counts: { fails: 1 }, fault: seen }, undefined, 2)}\n`;
  const remedy = 'wait with await, and give long work to a program (Host.exec)';
  return `  ✗ The event loop stays free\n      seen      ${seen}\n      remedy    ${remedy}\n\nended; at least 1 fails\n`;
}

function ownAddresses(): readonly InterfaceAddress[] {
  const all = Object.entries(networkInterfaces()).flatMap(([interfaceName, list = []]) =>
    list.map(({ address }) => ({ interfaceName, ip: parseIP(address)?.ip ?? address })),
  );
  return all.filter(({ ip }) => !ip.startsWith('fe80:'));
}

const SILENT: Logger = { error() {}, warn() {}, info() {}, verbose() {}, enabled: () => false };
const NONE = { register: () => () => {} };
