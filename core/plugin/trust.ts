/**
 * Whether a plugin's file may be run: the program is root on its node, so nobody else may be able to change what it
 * runs. Pure; the places come from places.ts.
 *
 *   /            ─┐
 *   /opt          │ each belongs to root or to us, and is written by nobody else; whoever may write a folder may put
 *   /opt/plugins  │ another file, or another folder, in the place of what is in it
 *   …/acme.js    ─┘
 */

/** A file, or a folder or link on the way to it. */
export interface Place {
  readonly path: string;
  readonly kind: 'file' | 'folder' | 'link';
  readonly uid: number;
  readonly gid: number;
  /** Permission bits: 0o1777 for a folder like /tmp. */
  readonly mode: number;
  /** In a read-only mount: of a folder the bits say little then. The kubelet gives that of a ConfigMap 0777. */
  readonly readOnly: boolean;
}

const [GROUP, OTHERS, STICKY] = [0o020, 0o002, 0o1000];

/**
 * What must change before the file may be run, or undefined. `places` are all on the way from "/" on; `uid` is this
 * process's. The owner of "/" may own folders and links: in a user namespace root has another number there, and who
 * owns "/" can replace everything anyway. Not the file: that number is everybody's who is not mapped.
 */
export function distrust(places: readonly Place[], uid: number): string | undefined {
  const owners = [0, uid];
  const ownersOfTheWay = [...owners, ...places.slice(0, 1).map((root) => root.uid)];
  const faults = places.flatMap((place): readonly string[] => {
    if (!(place.kind === 'file' ? owners : ownersOfTheWay).includes(place.uid)) {
      const users = uid === 0 ? 'root' : `root or user ${uid}`;
      return [`${place.path} belongs to user ${place.uid} and not to ${users} (chown root ${quoted(place.path)})`];
    }
    const writers = writersOf(place);
    if (writers === '') return [];
    const who = { g: `its group, ${place.gid}`, o: 'every user', go: `its group, ${place.gid}, and every user` };
    return [`${place.path} may be written by ${who[writers]} (chmod ${writers}-w ${quoted(place.path)})`];
  });
  return faults.length === 0 ? undefined : faults.join('; ');
}

/** As chmod names them. */
function writersOf({ kind, mode, readOnly }: Place): '' | 'g' | 'o' | 'go' {
  // A link is not written but replaced, which is a matter of its folder; its bits mean nothing.
  if (kind === 'link' || (kind === 'folder' && readOnly)) return '';
  // In a sticky folder only the owner of a thing, and of the folder, may put another in its place; both are checked.
  if (kind === 'folder' && (mode & STICKY) !== 0) return '';
  // Root's group, too: with an access control list these bits are the most that any of its entries gives.
  const byGroup = (mode & GROUP) !== 0;
  const byOthers = (mode & OTHERS) !== 0;
  return byGroup ? (byOthers ? 'go' : 'g') : byOthers ? 'o' : '';
}

/** As a word for the shell that the remedy is given to. */
function quoted(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}
