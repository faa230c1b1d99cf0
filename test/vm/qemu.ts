/**
 * A virtual machine, by software emulation: an ordinary process with no network and no disk. It ends by itself when
 * its job is done, and with this process however that ends.
 *
 *   serial line  ──▶ `console`        what the kernel says
 *   virtio port  ◀─▶ `say`, `said`    what the job is told, and says
 */
import { spawn } from 'node:child_process';
import { appendFileSync, copyFileSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex, Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { administratorPath } from '../../build/packages.ts';
import { cpioArchive, type Entry } from './cpio.ts';
import type { Image } from './image.ts';

const MEGABYTES = 3072;
/** Of the kernel's messages, for the report when it dies. */
const LAST_LINES = 80;

/** A kernel and all files, ready to be started as often as one likes. */
export interface Bootable {
  readonly kernel: string;
  /** Descriptor of a file without a name, so that nothing is left of it. */
  readonly initrd: number;
}

export interface Start {
  readonly limitMs: number;
  /** The job's output as it comes. */
  readonly said: (text: string) => void;
  /** The serial line is this process's terminal, for a shell. */
  readonly interactive?: boolean;
}

export interface Machine {
  /** To the job, which must have said something before. */
  say(text: string): void;
  readonly ended: Promise<MachineEnd>;
}

export interface MachineEnd {
  readonly timedOut: boolean;
  /** The last lines on the serial line, and what QEMU itself said. */
  readonly console: string;
}

/** The image's files and these entries over them. */
export function bootable(image: Image, entries: Iterable<Entry>): Bootable {
  const scratch = mkdtempSync(join(tmpdir(), 'kube-proxy-vm-'));
  const path = join(scratch, 'initrd');
  try {
    copyFileSync(image.base, path);
    appendFileSync(path, Buffer.concat([...cpioArchive(entries)]));
    return { kernel: image.kernel, initrd: openSync(path, 'r') };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** `ended` is rejected only if there is no QEMU to run. */
export function startMachine({ kernel, initrd }: Bootable, { limitMs, said, interactive = false }: Start): Machine {
  const terminal = interactive ? 'inherit' : 'pipe';
  const command = ['--pdeathsig', 'KILL', '--', 'qemu-system-x86_64', ...options(kernel, interactive)];
  const child = spawn('setpriv', command, {
    stdio: [interactive ? 'inherit' : 'ignore', terminal, terminal, initrd, 'pipe'],
    env: { ...process.env, PATH: administratorPath() },
  });
  let [timedOut, log] = [false, ''];
  for (const stream of [child.stdout, child.stderr] as readonly (Readable | null)[]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      log = (log + text).split('\n').slice(-LAST_LINES).join('\n');
    });
  }
  const port = child.stdio[4] as Duplex;
  const decoder = new StringDecoder('utf8');
  port.on('data', (bytes: Buffer) => said(decoder.write(bytes)));
  // Reset when QEMU ends, which its exit tells.
  port.on('error', () => undefined);
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill('SIGKILL');
  }, limitMs);
  const ended = new Promise<MachineEnd>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', () => resolve({ timedOut, console: log }));
  }).finally(() => clearTimeout(timer));
  return { say: (text) => void port.write(text), ended };
}

function options(kernel: string, interactive: boolean): readonly string[] {
  const words = [
    'console=ttyS0',
    interactive ? 'loglevel=5' : 'quiet',
    // A panic restarts at once, which -no-reboot makes an end.
    'oops=panic',
    'panic=-1',
    'mitigations=off',
    // Emulated, it is the host's own. Otherwise the kernel goes by a timer of which each reading leaves the machine.
    'tsc=reliable',
  ];
  return [
    // Without memory protection keys: V8 uses them, and each change flushes the emulator's whole TLB.
    ...['-accel', 'tcg,thread=multi', '-smp', '2', '-cpu', 'max,-pku', '-m', String(MEGABYTES)],
    ...['-nodefaults', '-display', 'none', '-no-reboot', '-serial', interactive ? 'mon:stdio' : 'stdio'],
    ...['-device', 'virtio-serial-pci', '-chardev', 'socket,id=job,fd=4', '-device', 'virtserialport,chardev=job'],
    ...['-kernel', kernel, '-initrd', '/dev/fd/3', '-append', words.join(' ')],
  ];
}
