/** Reads the Prometheus text format, strictly: what is not a comment or a sample of the family before it is an error. */

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Family {
  readonly type: string;
  readonly help: string;
  readonly samples: readonly Sample[];
}

export function parseExposition(text: string): ReadonlyMap<string, Family> {
  const families = new Map<string, { type: string; help: string; samples: Sample[] }>();
  let current = '';
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const help = /^# HELP ([a-z_0-9]+) (.+)$/.exec(line);
    const type = /^# TYPE ([a-z_0-9]+) (counter|gauge|histogram)$/.exec(line);
    if (help) {
      if (families.has(help[1]!)) throw new Error(`two families ${help[1]}`);
      families.set(help[1]!, { type: '', help: help[2]!, samples: [] });
    } else if (type) {
      current = type[1]!;
      families.get(current)!.type = type[2]!;
    } else {
      const sample = parseSample(line);
      const suffix = sample.name.slice(current.length);
      const histogram = families.get(current)!.type === 'histogram';
      if (!sample.name.startsWith(current) || !(histogram ? ['_bucket', '_sum', '_count'] : ['']).includes(suffix)) {
        throw new Error(`${line} is not of ${current}`);
      }
      families.get(current)!.samples.push(sample);
    }
  }
  return families;
}

function parseSample(line: string): Sample {
  const [, name, labels = '', value] = /^([a-z_0-9]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
  if (name === undefined || value === undefined || Number.isNaN(Number(value))) throw new Error(`no sample: ${line}`);
  const pairs = [...labels.matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"(?:,|$)/g)];
  if (pairs.map(([pair]) => pair).join('') !== labels) throw new Error(`bad labels: ${line}`);
  const unescape = (text: string): string => text.replace(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c));
  return {
    name,
    labels: Object.fromEntries(pairs.map(([, key, text]) => [key!, unescape(text!)])),
    value: Number(value),
  };
}

/** The value of the one sample that has these labels; undefined when there is none. */
export function valueOf(
  families: ReadonlyMap<string, Family>,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  const family = families.get(name) ?? families.get(name.replace(/_(bucket|sum|count)$/, ''));
  const found = (family?.samples ?? []).filter(
    (sample) => sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
  );
  if (found.length > 1) throw new Error(`${found.length} samples of ${name} ${JSON.stringify(labels)}`);
  return found[0]?.value;
}
