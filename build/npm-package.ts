/**
 * Files of npm packages for another architecture than this machine's: npm installs only those that fit, so that a
 * cross build fetches the others itself, in the very version and with the digest that package-lock.json has.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import lock from '../package-lock.json' with { type: 'json' };

const ROOT = join(import.meta.dirname, '..');
const CACHE = join(ROOT, 'node_modules', '.cache', 'packages');

interface Locked {
  readonly version: string;
  readonly integrity: string;
}

/** The folder of this package; fetched if it is not installed. Throws if it cannot be had. */
export function npmPackage(name: string): string {
  const installed = join(ROOT, 'node_modules', name);
  const { version, integrity } = locked(name);
  if (existsSync(join(installed, 'package.json'))) return installed;
  const folder = join(CACHE, `${name.replace('/', '+')}-${version}`);
  if (existsSync(folder)) return folder;

  const scratch = `${folder}.${process.pid}`;
  mkdirSync(scratch, { recursive: true });
  try {
    console.error(`fetching ${name} ${version} from npm`);
    const packed = execFileSync('npm', ['pack', '--silent', '--pack-destination', scratch, `${name}@${version}`], {
      encoding: 'utf8',
      cwd: scratch,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const archive = join(scratch, packed.trim().split('\n').at(-1) ?? '');
    const [algorithm = '', expected] = integrity.split(/-(.*)/s);
    const found = createHash(algorithm).update(readFileSync(archive)).digest('base64');
    if (found !== expected) throw new Error(`${name} ${version} has another digest than package-lock.json says`);
    execFileSync('tar', ['-xzf', archive, '-C', scratch, '--no-same-owner']);
    if (!existsSync(folder)) renameSync(join(scratch, 'package'), folder);
    return folder;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** As package-lock.json has it, whatever the platform. */
export function locked(name: string): Locked {
  const packages: Readonly<Record<string, Partial<Locked>>> = lock.packages;
  const { version, integrity } = packages[`node_modules/${name}`] ?? {};
  if (version === undefined || integrity === undefined) throw new Error(`package-lock.json has no ${name}`);
  return { version, integrity };
}
