/** This backend's own options (--backend-option NAME=VALUE, or backendOptions in a configuration file), validated. */

export interface IptablesOptions {
  /** Bit of the packet mark that asks for masquerading, 0..31. */
  readonly masqueradeBit: number;
  /** Which iptables: the nft or the legacy kernel interface; auto follows the kubelet, else the host's default. */
  readonly variant: 'auto' | 'nft' | 'legacy';
  /** Where session affinity is remembered: ipset has no limit of clients, recent forgets all but 100 per endpoint. */
  readonly affinity: 'auto' | 'ipset' | 'recent';
  /** How a connection of a pod to itself is recognised: one bpf rule, or one rule for each local endpoint. */
  readonly hairpin: 'auto' | 'bpf' | 'rules';
}

const DEFAULTS: IptablesOptions = { masqueradeBit: 14, variant: 'auto', affinity: 'auto', hairpin: 'auto' };
const CHOICES: Readonly<Record<string, readonly string[]>> = {
  variant: ['auto', 'nft', 'legacy'],
  affinity: ['auto', 'ipset', 'recent'],
  hairpin: ['auto', 'bpf', 'rules'],
};

/** Throws one error that names every fault. Numbers may come as text, as they do from the command line. */
export function parseOptions(raw: Readonly<Record<string, unknown>>): IptablesOptions {
  const faults: string[] = [];
  const options: Record<string, unknown> = { ...DEFAULTS };
  for (const [name, value] of Object.entries(raw)) {
    const choices = Object.hasOwn(CHOICES, name) ? CHOICES[name] : undefined;
    if (choices !== undefined) {
      if (typeof value === 'string' && choices.includes(value)) options[name] = value;
      else faults.push(`${name}: ${JSON.stringify(value)} is not one of ${choices.join(', ')}`);
    } else if (name === 'masqueradeBit') {
      const bit = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value;
      if (Number.isInteger(bit) && Number(bit) >= 0 && Number(bit) <= 31) options[name] = bit;
      else faults.push(`masqueradeBit: ${JSON.stringify(value)} is not a whole number from 0 to 31`);
    } else {
      faults.push(`${name}: unknown option; known are ${Object.keys(DEFAULTS).join(', ')}`);
    }
  }
  if (faults.length > 0) {
    throw Object.assign(new Error(`iptables backend options: ${faults.join('; ')}`), { code: 'KP_BACKEND_OPTION' });
  }
  return options as unknown as IptablesOptions;
}
