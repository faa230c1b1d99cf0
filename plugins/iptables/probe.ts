/**
 * What this host can do, found by trying: which variant of iptables, which families, and whether the kernel has the
 * two matches without which the plan falls back to plainer rules.
 */
import type { Host, IPFamily } from '../../core/backend.ts';
import { affinitySetPrefix } from './names.ts';
import type { IptablesOptions } from './options.ts';
import { sourceIsDestination } from './rule-text.ts';
import { answers, createTool, exists, type IptablesTool, type Variant } from './tool.ts';

/** Chains that the kubelet makes in the mangle table of the variant that it uses, for others to follow. */
const KUBELET_HINTS = ['KUBE-IPTABLES-HINT', 'KUBE-KUBELET-CANARY'];
const PROBE_CHAIN = 'KUBE-PROXY-PROBE';

export interface Support {
  readonly tools: ReadonlyMap<IPFamily, IptablesTool>;
  readonly affinity: 'ipset' | 'recent';
  readonly hairpin: 'bpf' | 'rules';
}

export async function probe(host: Host, options: IptablesOptions): Promise<Support> {
  const variant = options.variant === 'auto' ? await kubeletVariant(host) : options.variant;
  const tools = new Map<IPFamily, IptablesTool>();
  const missing: string[] = [];
  let installed = false;
  for (const family of ['IPv4', 'IPv6'] as const) {
    if (family === 'IPv6' && host.sysctl.read('net/ipv6/conf/all/disable_ipv6') !== '0') {
      host.log.info('IPv6 is disabled on this host; serving IPv4 only');
      continue;
    }
    const tool = createTool(host, family, variant);
    const answer = await answers(host, tool);
    if (answer === true) tools.set(family, tool);
    else missing.push(answer);
    installed ||= answer === true || (await exists(host, tool));
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
  };
}

/** Two sets of rules, one per variant, would both see each packet: follow whoever is on the node already. */
async function kubeletVariant(host: Host): Promise<Variant> {
  for (const variant of ['nft', 'legacy'] as const) {
    const tool = createTool(host, 'IPv4', variant);
    if (!(await exists(host, tool))) continue;
    for (const hint of KUBELET_HINTS) {
      const rules = await tool.list('mangle', hint);
      if (rules !== undefined && rules !== 'unknown') return variant;
    }
  }
  return 'default';
}

/** Does the kernel take this rule? Tried in the mangle table, where it is in nobody's way, and taken back. */
async function takes(tool: IptablesTool, rule: string): Promise<true | string> {
  const declare = `*mangle\n:${PROBE_CHAIN} - [0:0]\n`;
  try {
    await tool.restore(`${declare}-A ${PROBE_CHAIN} ${rule}\nCOMMIT\n`);
    return true;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    await tool.restore(`${declare}-X ${PROBE_CHAIN}\nCOMMIT\n`).catch(() => {});
  }
}

async function probeHairpin(host: Host, tool: IptablesTool): Promise<'bpf' | 'rules'> {
  const answer = await takes(tool, `${sourceIsDestination(tool.family)} -j RETURN`);
  if (answer === true) return 'bpf';
  host.log.info('No bpf match (CONFIG_NETFILTER_XT_MATCH_BPF); one hairpin rule for each local endpoint instead', {
    reason: answer,
  });
  return 'rules';
}

async function probeAffinity(host: Host, tool: IptablesTool): Promise<'ipset' | 'recent'> {
  const set = `${affinitySetPrefix(tool.family)}PROBE`;
  let reason: string;
  try {
    const sets = host.netlink.ipset();
    sets.createHashIP({ name: set, family: tool.family, timeoutSeconds: 1, maxElements: 1 });
    const answer = await takes(tool, `-m set --match-set ${set} src -j SET --add-set ${set} src --exist --timeout 1`);
    await destroyEventually(host, set);
    if (answer === true) return 'ipset';
    reason = answer;
  } catch (error) {
    reason = error instanceof Error ? error.message : String(error);
  }
  host.log.warn(
    'No IP sets (CONFIG_IP_SET_HASH_IP, CONFIG_NETFILTER_XT_SET); session affinity remembers only as many clients ' +
      'per endpoint as xt_recent.ip_list_tot says (100 unless the module is loaded with more)',
    { reason },
  );
  return 'recent';
}

/** nf_tables drops its reference to a set some time after the commit that removed the rule. */
export async function destroyEventually(host: Host, set: string): Promise<void> {
  const deadline = host.clock.now() + 3000;
  for (;;) {
    try {
      host.netlink.ipset().destroy(set);
      return;
    } catch (error) {
      if (host.clock.now() > deadline) throw error;
      await new Promise<void>((resolve) => {
        host.clock.after(20, resolve);
      });
    }
  }
}
