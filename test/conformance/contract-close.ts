/** Behaviours of close(), and of what a backend does to the process that it lives in. */
import { type Behaviour, broken, doubtful, isVerdict, sayThrown } from './behaviour.ts';
import { LISTENER } from './evidence.ts';
import type { Listener } from './listeners.ts';
import { liveResources, resourcesBeyond } from './process-watch.ts';
import { full, partial } from './sample-cluster.ts';
import {
  difference,
  eachFamily,
  eventually,
  type Instance,
  needsSight,
  sameLines,
  synced,
  type Trial,
} from './trial.ts';

/** What was closed may take so long to be gone. */
const SETTLE_MS = 1000;

export const CLOSE_BEHAVIOURS: readonly Behaviour[] = [
  {
    id: 'close',
    needs: ['sync'],
    sentence: 'close() resolves in time',
    contract: 'Backend.close(): "Stop timers, listeners and children within five seconds."',
    remedy: 'end children and listeners with a limit of your own; wait for nothing that may never come',
    async try(trial) {
      const instance = await synced(trial, ({ few }) => few);
      try {
        await instance.close();
      } catch (error) {
        trial.facts.hangs = true;
        if (isVerdict(error)) throw error;
        throw broken('close() to resolve', `a rejection: ${sayThrown(error)}`);
      }
      return undefined;
    },
  },
  {
    id: 'close-leaves-nothing',
    needs: ['close'],
    sentence: 'close() stops timers, listeners and children',
    contract: 'Backend.close(): "Stop timers, listeners and children within five seconds."',
    remedy:
      'keep what clearInterval, server.close and the functions that Host.clock.after returned need, and call them',
    async try(trial) {
      await trial.subject.process.settle();
      const before = liveResources();
      const instance = await synced(trial, ({ few }) => few);
      await eachFamily(trial, instance, async ({ few, moved }) => void (await instance.sync(partial(few, moved))));
      const { watched } = instance;
      await instance.close();
      const left = (): readonly string[] => [
        ...resourcesBeyond(before),
        ...(watched.waiting > 0 ? [`${watched.waiting} callbacks of Host.clock`] : []),
        ...(watched.children.size > 0 ? [`${watched.children.size} programs started with Host.spawn`] : []),
      ];
      if (!(await eventually(() => left().length === 0, SETTLE_MS))) {
        throw broken('nothing left that keeps the process alive', left().join(', '));
      }
      return undefined;
    },
  },
  {
    id: 'close-keeps-rules',
    needs: ['close', 'cleanup'],
    sentence: 'After close() the data plane stays as it is',
    contract: 'Backend.close(): "The data plane stays as it is: rules outlive the process."',
    remedy: 'remove what you programmed in cleanup() only',
    async try(trial) {
      needsSight(trial);
      const instance = await trial.open();
      const listened = new Set(trial.evidence.listening().map(({ name }) => name));
      await eachFamily(trial, instance, async ({ few }) => void (await instance.sync(full(few))));
      const serving = trial.evidence.listening().filter(({ name }) => !listened.has(name));
      const before = await trial.evidence.look();
      await instance.close();
      const after = await trial.evidence.look();
      const [was = [], is = []] = [before, after].map((lines) => lines.filter((line) => !line.startsWith(LISTENER)));
      const { leavesHostAlone, endsWithProcess } = trial.subject.plugin;
      // Rules that lead to what is no more are better gone.
      if (endsWithProcess) return { note: 'its data plane ends with it, as it says' };
      if (!sameLines(is, was)) throw broken('the kernel as it was', difference(was, is));
      const gone = serving.filter(({ name }) => !after.includes(`${LISTENER}${name}`));
      if (gone.length > 0 && !leavesHostAlone) throw goneWithIt(trial, instance, gone);
      return undefined;
    },
  },
  {
    id: 'close-twice',
    needs: ['close'],
    sentence: 'close() again resolves',
    contract: 'Backend.close()',
    remedy: 'what is stopped need not be stopped',
    async try(trial) {
      const instance = await synced(trial, ({ few }) => few);
      await trial.within('close()', () => instance.backend.close(), trial.subject.limits.closeMs);
      try {
        await instance.close();
      } catch (error) {
        throw doubtful('nothing more to happen', sayThrown(error));
      }
      return undefined;
    },
  },
  {
    id: 'metrics-back',
    needs: ['close'],
    sentence: 'close() takes back the metrics that it registered',
    contract: 'PluginMetrics.register(): "which the plugin does at the latest in `close`"',
    remedy: 'keep the functions that Host.metrics.register returned, and call them in close()',
    async try(trial) {
      const instance = await synced(trial, ({ few }) => few);
      await instance.close();
      const { metrics, everMetrics } = instance.watched;
      if (everMetrics.length === 0) return { note: 'it registers none' };
      if (metrics.size > 0) throw broken('none left', [...metrics].map(({ name }) => name).join(', '));
      return undefined;
    },
  },
];

/** Judged by all that happened while the others were tried; these come last. */
export const PROCESS_BEHAVIOURS: readonly Behaviour[] = [
  {
    id: 'no-leaks',
    needs: ['create'],
    sentence: 'No rejection and no exception escapes',
    contract: 'Backend: what goes wrong in a call rejects that call',
    remedy: 'await or catch every promise; catch what callbacks of timers, sockets and children throw',
    async try({ subject }) {
      await subject.process.settle();
      const { leaks } = subject.process;
      if (leaks.length > 0) throw broken('none', some(leaks));
      return undefined;
    },
  },
  {
    id: 'no-exit',
    needs: ['create'],
    sentence: 'The process is not ended',
    contract: 'Conventions: "A plugin shares the process with the core. Calls that end or change all of it … throw"',
    remedy: 'throw instead of calling process.exit()',
    async try({ subject }) {
      const { exits } = subject.process;
      if (exits.length > 0) throw broken('no call of process.exit()', some(exits));
      return undefined;
    },
  },
  {
    id: 'no-output',
    needs: ['create'],
    sentence: 'Nothing is written to standard output',
    contract: 'Host.log: where a plugin says what it has to say',
    remedy: 'use host.log instead of console.log',
    async try({ subject }) {
      const { outputs } = subject.process;
      if (subject.plugin.leavesHostAlone) return { note: 'it programs nothing of this host, and may print instead' };
      if (outputs.length > 0) throw broken('nothing', some(outputs));
      return undefined;
    },
  },
];

/** Sockets that served are told from those that belong to the backend's own affairs by their ports. */
function goneWithIt(trial: Trial, { families }: Instance, gone: readonly Listener[]): Error {
  const ports = new Set(
    families.flatMap((family) => trial.states(family).few.ports.flatMap(({ port, nodePort }) => [port, nodePort])),
  );
  const serves = gone.some(({ port }) => ports.has(port));
  const expected = serves ? 'whatever serves connections to go on' : 'sockets that came with sync() to stay';
  const seen = `gone with close(): ${some(gone.map(({ name }) => name))}`;
  return serves ? broken(expected, seen, LISTENER_REMEDY) : doubtful(expected, seen, DOUBTFUL_REMEDY);
}

const LISTENER_REMEDY =
  'listeners in this process, and programs of Host.spawn, end with kube-proxy, and each restart refuses connections: let rules in the kernel serve, or a daemon of its own that goes on without kube-proxy';
const DOUBTFUL_REMEDY =
  'if connections pass through them, let a daemon of its own hold them; if not, this is as it should be';

function some(list: readonly string[]): string {
  const shown = [...new Set(list)];
  return shown.slice(0, 3).join('; ') + (shown.length > 3 ? `; and ${shown.length - 3} more` : '');
}
