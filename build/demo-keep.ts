/**
 * `--keep`: the world stays, the program runs in it again, and whoever wants can go and look. From another terminal
 * there is one way in: the namespaces of this process, whose id out there it first has to find.
 *
 *   other terminal ──nsenter --target ID──▶ private mounts and PIDs ──nsenter --net=/run/netns/NAME──▶ a namespace
 */
import { spawnSync } from 'node:child_process';
import { readlinkSync } from 'node:fs';
import { MANIFESTS } from './demo-manifests.ts';
import type { Scenes } from './demo-scenes.ts';
import { insideIsolation } from './isolate.ts';

const MARK = 'KUBE_PROXY_DEMO_USER_NAMESPACE';

/** Before isolation: which user namespace the other terminals are in. */
export function rememberUserNamespace(): void {
  if (!insideIsolation()) process.env[MARK] = readlinkSync('/proc/self/ns/user');
}

/** Runs the program again, says how to look around, and returns when it was told to end. */
export async function keepWorld({ world, program }: Scenes, print: (line: string) => void): Promise<void> {
  const ended = new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, resolve);
  });
  await program.start();
  for (const line of hints(world.namespaces)) print(line);
  const awake = setInterval(() => undefined, 60_000);
  await ended;
  clearInterval(awake);
  print('');
}

function hints(namespaces: readonly string[]): readonly string[] {
  const first = ['', 'kube-proxy runs again, and this world stays until Ctrl-C. What kube-proxy logs follows here.'];
  const id = outerProcessId();
  if (id === undefined) return [...first, 'Its process id cannot be told; look for the last "build/demo.ts" in ps.'];
  const foreign = process.env[MARK] !== readlinkSync('/proc/self/ns/user');
  const user = foreign ? '--user --preserve-credentials ' : '';
  return [
    ...first,
    'To enter a namespace, from another terminal of the same user:',
    ...namespaces.map((name) => `  nsenter -t ${id} ${user}--mount --pid nsenter --net=/run/netns/${name} bash`),
    'To edit the manifests:',
    `  cd /proc/${id}/root${MANIFESTS}`,
  ];
}

/**
 * This process's id as the world outside counts; undefined if it cannot be told. The /proc that was there before is
 * still mounted below the private one: a shell that takes the upper one away sees itself, and its parent, by their
 * outer ids.
 */
function outerProcessId(): number | undefined {
  const script =
    'umount /proc && while read -r key value; do [ "$key" = PPid: ] && echo "$value"; done < /proc/self/status';
  const { stdout } = spawnSync('unshare', ['--mount', 'sh', '-c', script], { encoding: 'utf8' });
  const id = Number((stdout ?? '').trim());
  return Number.isInteger(id) && id > 0 ? id : undefined;
}
