/**
 * With rights: a table brings connections to a constant number of listeners, on one address of the node.
 *
 *   engines know of what comes ──▶ table ──▶ engines forget what goes
 *
 * Ports of listeners are those that the table names already, so that what was brought in before a restart finds them.
 */
import type { AddressPort, Change, Host, IPFamily, NodeView, SelfChecking, ServicePort } from '../../core/backend.ts';
import { setKernelParameters } from '../shared/kernel-parameters.ts';
import type { Keepers, Sent, TableKeeper } from '../shared/table/keeper.ts';
import type { Mirror } from '../shared/table/mirror.ts';
import { editOperations, rewriteChain } from '../shared/table/reconcile.ts';
import type { ListenSpec, ListenUpdate } from './forward/messages.ts';
import type { SetName } from './layout.ts';
import { LISTENERS, type ListenerName, type Listeners, type Plan, type Planner } from './plan.ts';

export interface Redirect {
  sync(change: Change, sent: Sent): Promise<Plan['complaints']>;
  check(): ReturnType<SelfChecking['check']>;
  /** Where UDP clients are brought to. */
  answersAt(): readonly AddressPort[];
}

export interface RedirectOptions {
  readonly host: Host;
  readonly family: IPFamily;
  readonly planner: Planner;
  readonly keepers: Keepers;
  readonly shared: boolean;
  /** The listeners' ports are this one and those that follow it. 0: `freePort` says which. */
  readonly firstPort: number;
  /** One that may be listened on at this address; if not, others are tried. */
  readonly freePort: (ip: string) => Promise<number>;
  /** Tells the engines, and resolves when all of them know. */
  readonly tell: (update: Partial<Plan['engine']> & { readonly inside?: readonly string[] }) => Promise<void>;
  /** Resolves to what could not be had, by id. */
  readonly listen: (update: ListenUpdate) => Promise<ReadonlyMap<string, { message: string }>>;
}

const TRIES = 3;

export function createRedirect(options: RedirectOptions): Redirect {
  const { host, family, planner, keepers, shared, firstPort, tell, listen } = options;
  const keeper: TableKeeper<SetName> = keepers.keep(planner);
  let listeners: Listeners | undefined;
  let lastPorts: Listeners['ports'] | undefined;
  let isHomeless = false;

  async function openListeners(node: NodeView, recorded: Listeners | undefined): Promise<void> {
    const ip = listenAddress(node);
    if (listeners !== undefined && listeners.ip === ip) return;
    if (ip === undefined) {
      if (isHomeless) return;
      isHomeless = true;
      host.log.warn('The node has no address to listen on for Services', { family });
      listeners = undefined;
      await listen({ close: LISTENERS.map((name) => idOf(family, name)) });
      return;
    }
    isHomeless = false;
    let ports = firstPort === 0 ? (recorded?.ports ?? lastPorts) : undefined;
    // Whatever fails from here on, those of before are closed.
    listeners = undefined;
    for (let tries = 1; ; tries++) {
      ports ??= firstPort === 0 ? await freePorts(ip, options.freePort) : portsFrom(firstPort);
      const faults = await listen({ open: specsOf(family, { ip, ports }, shared) });
      if (faults.size === 0) break;
      const [fault] = faults.values();
      const remedy = firstPort === 0 ? '' : '; choose another firstPort';
      if (firstPort !== 0 || tries === TRIES) {
        throw new Error(`cannot listen for Services on ${ip}: ${fault?.message}${remedy}`);
      }
      // Somebody else has one of them by now.
      ports = undefined;
    }
    listeners = { ip, ports };
    lastPorts = ports;
  }

  function warnOfNodePort({ key, nodePort }: ServicePort): void {
    if (firstPort === 0 || nodePort < firstPort || nodePort >= firstPort + LISTENERS.length) return;
    host.log.warn('A node port is one of the ports of this backend, and cannot be served; choose another firstPort', {
      servicePort: key,
      nodePort,
      firstPort,
    });
  }

  async function restore(change: Change, sent: Sent, planned: (plan: Plan) => Plan): Promise<void> {
    await keeper.restore(
      {
        expected: new Map([['services', change.upsert.length]]),
        async adopt(mirror) {
          await openListeners(change.node, mirror && recordedListeners(mirror));
          const { upsert, set } = planned(planner.apply(change, listeners)).engine;
          await tell({ upsert, set });
        },
      },
      sent,
    );
  }

  async function applyPartly(change: Change, sent: Sent, planned: (plan: Plan) => Plan): Promise<void> {
    await openListeners(change.node, undefined);
    const plan = planned(planner.apply(change, listeners));
    const { upsert, set } = plan.engine;
    if (upsert.length + set.length > 0) await tell({ upsert, set });
    const operations = [...plan.changedChains.flatMap(rewriteChain), ...editOperations(plan, planner.layout)];
    if (operations.length > 0) await keeper.commit({ before: [], change: operations, after: [] }, sent);
  }

  return {
    async sync(change, sent) {
      let plan: Plan | undefined;
      for (const port of change.upsert) warnOfNodePort(port);
      const planned = (made: Plan): Plan => {
        plan = made;
        return made;
      };
      try {
        const isDoubtful = change.full && (await keeper.doubt()) !== undefined;
        await (isDoubtful ? restore(change, sent, planned) : applyPartly(change, sent, planned));
        setKernelParameters(host, family, change.node);
        return plan?.complaints ?? [];
      } catch (error) {
        // The planner has gone ahead of the table.
        keeper.distrust('the last sync failed');
        throw error;
      } finally {
        // Whatever the table still says: connections to what is gone end here.
        const { remove = [], delete: gone = [] } = plan?.engine ?? {};
        if (remove.length + gone.length > 0) await tell({ remove, delete: gone });
      }
    },
    check: () => keeper.check(),
    answersAt() {
      if (listeners === undefined) return [];
      const { ip, ports } = listeners;
      return LISTENERS.filter((name) => name.endsWith('udp')).map((name) => ({ ip, port: ports[name] }));
    },
  };
}

