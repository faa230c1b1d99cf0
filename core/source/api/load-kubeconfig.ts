/**
 * The one import of @kubernetes/client-node: its `KubeConfig`, which knows kubeconfig files, exec plugins, OIDC and
 * proxies. Everything else of it is not for a daemon, and must not even be loaded: the file that has the class also
 * imports the generated API (a thousand modules, for one function that we do not call) and a second HTTP
 * client. Together they cost 60 MB and 0.3 s; without them it is 9 MB. So while that one import runs, both names are
 * answered with empty stand-ins. A bundler does the same with an alias; there, this hook finds nothing to do.
 */
import { registerHooks } from 'node:module';
import type { KubeConfig } from '@kubernetes/client-node/dist/config.js';

const STAND_INS: Readonly<Record<string, string>> = {
  './gen/index.js': 'export const createConfiguration = undefined, ServerConfiguration = undefined;',
  undici: 'export const Agent = undefined, ProxyAgent = undefined;',
};
const PARENT = /\/@kubernetes\/client-node\/dist\/config\.js$/;

let loading: Promise<new () => KubeConfig> | undefined;

export function loadKubeConfigClass(): Promise<new () => KubeConfig> {
  loading ??= load();
  return loading;
}

async function load(): Promise<new () => KubeConfig> {
  const hooks = registerHooks({
    resolve(specifier, context, next) {
      const source = STAND_INS[specifier];
      if (source === undefined || !PARENT.test(context.parentURL ?? '')) return next(specifier, context);
      return { url: `data:text/javascript,${encodeURIComponent(source)}`, shortCircuit: true };
    },
  });
  try {
    return (await import('@kubernetes/client-node/dist/config.js')).KubeConfig;
  } finally {
    hooks.deregister();
  }
}
