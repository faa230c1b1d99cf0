/** This backend's own options (--backend-option NAME=VALUE, or backendOptions in a configuration file), validated. */
import { choiceOf } from '../shared/options.ts';
import { OWNERSHIPS, type Ownership } from '../shared/table/probe.ts';

export interface NftablesOptions {
  /** Whether only this process may change the table: auto = where the kernel can (6.9). */
  readonly ownership: Ownership;
  /** Whether elements of `services` and `nodeports` carry the Service's name as a comment. */
  readonly comments: 'on' | 'off';
}

const DEFAULTS: NftablesOptions = { ownership: 'auto', comments: 'on' };
const CHOICES: Readonly<Record<string, readonly string[]>> = {
  ownership: OWNERSHIPS,
  comments: ['on', 'off'],
};

/** Throws one error that names every fault. What is on or off may also be true or false, as a configuration file has it. */
export function parseOptions(raw: Readonly<Record<string, unknown>>): NftablesOptions {
  const faults: string[] = [];
  const options: Record<string, unknown> = { ...DEFAULTS };
  for (const [name, value] of Object.entries(raw)) {
    const choices = Object.hasOwn(CHOICES, name) ? CHOICES[name] : undefined;
    const choice = choices && choiceOf(value, choices);
    if (choices === undefined) faults.push(`${name}: unknown option; known are ${Object.keys(DEFAULTS).join(', ')}`);
    else if (choice === undefined) faults.push(`${name}: ${JSON.stringify(value)} is not one of ${choices.join(', ')}`);
    else options[name] = choice;
  }
  if (faults.length > 0) {
    throw Object.assign(new Error(`nftables backend options: ${faults.join('; ')}`), { code: 'KP_BACKEND_OPTION' });
  }
  return options as unknown as NftablesOptions;
}
