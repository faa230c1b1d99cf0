/**
 * A backend that programs nothing: it logs how many endpoints the Services of some namespaces have on this node.
 * `kube-proxy plugin new NAME` writes a skeleton of one that does more.
 *
 * @type {import('kube-proxy').BackendPlugin}
 */
export default {
  name: 'example',
  apiVersion: 1,
  version: '1.0.0',
  summary: 'logs the endpoints of each Service; backendOptions.namespaces says of which namespaces',
  leavesHostAlone: true,

  async create(host, options) {
    const namespaces = readNamespaces(options);
    return {
      families: ['IPv4', 'IPv6'],
      async sync({ family, upsert, remove }) {
        const ours = upsert.filter(({ namespace }) => namespaces.length === 0 || namespaces.includes(namespace));
        for (const { key, clusterIP, cluster, local } of ours) {
          host.log.info('Service', { family, key, clusterIP, endpoints: cluster.length, onThisNode: local.length });
        }
        for (const key of remove) host.log.info('Service gone', { family, key });
        return { operations: ours.length + remove.length, bytes: 0 };
      },
      async cleanup() {},
      async close() {},
    };
  },
};

/** All of them when there is no such option. Faults have the code that makes the program refuse the configuration. */
function readNamespaces({ namespaces = [], ...others }) {
  const faults = Object.keys(others).map((name) => `${name}: unknown option; known is namespaces`);
  const isList = Array.isArray(namespaces) && namespaces.every((each) => typeof each === 'string');
  if (!isList) faults.push(`namespaces: ${JSON.stringify(namespaces)} is no list of names; give for example [default]`);
  if (faults.length > 0) throw Object.assign(new Error(faults.join('; ')), { code: 'KP_BACKEND_OPTION' });
  return namespaces;
}
