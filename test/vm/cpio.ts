/**
 * The "newc" form of cpio, which is what the kernel unpacks as its first file system (the kernel's
 * Documentation/driver-api/early-userspace/buffer-format.rst). Archives may follow one another: later ones add files.
 *
 *   "070701" inode mode uid gid links mtime size devices… name-length check   each 8 hexadecimal digits
 *   name NUL, zeros up to a multiple of 4 │ content, zeros up to a multiple of 4 │ … │ the entry "TRAILER!!!"
 *
 * Everything belongs to root and is of the year 1970, so that equal entries make equal archives.
 */

export type Entry =
  | { readonly path: string; readonly kind: 'folder' }
  | { readonly path: string; readonly kind: 'link'; readonly target: string }
  /** Read when its turn comes, so that an archive need not be held in memory. */
  | { readonly path: string; readonly kind: 'file'; readonly executable?: boolean; readonly content: () => Buffer };

const [S_IFDIR, S_IFREG, S_IFLNK] = [0o040000, 0o100000, 0o120000];
/** What follows an archive must begin at a multiple of 4; tapes had 512. */
const BLOCK = 512;
const EMPTY = Buffer.alloc(0);

/** The archive in pieces. Paths are relative; folders above an entry are made when nothing made them before. */
export function* cpioArchive(entries: Iterable<Entry>): Generator<Buffer> {
  const folders = new Set<string>();
  let [inode, length] = [0, 0];
  const record = function* (path: string, mode: number, content: Buffer): Generator<Buffer> {
    inode++;
    for (const piece of [head(path, mode, content.length, inode), content, zeros(content.length, 4)]) {
      length += piece.length;
      yield piece;
    }
  };
  const folder = function* (path: string): Generator<Buffer> {
    if (path === '' || folders.has(path)) return;
    yield* folder(above(path));
    folders.add(path);
    yield* record(path, S_IFDIR | 0o755, EMPTY);
  };
  for (const entry of entries) {
    if (entry.path.startsWith('/'))
      throw new Error(`an entry of an archive is called ${entry.path}: leave out the "/"`);
    if (entry.kind === 'folder') yield* folder(entry.path);
    else {
      yield* folder(above(entry.path));
      if (entry.kind === 'link') yield* record(entry.path, S_IFLNK | 0o777, Buffer.from(entry.target));
      else yield* record(entry.path, S_IFREG | (entry.executable ? 0o755 : 0o644), entry.content());
    }
  }
  yield* record('TRAILER!!!', 0, EMPTY);
  yield zeros(length, BLOCK);
}

function above(path: string): string {
  return path.slice(0, Math.max(path.lastIndexOf('/'), 0));
}

function head(path: string, mode: number, size: number, inode: number): Buffer {
  const name = Buffer.from(`${path}\0`);
  // inode, mode, uid, gid, links, mtime, size, device (major, minor), its own device (major, minor), name, check
  const fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name.length, 0];
  const text = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
  return Buffer.concat([Buffer.from(text), name, zeros(text.length + name.length, 4)]);
}

function zeros(length: number, multiple: number): Buffer {
  return Buffer.alloc((multiple - (length % multiple)) % multiple);
}
