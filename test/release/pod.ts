/**
 * A container of one of our manifests as a node would run it, without a container runtime: its command in a root of its
 * own, with the mounts, the user and the capabilities that the manifest says, and no others. In place of the image there
 * are this host's folders and, as /usr/local/bin/kube-proxy, the packed program, or this one from its sources
 * (program.ts says which).
 *
 *   unshare --mount ─▶ root on a tmpfs: /usr … read-only, volumes, /proc and /sys as a runtime mounts them
 *                 ─▶ chroot ─▶ setpriv (user, bounding set, no_new_privs) ─▶ the container's command
 *
 * Only to be used in private namespaces (netns/isolated.ts), and as root. It stays in the network namespace of the test,
 * which is the node's. What is not here: seccomp, resources, probes.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Container, DaemonSet, SecurityContext, Volume } from '../unit/release/manifests.ts';
import { program, ROOT } from './program.ts';

const ACCOUNT = 'run/secrets/kubernetes.io/serviceaccount';

export interface PodOptions {
  readonly object: DaemonSet;
  /** Data by name of the ConfigMap. */
  readonly configMaps: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly nodeName: string;
  /** Becomes /var/run/secrets/kubernetes.io/serviceaccount. */
  readonly serviceAccount: string;
  /** What the kubelet adds. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface Pod {
  /** Start one of its containers. `capabilities`: in place of those that the manifest adds. */
  start(container: string, options?: SpawnOptions, capabilities?: readonly string[]): ChildProcess;
  /** As the kubelet does after an edit: the files change all at once. */
  editConfigMap(name: string, data: Readonly<Record<string, string>>): void;
  /** Once its containers have ended. */
  remove(): void;
}

