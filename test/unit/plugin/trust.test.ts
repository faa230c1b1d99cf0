/** Who may change a plugin's file: every combination of owner, group and bits that decides it. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { distrust, type Place } from '../../../core/plugin/trust.ts';

const test = suite('trust in a plugin file');

const place = (path: string, kind: Place['kind'], more: Partial<Place> = {}): Place => ({
  path,
  kind,
  uid: 0,
  gid: 0,
  mode: kind === 'file' ? 0o644 : 0o755,
  readOnly: false,
  ...more,
});
const ROOT = place('/', 'folder');
const chain = (folder: Partial<Place>, file: Partial<Place> = {}): readonly Place[] => [
  ROOT,
  place('/p', 'folder', folder),
  place('/p/acme.js', 'file', file),
];

test('what belongs to root and is written by nobody else is good', () => {
  assert.is(distrust(chain({}), 0), undefined);
  assert.is(distrust(chain({}), 1000), undefined);
});

/** Bits, group, what is to be done about it; for a file and for a folder alike. */
const MATRIX: readonly (readonly [mode: number, gid: number, remedy: string | undefined])[] = [
  [0o644, 0, undefined],
  [0o600, 1000, undefined],
  [0o755, 1000, undefined],
  [0o664, 0, 'chmod g-w'],
  [0o664, 1000, 'chmod g-w'],
  [0o620, 1000, 'chmod g-w'],
  [0o646, 0, 'chmod o-w'],
  [0o602, 1000, 'chmod o-w'],
  [0o666, 0, 'chmod go-w'],
  [0o666, 1000, 'chmod go-w'],
];
for (const [mode, gid, remedy] of MATRIX) {
  test(`bits ${mode.toString(8)} and group ${gid}: ${remedy ?? 'good'}`, () => {
    for (const [path, found] of [
      ['/p/acme.js', distrust(chain({}, { mode, gid }), 0)],
      ['/p', distrust(chain({ mode, gid }), 0)],
    ] as const) {
      if (remedy === undefined) assert.is(found, undefined);
      else assert.ok(found?.endsWith(` (${remedy} ${path})`), found);
    }
  });
}

test('the owner must be root or this user, of the file and of each folder', () => {
  assert.is(distrust(chain({ uid: 1000 }, { uid: 1000 }), 1000), undefined);
  assert.is(
    distrust(chain({}, { uid: 1000 }), 0),
    '/p/acme.js belongs to user 1000 and not to root (chown root /p/acme.js)',
  );
  assert.match(distrust(chain({ uid: 1000 }), 0) ?? '', /^\/p belongs to user 1000/);
  assert.match(distrust(chain({}, { uid: 1001 }), 1000) ?? '', /belongs to user 1001 and not to root or user 1000/);
});

test('in a sticky folder like /tmp only what is in it must be ours', () => {
  assert.is(distrust(chain({ mode: 0o1777 }), 0), undefined);
  assert.is(distrust(chain({ mode: 0o1777 }, { uid: 1000 }), 1000), undefined);
  assert.match(distrust(chain({ mode: 0o1777 }, { uid: 1000 }), 0) ?? '', /^\/p\/acme\.js belongs to user 1000/);
  assert.match(
    distrust(chain({ mode: 0o1777 }, { mode: 0o666 }), 0) ?? '',
    /^\/p\/acme\.js may be written by its group, 0, and every/,
  );
  assert.match(
    distrust(chain({ mode: 0o1777, uid: 1000 }), 0) ?? '',
    /^\/p belongs to user 1000/,
    'whose folder it is',
  );
  assert.match(distrust(chain({}, { mode: 0o1666 }), 0) ?? '', /chmod go-w/, 'a file cannot be sticky');
});

test('a link has no bits that count, and an owner that does', () => {
  const link = (more: Partial<Place>): readonly Place[] => [ROOT, place('/l.js', 'link', { mode: 0o777, ...more })];
  assert.is(distrust(link({}), 0), undefined);
  assert.match(distrust(link({ uid: 7 }), 0) ?? '', /^\/l\.js belongs to user 7/);
});

test('in a read-only mount, as of a ConfigMap, the bits of folders do not count, but those of files do', () => {
  assert.is(distrust(chain({ mode: 0o777, readOnly: true }), 0), undefined);
  assert.match(
    distrust(chain({ mode: 0o777, readOnly: true }, { mode: 0o666, readOnly: true }), 0) ?? '',
    /chmod go-w/,
  );
  assert.is.not(distrust(chain({ mode: 0o777, readOnly: true, uid: 1000 }), 0), undefined);
});

test('in a user namespace the owner of / stands for root on the way, but not for the file', () => {
  const way = [place('/', 'folder', { uid: 65534 }), place('/p', 'folder', { uid: 65534 })];
  assert.is(distrust([...way, place('/p/p.js', 'file')], 0), undefined);
  assert.is.not(distrust([...way, place('/p/p.js', 'file', { uid: 65534 })], 0), undefined);
  assert.is.not(distrust([ROOT, place('/p.js', 'file', { uid: 65534 })], 0), undefined);
});

test('every fault is told in one line, and a remedy can be pasted into a shell', () => {
  const found = distrust(chain({ mode: 0o757 }, { uid: 5, path: "/p/it's; rm.js" }), 0);
  assert.is(
    found,
    "/p may be written by every user (chmod o-w /p); /p/it's; rm.js belongs to user 5 and not to root (chown root '/p/it'\\''s; rm.js')",
  );
});

test.run();
