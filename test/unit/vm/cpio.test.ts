import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { cpioArchive, type Entry } from '../../vm/cpio.ts';

const test = suite('cpio archives');
const archive = (...entries: readonly Entry[]) => Buffer.concat([...cpioArchive(entries)]);
const file = (path: string, content: string, executable = false): Entry => ({
  path,
  kind: 'file',
  executable,
  content: () => Buffer.from(content),
});

interface Record {
  readonly name: string;
  readonly mode: number;
  readonly content: string;
}

/** As the kernel's init/initramfs.c goes through it. */
function records(bytes: Buffer): readonly Record[] {
  const found: Record[] = [];
  for (let at = 0; ; ) {
    assert.is(bytes.toString('latin1', at, at + 6), '070701', `no record at ${at}`);
    const field = (index: number) =>
      Number.parseInt(bytes.toString('latin1', at + 6 + index * 8, at + 14 + index * 8), 16);
    const [mode, size, nameLength] = [field(1), field(6), field(11)];
    const name = bytes.toString('utf8', at + 110, at + 110 + nameLength - 1);
    assert.is(bytes[at + 110 + nameLength - 1], 0);
    const content = (at + 110 + nameLength + 3) & ~3;
    if (name === 'TRAILER!!!') return found;
    found.push({ name, mode, content: bytes.toString('utf8', content, content + size) });
    at = (content + size + 3) & ~3;
  }
}

test('are of the form that the kernel unpacks, byte by byte', () => {
  const expected =
    '070701' + // magic
    '00000001' + // inode
    '000081ed' + // a file, 0755
    '00000000' + // user
    '00000000' + // group
    '00000001' + // links
    '00000000' + // time
    '00000003' + // size
    '00000000'.repeat(4) + // devices
    '00000005' + // length of the name, its NUL included
    '00000000' + // check, unused
    'init\0\0' + // with the 110 bytes before it a multiple of 4
    'hi\n\0';
  const bytes = archive(file('init', 'hi\n', true));
  assert.is(bytes.toString('latin1', 0, expected.length), expected);
});

test('give back names, modes and contents, and folders before what is in them, once', () => {
  const bytes = archive(
    { path: 'dev', kind: 'folder' },
    file('a/b/c', 'one'),
    file('a/b/dé', ''),
    { path: 'a/sh', kind: 'link', target: 'b/c' },
    { path: 'a', kind: 'folder' },
  );
  assert.equal(records(bytes), [
    { name: 'dev', mode: 0o040755, content: '' },
    { name: 'a', mode: 0o040755, content: '' },
    { name: 'a/b', mode: 0o040755, content: '' },
    { name: 'a/b/c', mode: 0o100644, content: 'one' },
    { name: 'a/b/dé', mode: 0o100644, content: '' },
    { name: 'a/sh', mode: 0o120777, content: 'b/c' },
  ]);
});

test('can follow one another: each ends where the next may begin', () => {
  for (let length = 0; length < 9; length++) {
    const bytes = archive(file('x'.repeat(length + 1), 'y'.repeat(length)));
    assert.is(bytes.length % 512, 0);
    assert.equal(
      records(bytes).map(({ content }) => content),
      ['y'.repeat(length)],
    );
  }
});

test('hold equal bytes for equal entries, whenever they are made', () => {
  const entries = [file('a/b', 'x'), file('c', 'y')];
  assert.ok(archive(...entries).equals(archive(...entries)));
});

test('take no absolute path, which would be another one in the machine than it says', () => {
  assert.throws(() => archive(file('/init', '')), 'leave out the "/"');
});

test('read a file only when its turn comes', () => {
  let read = 0;
  const lazy: Entry = {
    path: 'a',
    kind: 'file',
    content: () => {
      read++;
      return Buffer.from('x');
    },
  };
  const pieces = cpioArchive([file('first', ''), lazy]);
  pieces.next();
  assert.is(read, 0);
  assert.ok([...pieces].length > 0);
  assert.is(read, 1);
});

test.run();