export function createPod({ object, configMaps, nodeName, serviceAccount, env = {} }: PodOptions): Pod {
  const { spec } = object.spec.template;
  const folder = mkdtempSync(join(tmpdir(), 'pod-'));
  const root = join(folder, 'root');
  mkdirSync(root);
  const { isPacked, file } = program();
  const executable = isPacked ? file : join(folder, 'kube-proxy');
  // Where the root that is made below has them.
  const standIn = '#!/bin/sh\nexec /opt/node/node /opt/kube-proxy/core/main.ts "$@"\n';
  if (!isPacked) writeFileSync(executable, standIn, { mode: 0o755 });
  for (const [name, data] of Object.entries(configMaps)) writeVolume(join(folder, `configmap-${name}`), data);

  function mount(volume: Volume, at: string, readOnly: boolean): readonly string[] {
    const target = `${root}${at}`;
    const bind = (from: string, isFile: boolean, writable: boolean) => [
      `mkdir -p ${quote(isFile ? dirname(target) : target)}`,
      ...(isFile ? [`touch ${quote(target)}`] : []),
      `mount --bind ${quote(from)} ${quote(target)}`,
      ...(writable ? [] : [`mount -o remount,bind,ro ${quote(target)}`]),
    ];
    if (volume.configMap) return bind(join(folder, `configmap-${volume.configMap.name}`), false, false);
    if (volume.emptyDir) {
      // "16Mi" is "16m" to mount(8).
      const size = volume.emptyDir.sizeLimit?.replace(/i$/, '').toLowerCase() ?? '100%';
      return [`mkdir -p ${quote(target)}`, `mount -t tmpfs -o mode=777,size=${size} tmpfs ${quote(target)}`];
    }
    if (!volume.hostPath) throw new Error(`volume ${volume.name} is of a kind that is not known here`);
    const { path, type } = volume.hostPath;
    if (type === 'FileOrCreate') {
      if (!existsSync(path)) writeFileSync(path, '', { mode: 0o644 });
      return bind(path, true, !readOnly);
    }
    return existsSync(path) ? bind(path, false, !readOnly) : [];
  }

  function script({ securityContext, volumeMounts = [] }: Container, privileged: boolean): string {
    const volumes = [...volumeMounts]
      .sort((a, b) => (a.mountPath < b.mountPath ? -1 : 1))
      .flatMap((each) => {
        const volume = spec.volumes?.find(({ name }) => name === each.name);
        if (!volume) throw new Error(`there is no volume ${each.name} for ${each.mountPath}`);
        return mount(volume, each.mountPath, each.readOnly === true);
      });
    const readOnly = (path: string) => `mount -o remount,bind,ro ${quote(join(root, path))}`;
    return [
      'set -e',
      `mount -t tmpfs -o mode=755 tmpfs ${quote(root)}`,
      `cd ${quote(root)}`,
      'mkdir -p usr opt/kube-proxy opt/node proc sys dev run tmp var/lib',
      'ln -s ../run var/run',
      // Links on systems with a merged /usr.
      'for each in bin sbin lib lib64; do [ -e /$each ] && cp -a /$each . ; done',
      'cp -a /etc .',
      'mount --bind /usr usr',
      readOnly('usr'),
      'mount -t tmpfs -o mode=755 tmpfs usr/local',
      `mkdir usr/local/bin && cp ${quote(executable)} usr/local/bin/kube-proxy`,
      readOnly('usr/local'),
      `mount --bind ${quote(ROOT)} opt/kube-proxy`,
      readOnly('opt/kube-proxy'),
      `mount --bind ${quote(dirname(process.execPath))} opt/node`,
      readOnly('opt/node'),
      'mount --rbind /dev dev',
      // As in containers, where nothing can be run from there.
      'mount -t tmpfs -o noexec,nosuid,nodev tmpfs dev/shm',
      'mount -t proc proc proc',
      'mount -t sysfs sysfs sys',
      ...(privileged ? [] : ['mount --bind proc/sys proc/sys', readOnly('proc/sys'), readOnly('sys')]),
      `mkdir -p ${ACCOUNT}`,
      `mount -t tmpfs -o mode=755 tmpfs ${ACCOUNT}`,
      `cp -r ${quote(serviceAccount)}/. ${ACCOUNT}`,
      // Its files belong to the pod's user, who alone may read the token.
      `chown -R ${spec.securityContext?.runAsUser ?? 0} ${ACCOUNT}`,
      readOnly(ACCOUNT),
      ...volumes,
      // What the kubelet gives to pods of this class; not every host lets us.
      ...(spec.priorityClassName === 'system-node-critical'
        ? ['echo -997 2>/dev/null >/proc/self/oom_score_adj || true']
        : []),
      ...(securityContext?.readOnlyRootFilesystem ? [readOnly('')] : []),
      'exec "$@"',
    ].join('\n');
  }

  return {
    start(name, options = {}, capabilities) {
      const container = [...(spec.initContainers ?? []), ...spec.containers].find((each) => each.name === name);
      if (!container) throw new Error(`there is no container ${name} in ${object.metadata.name}`);
      const security = { ...spec.securityContext, ...container.securityContext };
      const expand = (word: string): string => word.replaceAll('$(NODE_NAME)', nodeName);
      const command = ['chroot', root, ...setpriv(security, capabilities), ...container.command.map(expand)];
      const { privileged = false } = security;
      return spawn('unshare', ['--mount', 'sh', '-c', script(container, privileged), 'sh', ...command], {
        ...options,
        env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', NODE_NAME: nodeName, ...env },
      });
    },
    editConfigMap: (name, data) => writeVolume(join(folder, `configmap-${name}`), data),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** The words before a command that give it what the security context leaves it. */
function setpriv(security: SecurityContext, instead: readonly string[] | undefined): readonly string[] {
  const { privileged, runAsUser = 0, runAsGroup = 0, allowPrivilegeEscalation, capabilities } = security;
  if (privileged) return [];
  if (!capabilities?.drop?.includes('ALL')) throw new Error("a container that keeps its runtime's capabilities");
  const added = instead ?? capabilities.add ?? [];
  const bounding = ['-all', ...added.map((name) => `+${name.toLowerCase()}`)].join(',');
  return [
    'setpriv',
    ...(allowPrivilegeEscalation === false ? ['--no-new-privs'] : []),
    ...['--inh-caps=-all', '--ambient-caps=-all', `--bounding-set=${bounding}`],
    ...(runAsUser === 0 ? [] : [`--reuid=${runAsUser}`, `--regid=${runAsGroup}`, '--clear-groups']),
    '--',
  ];
}

let generations = 0;

/** The files of a ConfigMap as the kubelet lays them out, in a folder that is open to all, as its folders are. */
function writeVolume(folder: string, data: Readonly<Record<string, string>>): void {
  const generation = `..2026_01_01_00_00_00.${++generations}`;
  mkdirSync(join(folder, generation), { recursive: true });
  chmodSync(folder, 0o1777);
  for (const [name, text] of Object.entries(data)) {
    writeFileSync(join(folder, generation, name), text, { mode: 0o644 });
    if (!existsSync(join(folder, name))) symlinkSync(join('..data', name), join(folder, name));
  }
  symlinkSync(generation, join(folder, '..data_tmp'));
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
}

function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
