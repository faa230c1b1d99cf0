/** What the daemon would serve, put together from what the dry-run backend prints (--backend-option format=json). */
import type { IPFamily, NodeView, ServicePort } from '../../core/backend.ts';

export interface Served {
  /** Take what was printed. */
  feed(chunk: string): void;
  /** `name`: "web/TCP", "web:http/TCP" of the namespace. */
  port(family: IPFamily, namespace: string, name: string): ServicePort | undefined;
  /** Everything of a namespace, by key. */
  ports(family: IPFamily, namespace: string): ReadonlyMap<string, ServicePort>;
  /** The node as last printed: only from its first change on. */
  node(family: IPFamily): NodeView | undefined;
  /** Syncs so far. */
  commits(): number;
}

type Printed =
  | {
      readonly op: 'add' | 'change' | 'remove';
      readonly family: IPFamily;
      readonly key: string;
      readonly servicePort: ServicePort;
    }
  | { readonly op: 'node'; readonly family: IPFamily; readonly node: NodeView }
  | { readonly op: 'commit'; readonly family: IPFamily };

export function createServed(): Served {
  const ports = { IPv4: new Map<string, ServicePort>(), IPv6: new Map<string, ServicePort>() };
  const nodes: Partial<Record<IPFamily, NodeView>> = {};
  let commits = 0;
  let rest = '';

  function take(record: Printed): void {
    switch (record.op) {
      case 'add':
      case 'change':
        ports[record.family].set(record.key, record.servicePort);
        return;
      case 'remove':
        ports[record.family].delete(record.key);
        return;
      case 'node':
        nodes[record.family] = record.node;
        return;
      case 'commit':
        commits++;
    }
  }

  return {
    feed(chunk) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) take(JSON.parse(line) as Printed);
    },
    port: (family, namespace, name) => ports[family].get(`${namespace}/${name}`),
    ports: (family, namespace) => new Map([...ports[family]].filter(([key]) => key.startsWith(`${namespace}/`))),
    node: (family) => nodes[family],
    commits: () => commits,
  };
}
