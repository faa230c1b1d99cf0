/**
 * What a flag is: how it is read, what it is called, and which fields of the configuration it stands for. The tables
 * of flags are field-flags.ts and flags.ts.
 */
import type { FieldPath } from './fields.ts';
import type { Kind } from './kinds.ts';

export interface Flag<T> {
  readonly kind: Kind<T>;
  /** As on the command line; parsed like any other value. */
  readonly default: string;
  readonly help: string;
  readonly group: FlagGroup;
  readonly short?: string;
  /** Another name of this flag. */
  readonly alias?: string;
  /** Means something to these commands only; every other refuses it. */
  readonly only?: OnlyFor | readonly OnlyFor[];
  /** The fields of the configuration that it sets, all to its value. Absent: it has a meaning of its own. */
  readonly fields?: readonly FieldPath[];
  /** Beside --config: `ignored`, as in the reference for all that the file can say, or it `wins` over the file. */
  readonly besideFile?: 'ignored' | 'wins';
  /** Accepted for the sake of command lines written for the reference; says why it does nothing. */
  readonly noEffect?: string;
  /** What to give instead. */
  readonly deprecated?: string;
}

export type OnlyFor = 'run' | 'render' | 'plugins' | 'plugin test';

export type FlagGroup = keyof typeof FLAG_GROUPS;

/** In the order in which --help prints them. */
export const FLAG_GROUPS = {
  config: 'Configuration file',
  source: 'Where Services come from',
  api: 'How the API server is reached',
  backend: 'Which data plane',
  node: 'This node',
  traffic: 'What is matched and masqueraded',
  sync: 'When it syncs',
  kernel: 'What is set in the kernel',
  ipvs: 'For the backend ipvs',
  serve: 'Health and metrics',
  log: 'Log',
  render: 'Only for kube-proxy render',
  plugins: 'Only for kube-proxy plugins and plugin test',
  pluginTest: 'Only for kube-proxy plugin test',
  command: 'Instead of running',
  accepted: 'Accepted for compatibility, of no effect',
} as const;

export const flag = <T>(
  group: FlagGroup,
  kind: Kind<T>,
  byDefault: string,
  help: string,
  rest: Partial<Flag<T>> = {},
): Flag<T> => ({ kind, default: byDefault, help, group, ...rest });

/** A flag that stands for fields of the configuration, and is ignored when there is a file unless `rest` says more. */
export const field = <T>(
  group: FlagGroup,
  fields: FieldPath | readonly FieldPath[],
  kind: Kind<T>,
  byDefault: string,
  help: string,
  rest: Partial<Flag<T>> = {},
): Flag<T> =>
  flag(group, kind, byDefault, help, {
    fields: typeof fields === 'string' ? [fields] : fields,
    besideFile: 'ignored',
    ...rest,
  });
