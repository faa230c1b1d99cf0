/** The iptables backend as a data plane under test, in both variants, and what its rules look like. */
import type { IPFamily } from '../../core/backend.ts';
import { choice, type DataPlane, flagsOf } from './backend-scene.ts';
import type { World } from './world.ts';

export const VARIANTS = ['nft', 'legacy'] as const;
export type Variant = (typeof VARIANTS)[number];

export function iptablesPlane(variant: Variant, ...options: readonly string[]): DataPlane {
  return {
    title: variant,
    ...choice('iptables', [`variant=${variant}`, ...options]),
    rules: (world, family) => save(world, variant, family),
    countServices: (rules) => rules.match(/^:KUBE-SVC-/gm)?.length ?? 0,
  };
}

export function variantFlags(variant: Variant): string[] {
  return flagsOf(iptablesPlane(variant));
}

export async function save(world: World, variant: Variant, family: IPFamily = 'IPv4'): Promise<string> {
  const command = `${family === 'IPv4' ? 'iptables' : 'ip6tables'}-${variant}-save`;
  const { stdout } = await world.exec('node', command, []);
  // Dates and packet counters change by themselves.
  return stdout.replaceAll(/^#.*\n/gm, '').replaceAll(/\[\d+:\d+\]/g, '[0:0]');
}
