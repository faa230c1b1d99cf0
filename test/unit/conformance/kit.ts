/** The contract part of the kit, run on a plugin with a host in memory. */
import type { BackendPlugin } from '../../../core/backend.ts';
import { createFakeNftables, createFakeState } from '../../../core/netlink/nftables/fake.ts';
import { systemClock } from '../../../core/node/clock.ts';
import type { Result } from '../../conformance/behaviour.ts';
import { tryContract } from '../../conformance/contract.ts';
import { kernelEvidence } from '../../conformance/evidence.ts';
import { listeners } from '../../conformance/listeners.ts';
import { watchProcess } from '../../conformance/process-watch.ts';
import { SAMPLE_ADDRESSES } from '../../conformance/sample-cluster.ts';
import type { MakeHost } from '../../conformance/watched-host.ts';

export interface RunOptions {
  readonly options?: Readonly<Record<string, unknown>>;
  readonly harmlessOnly?: string;
  /** What a call may take, so that tests need not wait for what never comes. */
  readonly callMs?: number;
  /** As if it were the exec backend with this program. */
  readonly program?: string;
}

/** Results of one run, by behaviour. */
export async function runContract(
  plugin: BackendPlugin,
  { options = {}, harmlessOnly, callMs = 10_000, program }: RunOptions = {},
): Promise<ReadonlyMap<string, Result>> {
  const state = createFakeState();
  const makeHost: MakeHost = ({ log, signal, requestFullSync, metrics, events }) => {
    let kernel = createFakeNftables(state);
    let closed = false;
    const nothing = (): never => {
      throw new Error('this host has nf_tables only');
    };
    return {
      log,
      signal,
      requestFullSync,
      metrics,
      events,
      clock: systemClock,
      exec: async (command) =>
        command === 'example-tool'
          ? { status: 0, stdout: '', stderr: '', timedOut: false }
          : { status: 127, stdout: '', stderr: `${command}: not found`, timedOut: false },
      spawn: async () => nothing(),
      thread: nothing,
      sockets: { originalDestination: nothing, originalUDPDestination: nothing },
      sysctl: { read: () => '0', ensure: () => {} },
      netlink: {
        nftables() {
          // As the real one, which opens its socket again.
          if (closed) kernel = createFakeNftables(state);
          closed = false;
          return kernel;
        },
        nftablesGeneration: () => kernel.generation(),
        ipset: nothing,
        nfacct: nothing,
        ipvs: nothing,
        dummyLink: nothing,
      },
      close() {
        closed = true;
        kernel.close();
      },
    };
  };
  const watch = watchProcess();
  try {
    const observer = makeHost({
      log: { error() {}, warn() {}, info() {}, verbose() {}, enabled: () => false },
      signal: new AbortController().signal,
      requestFullSync() {},
      metrics: { register: () => () => {} },
      events: { warn() {} },
    });
    const results: Result[] = [];
    await tryContract({
      subject: {
        plugin,
        options,
        makeHost,
        // Others share this network with the test.
        evidence: kernelEvidence(
          observer,
          () => undefined,
          () => listeners('own'),
        ),
        process: watch,
        addresses: SAMPLE_ADDRESSES,
        ...(program !== undefined && { program }),
        limits: { callMs, closeMs: Math.min(callMs, 5000), recoverMs: 200, manyServices: 50 },
      },
      ...(harmlessOnly === undefined ? {} : { harmlessOnly }),
      tried: (result) => results.push(result),
    });
    return new Map(results.map((result) => [result.id, result]));
  } finally {
    watch.stop();
  }
}

/** Ids of those with this verdict. */
export function idsOf(results: ReadonlyMap<string, Result>, kind: Result['verdict']['kind']): readonly string[] {
  return [...results.values()].filter(({ verdict }) => verdict.kind === kind).map(({ id }) => id);
}
