/** Makes the planned incidents happen: to the server, to the way to it, to the proxy's files, to its rules and to itself. */
import type { ArmedFault } from '../apiserver/faults.ts';
import type { ApiServer, RestartOptions } from '../apiserver/server.ts';
import type { Access } from './access.ts';
import type { Configuration } from './configuration.ts';
import type { Daemon } from './daemon.ts';
import type { Kernel } from './kernel.ts';
import { type Fault, type Incident, RESOURCES, type ResourceName } from './plan.ts';

export interface FaultTargets {
  readonly server: ApiServer;
  readonly access: Access;
  readonly configuration: Configuration;
  readonly daemon: Daemon;
  readonly kernel: Kernel;
  /** The way between the proxy and the server swallows everything. */
  readonly blackhole: (on: boolean) => Promise<void>;
}

export interface Faults {
  /** To be called at every step: remembers now and then what the server could be restored to. */
  step(number: number): void;
  begin(incident: Incident): Promise<void>;
  end(incident: Incident): Promise<void>;
  /** Nothing is wrong any more, and the proxy runs. */
  off(): Promise<void>;
  begun(): number;
}

const CHECKPOINT_STEPS = 25;
/** A backup is so many checkpoints old, or as old as can be. */
const CHECKPOINTS = 8;

export function createFaults(targets: FaultTargets): Faults {
  const { server, access, configuration, daemon, kernel } = targets;
  /** Open incidents of the kinds that are a state: only the first begins it and the last ends it. */
  const open = new Map<Fault['kind'], number>();
  /** What waits for requests to strike. */
  const armed = new Map<Fault, readonly ArmedFault[]>();
  let checkpoints: number[] = [];
  let begun = 0;
  /** What takes time and is no business of the server goes on beside the churn, one after the other. */
  let background: Promise<void> = Promise.resolve();
  let failure: unknown;

  function later(work: () => unknown): void {
    background = background.then(work).then(
      () => undefined,
      (error) => {
        failure ??= error;
      },
    );
  }

  function opens(kind: Fault['kind']): boolean {
    const count = (open.get(kind) ?? 0) + 1;
    open.set(kind, count);
    return count === 1;
  }

  function closes(kind: Fault['kind']): boolean {
    const count = (open.get(kind) ?? 0) - 1;
    open.set(kind, count);
    return count === 0;
  }

  const streams = (resources: readonly ResourceName[]) =>
    server.watches().filter(({ resource }) => (resources as readonly string[]).includes(resource));

  function compact(): void {
    server.compact();
    checkpoints = [];
  }

  async function up(with_: Extract<Fault, { kind: 'server restart' }>['with']): Promise<void> {
    const [oldest] = checkpoints;
    const options: Omit<RestartOptions, 'how'> =
      with_ === 'lower versions'
        ? { lowerResourceVersion: true }
        : with_ === 'a backup' && oldest !== undefined
          ? { restoreTo: oldest }
          : {};
    // Versions that were counted before mean nothing, or something else, from now on.
    if (with_ !== 'the same') checkpoints = [];
    await server.up(options);
  }

  async function begin(fault: Fault): Promise<void> {
    switch (fault.kind) {
      case 'answers':
        armed.set(
          fault,
          fault.resources.map((resource) =>
            server.faults.add(fault.fault, { resource, verb: ['list', 'watch'] }, fault.times),
          ),
        );
        if (fault.whole) compact();
        for (const stream of streams(fault.resources)) stream.end();
        return;
      case 'streams':
        for (const stream of streams(fault.resources)) stream[fault.how]();
        return;
      case 'half-open':
        for (const stream of streams(fault.resources)) stream.freeze();
        return;
      case 'compaction':
        compact();
        for (const stream of streams(RESOURCES)) stream.close();
        return;
      case 'server restart':
        if (opens(fault.kind)) await server.down(fault.how);
        return;
      case 'stalled handshakes':
        if (opens(fault.kind)) server.stallHandshakes(true);
        server.dropConnections('close');
        return;
      case 'blackhole':
        if (opens(fault.kind)) await targets.blackhole(true);
        return;
      case 'token':
        if (fault.late) access.expireToken();
        else access.newToken();
        return;
      case 'server certificate':
        access.newServerCertificate(fault.newAuthority);
        server.dropConnections('close');
        return;
      case 'client certificate':
        if (opens(fault.kind)) access.useCertificate(true);
        return;
      case 'configuration':
        return configuration.begin(fault.edit);
      case 'vandalism':
        return later(() => kernel.vandalize(fault.act));
      case 'proxy restart': {
        const { act, signal } = fault;
        later(() => daemon.stop(signal));
        if (act !== undefined) later(() => kernel.vandalize(act));
      }
    }
  }

  async function end(fault: Fault): Promise<void> {
    switch (fault.kind) {
      case 'answers':
        for (const one of armed.get(fault) ?? []) one.remove();
        armed.delete(fault);
        return;
      case 'half-open':
        server.dropConnections('reset');
        return;
      case 'server restart':
        if (closes(fault.kind)) await up(fault.with);
        return;
      case 'stalled handshakes':
        if (closes(fault.kind)) server.stallHandshakes(false);
        return;
      case 'blackhole':
        if (closes(fault.kind)) await targets.blackhole(false);
        return;
      case 'token':
        if (fault.late) access.newToken();
        return;
      case 'server certificate':
        if (fault.newAuthority) access.publishAuthority();
        return;
      case 'client certificate':
        if (closes(fault.kind)) access.useCertificate(false);
        return;
      case 'configuration':
        return configuration.end(fault.edit);
      case 'proxy restart':
        later(() => daemon.start());
        return;
      // The others are over by themselves.
      default:
        return;
    }
  }

  return {
    step(number) {
      if (number % CHECKPOINT_STEPS !== 0) return;
      checkpoints.push(server.resourceVersion());
      if (checkpoints.length > CHECKPOINTS) checkpoints.shift();
    },
    async begin({ fault }) {
      begun++;
      await begin(fault);
    },
    end: ({ fault }) => end(fault),
    async off() {
      server.faults.clear();
      await background;
      if (failure !== undefined) throw failure;
      daemon.start();
    },
    begun: () => begun,
  };
}
