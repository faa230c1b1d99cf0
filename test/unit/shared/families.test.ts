/** Which families are served, and what is said of the others. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily, Logger } from '../../../core/backend.ts';
import { hostFamilies, servedFamilies } from '../../../plugins/shared/families.ts';

const test = suite('families of a host');

function hostWith(disabled: string | undefined) {
  const said: string[] = [];
  const say = (message: string, values?: Readonly<Record<string, unknown>>): void => {
    said.push([message, ...Object.values(values ?? {})].join(': '));
  };
  const log: Logger = { error: say, warn: say, info: say, verbose: () => {}, enabled: () => false };
  return { said, log, sysctl: { read: () => disabled, ensure: () => {} } };
}

const lacking =
  (...families: readonly IPFamily[]) =>
  async (family: IPFamily): Promise<readonly string[]> =>
    families.includes(family) ? ['CONFIG_A', 'CONFIG_B'] : [];

test('IPv6 is left out where the host has it disabled, or does not have it', () => {
  for (const [disabled, families] of [
    ['0', ['IPv4', 'IPv6']],
    ['1', ['IPv4']],
    [undefined, ['IPv4']],
  ] as const) {
    const host = hostWith(disabled);
    assert.equal([...hostFamilies(host)], families);
    assert.is(host.said.length, 2 - families.length);
  }
});

test('a family that lacks something is warned of, as the other one is served', async () => {
  const host = hostWith('0');
  const found = await servedFamilies(host, hostFamilies(host), lacking('IPv6'));
  assert.equal(found, { families: ['IPv4'], missing: 'IPv6 needs CONFIG_A, CONFIG_B' });
  assert.equal(host.said, ['One IP family cannot be served: IPv6 needs CONFIG_A, CONFIG_B']);
});

test('nothing is warned of where no family is left: then the error says it', async () => {
  const host = hostWith('0');
  const { families, missing } = await servedFamilies(host, hostFamilies(host), lacking('IPv4', 'IPv6'));
  assert.equal(families, []);
  assert.is(missing, 'IPv4 needs CONFIG_A, CONFIG_B; IPv6 needs CONFIG_A, CONFIG_B');
  assert.equal(host.said, []);
});

test.run();
