/**
 * What is said between the host and the job inside. Between a program's own lines stand lines of the job, which begin
 * with a word that is new for every run, so that no program can say them by chance:
 *
 *   job                                      host
 *   WORD ready 3.02                          test/vm/kernel.test.ts        what to run next
 *   WORD begin test/vm/kernel.test.ts 3.21
 *   …its output…
 *   WORD end 0 9.87                          an empty line: nothing more
 *
 * The last number is seconds since the machine's start, the other one an exit status.
 */

export type Event =
  | { readonly type: 'ready'; readonly second: number }
  | { readonly type: 'begin'; readonly file: string; readonly second: number }
  | { readonly type: 'output'; readonly text: string }
  | { readonly type: 'end'; readonly status: number; readonly second: number };

/** Of a file that ran for too long: what the shell makes of SIGKILL. */
export const KILLED = 137;

/** A script for sh that runs the files that it is told, each for no longer than so many seconds. */
export function testJob(word: string, limitSeconds: number): string {
  return `second() { cut -d ' ' -f 1 /proc/uptime; }
${say(word, 'ready')}
while read -r file && [ -n "$file" ]; do
  ${say(word, 'begin', '"$file"')}
  timeout -s KILL ${limitSeconds} node "$file" </dev/null
  ${say(word, 'end', '$?')}
done
`;
}

/** A script for sh that runs one command line. */
export function commandJob(word: string, line: string): string {
  return `second() { cut -d ' ' -f 1 /proc/uptime; }
(
${line}
) </dev/null
${say(word, 'end', '$?')}
`;
}

/** Begins with a new line, since a program's last line need not have ended. */
function say(word: string, type: Event['type'], value?: string): string {
  return value === undefined
    ? `printf '\\n%s ${type} %s\\n' ${word} "$(second)"`
    : `printf '\\n%s ${type} %s %s\\n' ${word} ${value} "$(second)"`;
}

/** The returned function takes the text in whatever pieces it comes, and returns what is certain by now. */
export function transcriptReader(word: string): (text: string) => readonly Event[] {
  let [rest, blank] = ['', false];
  return (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    return lines.flatMap((line) => {
      const event = parseLine(word, line);
      // An empty line may be the one that the job puts in front of its own: that shows when the next one is there.
      const before: readonly Event[] = blank && event.type === 'output' ? [{ type: 'output', text: '\n' }] : [];
      blank = line === '';
      return blank ? before : [...before, event];
    });
  };
}

function parseLine(word: string, line: string): Event {
  const [first, type, ...rest] = line.split(' ');
  const second = Number(rest.pop());
  if (first === word && type === 'ready') return { type, second };
  if (first === word && type === 'begin') return { type, file: rest.join(' '), second };
  if (first === word && type === 'end') return { type, status: Number(rest[0]), second };
  return { type: 'output', text: `${line}\n` };
}
