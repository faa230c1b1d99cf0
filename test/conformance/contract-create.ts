/** Behaviours of the plugin itself and of create(). */
import { BACKEND_API_VERSION } from '../../core/backend.ts';
import { BACKEND_MEMBERS, PLUGIN_MEMBERS } from '../../core/plugin/contract-members.ts';
import { type Behaviour, brief, broken, doubtful, isVerdict, sayThrown, untried } from './behaviour.ts';
import { memberNames, misspelt, slipFor } from './member-names.ts';
import { difference, lookAgain, sameLines } from './trial.ts';

const METHODS = ['sync', 'cleanup', 'close'] as const;
const ABILITIES = Object.entries(BACKEND_MEMBERS).flatMap(([name, kind]) =>
  kind === 'function' && !METHODS.some((method) => method === name) ? [name] : [],
);

/** Begins the reason why nothing can be tried with these options. */
export const OPTIONS_REFUSED = 'create() refuses the options that were given: ';
const RETURN = 'return { families: ["IPv4"], sync, cleanup, close } from create()';
const OPTIONS_REMEDY = 'give those that it needs with --backend-option NAME=VALUE';

export const CREATE_BEHAVIOURS: readonly Behaviour[] = [
  {
    id: 'metadata',
    sentence: 'The plugin states its name, the version of the contract and a summary',
    contract: 'BackendPlugin: name, apiVersion, summary',
    remedy: 'default-export { name: "my-backend", apiVersion: 1, summary: "one line", create }',
    async try({ subject: { plugin } }) {
      const { name, apiVersion, summary, version, leavesHostAlone, create, render } = plugin as Partial<typeof plugin>;
      const demand = (holds: boolean, expected: string, value: unknown): void => {
        if (!holds) throw broken(expected, brief(value));
      };
      const isWord = typeof name === 'string' && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(name);
      demand(isWord, 'a name of lower-case letters, digits and dashes', name);
      demand(apiVersion === BACKEND_API_VERSION, `apiVersion ${BACKEND_API_VERSION}`, apiVersion);
      const isLine = typeof summary === 'string' && summary.trim() !== '' && !summary.includes('\n');
      demand(isLine, 'a summary of one line', summary);
      demand(version === undefined || typeof version === 'string', 'a version that is text, or none', version);
      const flag = leavesHostAlone as unknown;
      demand(flag === undefined || flag === true, 'leavesHostAlone true, or none', leavesHostAlone);
      demand(typeof create === 'function', 'a function create', create);
      demand(render === undefined || typeof render === 'function', 'render to be a function, or none', render);
      return undefined;
    },
  },
  {
    id: 'create',
    sentence: 'create() resolves to a backend that names the families it serves',
    contract: 'BackendPlugin.create(): returns a Backend; Backend.families',
    remedy:
      'return { families: ["IPv4"], sync, cleanup, close } from create(); where this host lacks something, throw with code "KP_BACKEND_UNSUPPORTED"',
    async try(trial) {
      const instance = await trial.open().catch((error: unknown) => {
        const code = error instanceof Error && 'code' in error ? error.code : undefined;
        if (code === 'KP_BACKEND_UNSUPPORTED') throw untried(`it cannot work on this host: ${sayThrown(error)}`);
        if (code === 'KP_BACKEND_OPTION') throw untried(`${OPTIONS_REFUSED}${sayThrown(error)}; ${OPTIONS_REMEDY}`);
        throw isVerdict(error)
          ? error
          : broken(
              'a backend, or an error with code KP_BACKEND_UNSUPPORTED or KP_BACKEND_OPTION',
              `a rejection: ${sayThrown(error)}`,
            );
      });
      const made: unknown = instance.backend;
      if (typeof made !== 'object' || made === null) {
        const remedy = made === undefined ? `create() has no return, or one without a value: ${RETURN}` : RETURN;
        throw broken('a backend', `create() returned ${brief(made)}`, remedy);
      }
      for (const method of METHODS) {
        const member: unknown = instance.backend[method];
        if (typeof member === 'function') continue;
        const slip = member === undefined ? slipFor(memberNames(made), method) : undefined;
        const seen = slip === undefined ? (member === undefined ? 'none' : brief(member)) : `none, but ${slip}`;
        throw broken(`a function ${method}`, seen, slip === undefined ? RETURN : `write ${method} instead of ${slip}`);
      }
      const { families } = instance.backend as { readonly families: unknown };
      const known = Array.isArray(families) && families.every((family) => family === 'IPv4' || family === 'IPv6');
      if (!known || families.length === 0 || new Set(families).size !== families.length) {
        throw broken('families: "IPv4", "IPv6" or both', brief(families));
      }
      trial.facts.families = families;
      return { note: families.join(' and ') };
    },
  },
  {
    id: 'create-changes-nothing',
    needs: ['create'],
    sentence: 'create() changes nothing that outlives it',
    contract: 'BackendPlugin.create(): "Changes nothing that outlives the call."',
    remedy: 'undo in create() whatever it does to find out what the host supports; write only in sync()',
    async try(trial) {
      const before = await trial.evidence.look();
      const instance = await trial.open();
      // Whether it can is for another behaviour to judge.
      await instance.close().catch(() => {});
      const after = await lookAgain(trial, before);
      if (!sameLines(after, before)) throw broken('the host as it was', difference(before, after));
      return undefined;
    },
  },
  {
    id: 'unknown-option',
    needs: ['create'],
    sentence: 'create() refuses an option that it does not know, with code KP_BACKEND_OPTION',
    contract: 'BackendPlugin.create(): throws with code "KP_BACKEND_OPTION" if an option is wrong',
    remedy: 'compare the names in `options` with those you know: a misspelt option is otherwise never noticed',
    async try(trial) {
      const name = 'no-such-option-as-this';
      const refused = await trial.open({ ...trial.subject.options, [name]: 'x' }).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (refused === undefined) throw doubtful('a rejection', `a backend in spite of the option "${name}"`);
      const code = refused instanceof Error && 'code' in refused ? refused.code : undefined;
      if (code !== 'KP_BACKEND_OPTION') throw doubtful('code KP_BACKEND_OPTION', sayThrown(refused));
      return undefined;
    },
  },
  {
    id: 'abilities',
    needs: ['create'],
    sentence: 'Optional abilities are functions, and usesConntrack is true where it is there',
    contract: 'SelfChecking, HealthReporting, UsesConntrack, Initializing, Inspectable, Explainable',
    remedy: 'leave out what the backend does not have, instead of null or false',
    async try(trial) {
      const { backend } = await trial.open();
      // Those of a class are no properties of the object itself.
      const members = backend as unknown as Readonly<Record<string, unknown>>;
      const has = ABILITIES.filter((name) => members[name] !== undefined);
      for (const name of has) {
        if (typeof members[name] !== 'function') throw broken(`${name} to be a function`, brief(members[name]));
      }
      const { usesConntrack } = members;
      if (usesConntrack !== undefined && usesConntrack !== true) {
        throw broken('usesConntrack true, or none', brief(usesConntrack));
      }
      const all = [...has, ...(usesConntrack ? ['usesConntrack'] : [])];
      return { note: all.length > 0 ? `it has ${all.join(', ')}` : 'it has none' };
    },
  },
  {
    id: 'member-names',
    needs: ['create'],
    sentence: 'No member is called almost like one of the contract',
    contract: 'BackendPlugin and Backend: the core looks for members by their names, and passes over all others',
    remedy: 'write it as the contract does; what is not misspelt may have any other name',
    async try(trial) {
      const { backend } = await trial.open();
      const found = [
        ...misspelt(memberNames(trial.subject.plugin), Object.keys(PLUGIN_MEMBERS)),
        ...misspelt(memberNames(backend), Object.keys(BACKEND_MEMBERS)),
      ];
      if (found.length > 0) throw doubtful('names of the contract, or names of your own', found.join('; '));
      return undefined;
    },
  },
];
