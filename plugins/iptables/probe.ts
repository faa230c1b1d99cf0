/**
 * What this host can do, found by trying: which variant of iptables, which families, and whether the kernel has the
 * matches without which the plan falls back to plainer rules, or counts less.
 */
import type { Host, IPFamily } from '../../core/backend.ts';
import { hostFamilies } from '../shared/families.ts';
import { destroyEventually } from './destroy-eventually.ts';
import { PROBE_CHAIN, probeSet } from './names.ts';
import type { IptablesOptions } from './options.ts';
import { countInto, PROBE_COUNTER } from './packet-counters.ts';
import { sourceIsDestination } from './rule-text.ts';
import { type Answer, answers, createTool, exists, type IptablesTool, type Variant } from './tool.ts';

/** Chains that the kubelet makes in the mangle table of the variant that it uses, for others to follow. */
const KUBELET_HINTS = ['KUBE-IPTABLES-HINT', 'KUBE-KUBELET-CANARY'];
/** How long another program may hold the lock of legacy iptables. */
const BUSY_LIMIT_MS = 30_000;
const BUSY_PAUSE_MS = 200;

export interface Support {
  readonly tools: ReadonlyMap<IPFamily, IptablesTool>;
  readonly affinity: 'ipset' | 'recent';
  readonly hairpin: 'bpf' | 'rules';
  /** Rules can count into counters with names, for metrics. */
  readonly counters: boolean;
}

export async function probe(host: Host, options: IptablesOptions): Promise<Support> {
  const variant = options.variant === 'auto' ? await kubeletVariant(host) : options.variant;
  const tools = new Map<IPFamily, IptablesTool>();
  const missing: string[] = [];
  let installed = false;
  for (const family of hostFamilies(host)) {
    const tool = createTool(host, family, variant);
    const answer = await whenFree(host, () => answers(host, tool));
    if (answer === 'yes') tools.set(family, tool);
    else missing.push(answer.reason);
    installed ||= answer === 'yes' || (await exists(host, tool));
  }
  const [tool] = tools.values();
  if (tool === undefined) {
    const remedy = installed ? '' : '; install the iptables package, or choose another backend (--backend)';
    throw Object.assign(new Error(`the iptables backend cannot work here: ${missing.join('; ')}${remedy}`), {
      code: installed ? 'KP_BACKEND_FAILED' : 'KP_BACKEND_UNSUPPORTED',
    });
  }
  for (const reason of missing) host.log.warn('One IP family cannot be served', { reason });
  return {
    tools,
    affinity: options.affinity === 'auto' ? await probeAffinity(host, tool) : options.affinity,
    hairpin: options.hairpin === 'auto' ? await probeHairpin(host, tool) : options.hairpin,
    counters: await probeCounters(host, tool),
  };
}

/**
 * Ask until there is an answer. What is settled here holds until the process ends, so that a lock which happens to be
 * held must neither pass for a family that cannot be served nor for a match that the kernel lacks.
 */
async function whenFree<T>(host: Host, ask: () => Promise<T | 'busy'>): Promise<T> {
  const deadline = host.clock.now() + BUSY_LIMIT_MS;
  for (;;) {
    const answer = await ask();
    if (answer !== 'busy') return answer;
    if (host.clock.now() > deadline || host.signal.aborted) {
      const waited = `another program has held the lock of iptables for ${BUSY_LIMIT_MS / 1000} s`;
      throw Object.assign(new Error(`${waited}: find it with "fuser /run/xtables.lock", then start again`), {
        code: 'KP_BACKEND_FAILED',
      });
    }
    await new Promise<void>((resolve) => {
      host.clock.after(BUSY_PAUSE_MS, resolve);
    });
  }
}

/** Two sets of rules, one per variant, would both see each packet: follow whoever is on the node already. */
async function kubeletVariant(host: Host): Promise<Variant> {
  const installed: Variant[] = [];
  for (const variant of ['nft', 'legacy'] as const) {
    const tool = createTool(host, 'IPv4', variant);
    if (!(await exists(host, tool))) continue;
    installed.push(variant);
    for (const hint of KUBELET_HINTS) {
      const rules = await whenFree(host, async () => {
        const listed = await tool.list('mangle', hint);
        return listed === 'unknown' ? 'busy' : { listed };
      });
      if (rules.listed !== undefined) return variant;
    }
  }
  // Without a program of the plain name, the host's default is what there is.
  const plain = await exists(host, createTool(host, 'IPv4', 'default'));
  return plain ? 'default' : (installed[0] ?? 'default');
}

/** Does the kernel take this rule? Tried in the mangle table, where it is in nobody's way, and taken back. */
async function takes(tool: IptablesTool, rule: string): Promise<Answer> {
  const declare = `*mangle\n:${PROBE_CHAIN} - [0:0]\n`;
  try {
    await tool.restore(`${declare}-A ${PROBE_CHAIN} ${rule}\nCOMMIT\n`);
    return 'yes';
  } catch (error) {
    if (!(error instanceof Error)) return { reason: String(error) };
    return 'code' in error && error.code === 'KP_IPTABLES_BUSY' ? 'busy' : { reason: error.message };
  } finally {
    await tool.restore(`${declare}-X ${PROBE_CHAIN}\nCOMMIT\n`).catch(() => {});
  }
}

async function probeHairpin(host: Host, tool: IptablesTool): Promise<'bpf' | 'rules'> {
  const answer = await whenFree(host, () => takes(tool, `${sourceIsDestination(tool.family)} -j RETURN`));
  if (answer === 'yes') return 'bpf';
  host.log.info('No bpf match (CONFIG_NETFILTER_XT_MATCH_BPF); one hairpin rule for each local endpoint instead', {
    reason: answer.reason,
  });
  return 'rules';
}

async function probeAffinity(host: Host, tool: IptablesTool): Promise<'ipset' | 'recent'> {
  const set = probeSet(tool.family);
  const rule = `-m set --match-set ${set} src -j SET --add-set ${set} src --exist --timeout 1`;
  const answer = await whenFree(host, async () => {
    try {
      host.netlink.ipset().createHashIP({ name: set, family: tool.family, timeoutSeconds: 1, maxElements: 1 });
      const taken = await takes(tool, rule);
      await destroyEventually(host, [set], (name) => host.netlink.ipset().destroy(name));
      return taken;
    } catch (error) {
      return { reason: error instanceof Error ? error.message : String(error) };
    }
  });
  if (answer === 'yes') return 'ipset';
  host.log.warn(
    'No IP sets (CONFIG_IP_SET_HASH_IP, CONFIG_NETFILTER_XT_SET); session affinity remembers only as many clients ' +
      'per endpoint as xt_recent.ip_list_tot says (100 unless the module is loaded with more)',
    { reason: answer.reason },
  );
  return 'recent';
}

async function probeCounters(host: Host, tool: IptablesTool): Promise<boolean> {
  const answer = await whenFree(host, async () => {
    try {
      host.netlink.nfacct().ensure(PROBE_COUNTER);
      const taken = await takes(tool, countInto(PROBE_COUNTER));
      await destroyEventually(host, [PROBE_COUNTER], (name) => host.netlink.nfacct().delete(name));
      return taken;
    } catch (error) {
      return { reason: error instanceof Error ? error.message : String(error) };
    }
  });
  if (answer === 'yes') return true;
  host.log.info(
    'No packet counters (CONFIG_NETFILTER_NETLINK_ACCT, CONFIG_NETFILTER_XT_MATCH_NFACCT); two metrics are missing',
    { reason: answer.reason },
  );
  return false;
}