/** Never a loopback address: what is sent there from elsewhere the kernel drops. */
function listenAddress({ nodeIPs, addresses }: NodeView): string | undefined {
  const fit = addresses.filter((ip) => !ip.startsWith('127.') && ip !== '::1' && !/^fe[89ab]/.test(ip));
  return nodeIPs.find((ip) => fit.includes(ip)) ?? fit[0];
}

function specsOf(family: IPFamily, { ip, ports }: Listeners, shared: boolean): readonly ListenSpec[] {
  return LISTENERS.map((name) => {
    const [clients, protocol] = name.split(' ') as ['inside' | 'outside', 'tcp' | 'udp'];
    return {
      id: idOf(family, name),
      protocol: protocol === 'tcp' ? 'TCP' : 'UDP',
      ip,
      port: ports[name],
      shared,
      serves: undefined,
      clients,
    };
  });
}

function idOf(family: IPFamily, name: ListenerName): string {
  return `${family} ${name}`;
}

function recordedListeners(mirror: Mirror<SetName>): Listeners | undefined {
  let ip = '';
  const ports: Partial<Record<ListenerName, number>> = {};
  for (const name of LISTENERS) {
    const [side, protocol = ''] = name.split(' ');
    const set = side === 'inside' ? 'inside-listeners' : 'outside-listeners';
    const [address, port] = mirror.get(set)?.get(protocol)?.split(' ') ?? [];
    if (address === undefined || port === undefined) return undefined;
    ip = address;
    ports[name] = Number(port);
  }
  return { ip, ports: ports as Record<ListenerName, number> };
}

function portsFrom(first: number): Record<ListenerName, number> {
  return portsOf(LISTENERS.map((_, index) => first + index));
}

function portsOf(ports: readonly number[]): Record<ListenerName, number> {
  return Object.fromEntries(LISTENERS.map((name, index) => [name, ports[index]])) as Record<ListenerName, number>;
}

async function freePorts(ip: string, freePort: RedirectOptions['freePort']): Promise<Record<ListenerName, number>> {
  const found = new Set<number>();
  // Two listeners on one port would share its connections, those from inside and from outside mixed.
  while (found.size < LISTENERS.length) found.add(await freePort(ip));
  return portsOf([...found]);
}
