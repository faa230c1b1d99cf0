import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseServiceCIDR } from '../../../core/model/parse-servicecidr.ts';

const ranges = suite('ServiceCIDRs');

const raw = (cidrs: unknown) => ({ kind: 'ServiceCIDR', metadata: { name: 'kubernetes' }, spec: { cidrs } });

ranges('its ranges are canonical, each once', () => {
  assert.equal(parseServiceCIDR(raw(['10.96.5.1/12', 'FD00:10:96::/112', '10.96.0.0/12'])), {
    value: { name: 'kubernetes', cidrs: ['10.96.0.0/12', 'fd00:10:96::/112'] },
    problems: [],
  });
});

ranges('what is no range is left out with a problem', () => {
  const { value, problems } = parseServiceCIDR(raw(['10.96.0.0', 7, '10.97.0.0/16']));
  assert.equal(value?.cidrs, ['10.97.0.0/16']);
  assert.equal(problems, [
    'spec.cidrs[0]: "10.96.0.0" is not a CIDR; ignored',
    'spec.cidrs[1]: 7 is not a CIDR; ignored',
  ]);
});

ranges('without ranges it is there but empty; of another kind it is left out', () => {
  assert.equal(parseServiceCIDR({ metadata: { name: 'a' } }).value, { name: 'a', cidrs: [] });
  assert.match(parseServiceCIDR({ kind: 'Node', metadata: { name: 'a' } }).problems.join(), /^kind: "Node"/);
});

ranges.run();
