/**
 * The first code of a thread: makes its `ThreadHost`, imports its module, and calls it. Whatever goes wrong ends the
 * thread with that error, of which the other end tells (thread.ts).
 *
 * The rule of who may change a plugin's files holds for what is imported here, too: import hooks are a thread's own.
 */
import { parentPort, workerData } from 'node:worker_threads';
import type { ThreadHost, ThreadMain } from '../backend.ts';
import { createOriginalFlows, openFlowSocket } from '../netlink/original-flow.ts';
import type { Transport } from '../netlink/transport.ts';
import { pluginFault } from '../plugin/fault.ts';
import { guard } from '../plugin/guard.ts';
import { importFile } from '../plugin/importer.ts';
import { loadFault } from '../plugin/load-fault.ts';
import { createSocketFacts } from './socket-facts.ts';
import { importBuiltIn } from './thread-code.ts';
import { type FromThread, postTo, type ThreadStart } from './thread-messages.ts';

const port = parentPort!;
const { module, name, data } = workerData as ThreadStart;
const tell = (what: FromThread): void => port.postMessage(what);

// Node.js would write lines of its own among ours.
process.removeAllListeners('warning');
process.on('warning', (warning) => tell({ kind: 'warning', name: warning.name, text: warning.message }));

let listener: ((message: unknown) => void) | undefined;

const host: ThreadHost = {
  post: (message) => postTo(port, name, { kind: 'message', message } satisfies FromThread),
  onMessage(listen) {
    const isFirst = listener === undefined;
    listener = listen;
    // From here on messages come, and the thread stays for them.
    if (isFirst) port.on('message', (message: unknown) => listener?.(message));
  },
  sockets: createSocketFacts(createOriginalFlows(openReported)),
};

/** Its descriptor is none of Node.js's, which would otherwise close it with the thread. */
function openReported(): Transport {
  const socket = openFlowSocket();
  const { descriptor } = socket;
  tell({ kind: 'opened', descriptor });
  return {
    ...socket,
    close() {
      tell({ kind: 'closed', descriptor });
      socket.close();
    },
  };
}

async function load(): Promise<unknown> {
  if ('builtIn' in module) return importBuiltIn(module.builtIn);
  const { path } = module;
  guard.admit(path);
  try {
    return await importFile(path);
  } catch (error) {
    throw loadFault(path, error, guard.filesOf(path));
  }
}

/** As `import()` shows CommonJS: `module.exports` is the default, and if it was made of an ES module has one itself. */
function mainOf(namespace: unknown): ThreadMain {
  let exported = namespace;
  for (let depth = 0; depth < 3; depth++) {
    if (typeof exported === 'function') return exported as ThreadMain;
    exported = typeof exported === 'object' && exported !== null ? Reflect.get(exported, 'default') : undefined;
  }
  throw pluginFault('KP_PLUGIN_LOAD', `${name}: its default export is no function; export the thread's main function`);
}

async function run(): Promise<void> {
  await mainOf(await load())(host, data);
}

// Not awaited at top level: the packed program is a CommonJS module. A rejection that nobody handles ends the thread.
void run();
