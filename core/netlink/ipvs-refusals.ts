/**
 * What the kernel's error numbers mean in IPVS, by what was asked (net/netfilter/ipvs/ip_vs_ctl.c), and what the kernel
 * lacks, with the option that would give it.
 */
import type { IPVSStep } from '../ipvs.ts';
import { type ErrnoMeaning, errnoMeaning, NetlinkError, type NetlinkErrorCode } from './errors.ts';
import { stepObject } from './ipvs-protocol.ts';
import type { Outcome } from './message.ts';

export const NO_IPVS = {
  text: 'this kernel has no IPVS',
  remedy: 'load it ("modprobe ip_vs" on the host) or use a kernel with CONFIG_IP_VS',
};
const NO_IPV6 = {
  text: 'this kernel serves no IPv6 with IPVS',
  remedy: 'use a kernel with CONFIG_IP_VS_IPV6, and IPv6 switched on',
};

/** In answers to questions; see `stepRefusal` for steps. */
export function ipvsErrorMeaning(errno: number): ErrnoMeaning | undefined {
  const { name } = errnoMeaning(errno);
  // GENL_ADMIN_PERM, and not GENL_UNS_ADMIN_PERM: the namespace's own root does not suffice.
  if (name === 'EPERM') return { ...errnoMeaning(errno), remedy: 'needs CAP_NET_ADMIN in the initial user namespace' };
  if (name === 'ESRCH') return { name, text: 'no such virtual server', remedy: '' };
  if (name === 'EAFNOSUPPORT') return { name, ...NO_IPV6 };
  return undefined;
}

export function stepRefusal(step: IPVSStep, { errno, text: explanation }: Outcome): NetlinkError {
  const { code, name, text, remedy } = meaningOf(step, errno);
  return new NetlinkError({
    code,
    operation: `ipvs ${step.do}`,
    object: stepObject(step),
    errno: name,
    text: [text, explanation].filter(Boolean).join('; '),
    remedy,
  });
}

function meaningOf(step: IPVSStep, errno: number): ErrnoMeaning & { readonly code: NetlinkErrorCode } {
  const { name } = errnoMeaning(errno);
  const refused = (text: string, remedy = '') => ({ code: 'KP_NETLINK_REFUSED' as const, name, text, remedy });
  if (name === 'EAFNOSUPPORT') return { code: 'KP_NETLINK_UNSUPPORTED', name, ...NO_IPV6 };
  if (name === 'EEXIST') return refused('it exists already');
  if (step.do === 'add virtual server' || step.do === 'set virtual server') {
    if (name === 'ENOENT') return { code: 'KP_NETLINK_UNSUPPORTED', name, ...lackOf(step.server) };
  } else if ('real' in step) {
    if (name === 'ENOENT') return refused('no such real server');
    // ip_vs_new_dest: RTN_LOCAL or RTN_UNICAST; and families may differ in tunnels only.
    if (name === 'EINVAL') return refused('its address must be unicast or local, and of the virtual server’s family');
  }
  return { code: 'KP_NETLINK_REFUSED', ...(ipvsErrorMeaning(errno) ?? errnoMeaning(errno)) };
}

function lackOf({ scheduler, persistenceEngine = '' }: { scheduler: string; persistenceEngine?: string }): {
  readonly text: string;
  readonly remedy: string;
} {
  const option = `CONFIG_IP_VS_${scheduler.toUpperCase()}`;
  const remedy = `load the module ip_vs_${scheduler} or use a kernel with ${option}`;
  if (persistenceEngine === '') return { text: `this kernel has no scheduler ${scheduler}`, remedy };
  return { text: `this kernel has no scheduler ${scheduler} or no persistence engine ${persistenceEngine}`, remedy };
}
