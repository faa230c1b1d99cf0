/**
 * The Host of one plugin: what it starts through it runs in the plugin's context, and what the core does because the
 * plugin asked does not. All of it is the plugin's own, so that nothing it changes there reaches another one.
 */
import type { Clock, Host, Netlink, PluginMetric } from '../backend.ts';
import { closedFault } from '../node/spawn.ts';
import { named } from './harmless-error.ts';
import type { PluginCalls } from './plugin-calls.ts';
import { inPlugin, outsidePlugins, type PluginContext } from './plugin-context.ts';

export interface ContainedHost {
  readonly host: Host;
  /** Nothing that the plugin asks for is done any more, and the metrics it registered go. */
  release(): void;
}

export interface ContainHostOptions {
  readonly host: Host;
  readonly context: PluginContext;
  readonly calls: PluginCalls;
  readonly clock: Clock;
}

/** A plugin that asks more often gets one full sync for all of it. */
const REQUEST_PAUSE_MS = 1_000;

export function containHost({ host, context, calls, clock }: ContainHostOptions): ContainedHost {
  let released = false;
  /** Metrics that the plugin registered and has not taken back. */
  const registered = new Set<() => void>();
  const shutdown = new AbortController();
  const onAbort = (): void => inPlugin(context, () => shutdown.abort(host.signal.reason));
  if (host.signal.aborted) onAbort();
  else host.signal.addEventListener('abort', onAbort, { once: true });

  let cancelRequest: (() => void) | undefined;
  let lastReason: string | undefined;
  function request(reason: string): void {
    lastReason = reason;
    if (cancelRequest) return;
    const ask = (): void => {
      cancelRequest = undefined;
      if (lastReason === undefined || released) return;
      host.requestFullSync(lastReason);
      lastReason = undefined;
      cancelRequest = clock.after(REQUEST_PAUSE_MS, ask);
    };
    ask();
  }

  function watched(metric: PluginMetric): PluginMetric {
    const { name, type, help, labels } = metric;
    return {
      name,
      type,
      help,
      ...(labels ? { labels } : {}),
      async read() {
        try {
          return await calls.now(`reading metric ${name}`, async () => await metric.read());
        } catch (error) {
          throw named(context.name, `reading metric ${name}`, error);
        }
      },
    };
  }

  /** Another backend programs this host by then, and what is changed behind its back breaks it. */
  function open(what: string): void {
    if (released) throw closedFault(`backend ${context.name}: ${what}`);
  }
  const { sysctl, sockets } = host;

  /** What we call later, for something that was asked for before. */
  function told(what: string, callback: () => void): void {
    try {
      calls.now(what, callback);
    } catch (error) {
      context.escaped('exception', error);
    }
  }

  const contained: Host = {
    log: host.log,
    async exec(command, ...rest) {
      open(`cannot run ${command}`);
      return inPlugin(context, () => host.exec(command, ...rest));
    },
    async spawn(command, ...rest) {
      open(`cannot start ${command}`);
      return inPlugin(context, () => host.spawn(command, ...rest));
    },
    thread(module, options) {
      open(`cannot start thread ${module}`);
      return outsidePlugins(() =>
        host.thread(module, {
          data: options.data,
          onMessage: (message) => told('a message of a thread', () => options.onMessage(message)),
          onExit: (reason) => told('the end of a thread', () => options.onExit(reason)),
        }),
      );
    },
    sysctl: {
      read: (name) => sysctl.read(name),
      ensure(name, value) {
        open(`cannot set ${name}`);
        sysctl.ensure(name, value);
      },
    },
    netlink: containNetlink(host.netlink, open),
    sockets: {
      originalDestination: (fd) => sockets.originalDestination(fd),
      originalUDPDestination(flow) {
        open('cannot ask conntrack');
        return sockets.originalUDPDestination(flow);
      },
    },
    signal: shutdown.signal,
    clock: {
      now: () => clock.now(),
      after: (milliseconds, callback) =>
        outsidePlugins(() => clock.after(milliseconds, () => told('a timer', callback))),
    },
    // A backend that was replaced may have timers left; what it asks for is nobody's business any more.
    requestFullSync(reason) {
      if (!released) outsidePlugins(() => request(String(reason)));
    },
    metrics: {
      register(metric) {
        if (released) return () => {};
        const takeBack = host.metrics.register(watched(metric));
        registered.add(takeBack);
        return () => {
          registered.delete(takeBack);
          takeBack();
        };
      },
    },
    events: {
      warn(service, reason, note) {
        if (!released) outsidePlugins(() => host.events.warn(service, reason, note));
      },
    },
  };

  return {
    host: contained,
    release() {
      released = true;
      cancelRequest?.();
      host.signal.removeEventListener('abort', onAbort);
      for (const takeBack of registered) takeBack();
      registered.clear();
    },
  };
}

/** What was opened before is closed by its owner. */
function containNetlink(netlink: Netlink, open: (what: string) => void): Netlink {
  return {
    ipset() {
      open('cannot open ipset');
      return netlink.ipset();
    },
    nftablesGeneration() {
      open('cannot read the generation of nf_tables');
      return netlink.nftablesGeneration();
    },
    nftables() {
      open('cannot open nf_tables');
      return netlink.nftables();
    },
    nfacct() {
      open('cannot open nfacct');
      return netlink.nfacct();
    },
    ipvs() {
      open('cannot open ipvs');
      return netlink.ipvs();
    },
    dummyLink(name) {
      open(`cannot open ${name}`);
      return netlink.dummyLink(name);
    },
  };
}
