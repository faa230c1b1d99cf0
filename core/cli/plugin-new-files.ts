/**
 * What `plugin new` writes: each file's name and text, for a plugin of a given name.
 *
 *   NAME.js          plugin-new-backend.ts      NAME.test.js     plugin-new-test.ts
 *   kube-proxy.d.ts  release/sdk/               fake-host.js     plugin-new-fakes.ts
 *   package.json, tsconfig.json, services.yaml, README.md        here
 *
 * Templates are texts in modules, since the packed program has no files beside it.
 */
import { BACKEND_TEMPLATE } from './plugin-new-backend.ts';
import { FAKES_TEMPLATE } from './plugin-new-fakes.ts';
import { TEST_TEMPLATE } from './plugin-new-test.ts';

/** The name in the templates. */
const TEMPLATE_NAME = 'my-backend';

/** Texts by file name. `types` is the text of kube-proxy.d.ts. */
export function pluginFiles(name: string, types: string): ReadonlyMap<string, string> {
  const named = (template: string): string => template.replaceAll(TEMPLATE_NAME, name);
  return new Map([
    [`${name}.js`, named(BACKEND_TEMPLATE)],
    [`${name}.test.js`, named(TEST_TEMPLATE)],
    ['fake-host.js', FAKES_TEMPLATE],
    ['kube-proxy.d.ts', types],
    ['package.json', named(PACKAGE_TEMPLATE)],
    ['tsconfig.json', TSCONFIG],
    ['services.yaml', MANIFESTS],
    ['README.md', named(README_TEMPLATE)],
  ]);
}

/** `main` is what --plugin-dir finds if the whole folder lies in it. */
const PACKAGE_TEMPLATE = `{
  "name": "my-backend",
  "version": "0.1.0",
  "private": true,
  "type": "module",
  "main": "my-backend.js",
  "scripts": {
    "test": "node --test"
  }
}
`;

/** For `npx tsc -p .`: JavaScript with types in comments, and TypeScript that runs as it is. */
const TSCONFIG = `{
  "compilerOptions": {
    "target": "es2024",
    "module": "nodenext",
    "types": ["node"],
    "strict": true,
    "noEmit": true,
    "allowJs": true,
    "checkJs": true,
    "erasableSyntaxOnly": true,
    "verbatimModuleSyntax": true,
    "allowImportingTsExtensions": true,
    "skipLibCheck": true
  }
}
`;

const MANIFESTS = `# A Service with two endpoints, to try a backend with. Edit and save while kube-proxy runs.
apiVersion: v1
kind: Service
metadata: { name: web, namespace: default }
spec:
  type: NodePort
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10]
  ipFamilies: [IPv4]
  ports:
    - { name: http, protocol: TCP, port: 80, nodePort: 30080 }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-1
  namespace: default
  labels: { kubernetes.io/service-name: web }
addressType: IPv4
ports:
  - { name: http, protocol: TCP, port: 8080 }
endpoints:
  - { addresses: [10.244.1.11] }
  - { addresses: [10.244.1.12] }
`;

const README_TEMPLATE = `# my-backend

A backend for kube-proxy. It works as it is: it keeps what this node must serve in JSON files.

    node --test                                                          # its own test
    kube-proxy plugin test ./my-backend.js                               # the contract's
    kube-proxy --backend=./my-backend.js --backend-option folder="$PWD" --manifests services.yaml

While the last one runs, edit services.yaml and watch my-backend.IPv4.json follow. Check the types, here and in .ts files:

    npm install --save-dev typescript @types/node && npx tsc -p .

| file | is |
|---|---|
| \`my-backend.js\` | the backend; begin here |
| \`my-backend.test.js\` | its test, for Node.js alone; with another data plane its \`start\` changes |
| \`fake-host.js\` | what kube-proxy gives a backend, for tests; stays as it is |
| \`kube-proxy.d.ts\` | the contract: every type, and what each call must do |
| \`tsconfig.json\` | for \`tsc\` |
| \`services.yaml\` | a Service to try it with |

| option | values | default |
|---|---|---|
| \`folder\` | absolute path of a folder that exists; the files are written there | \`/run\` |
`;
