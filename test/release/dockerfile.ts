/** A Dockerfile as instructions, as far as a test must read ours: no here-documents, no parser directives. */

export interface Instruction {
  /** "COPY" */
  readonly name: string;
  /** "--from=root", by name; without the dashes. */
  readonly flags: Readonly<Record<string, string>>;
  /** What follows, words of the exec form or of the shell's. */
  readonly words: readonly string[];
}

export interface Stage {
  /** Of FROM … AS; "" for none. */
  readonly name: string;
  readonly base: string;
  readonly instructions: readonly Instruction[];
}

export interface Dockerfile {
  /** ARG before the first FROM: names and defaults. */
  readonly globals: Readonly<Record<string, string>>;
  readonly stages: readonly Stage[];
}

export function parseDockerfile(text: string): Dockerfile {
  const lines = text
    .split('\n')
    .filter((line) => !/^\s*#/.test(line))
    .join('\n')
    .replace(/\\\n/g, ' ')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const globals: Record<string, string> = {};
  const stages: { name: string; base: string; instructions: Instruction[] }[] = [];
  for (const line of lines) {
    const instruction = parseLine(line);
    const [first = '', as = '', name = ''] = instruction.words;
    if (instruction.name === 'FROM') {
      stages.push({ base: first, name: as.toUpperCase() === 'AS' ? name : '', instructions: [] });
    } else if (stages.length > 0) stages.at(-1)!.instructions.push(instruction);
    else {
      const [variable = '', value = ''] = first.split(/=(.*)/s);
      globals[variable] = value;
    }
  }
  return { globals, stages };
}

function parseLine(line: string): Instruction {
  const [, name = '', rest = ''] = /^(\S+)\s*(.*)$/.exec(line) ?? [];
  if (rest.startsWith('[')) return { name: name.toUpperCase(), flags: {}, words: JSON.parse(rest) as string[] };
  const words = rest.match(/(?:"[^"]*"|[^\s"])+/g) ?? [];
  const flags: Record<string, string> = {};
  while (words[0]?.startsWith('--')) {
    const [flag = '', value = ''] = words.shift()!.slice(2).split('=');
    flags[flag] = value;
  }
  return { name: name.toUpperCase(), flags, words };
}
