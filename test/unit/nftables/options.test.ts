import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseOptions } from '../../../plugins/nftables/options.ts';

const test = suite('nftables options');

test('by default the kernel decides about ownership, and elements carry names', () => {
  assert.equal(parseOptions({}), { ownership: 'auto', comments: 'on' });
  assert.equal(parseOptions({ ownership: 'off', comments: 'off' }), { ownership: 'off', comments: 'off' });
});

test('what is on or off may be true or false, as a configuration file has it', () => {
  assert.equal(parseOptions({ ownership: true, comments: false }), { ownership: 'on', comments: 'off' });
});

test('one error names every fault', () => {
  try {
    parseOptions({ ownership: 'yes', comments: 1, affinity: 'ipset', toString: 'on' });
    assert.unreachable();
  } catch (error) {
    assert.is((error as { code?: string }).code, 'KP_BACKEND_OPTION');
    const { message } = error as Error;
    assert.match(message, /ownership: "yes" is not one of auto, on, off/);
    assert.match(message, /comments: 1 is not one of on, off/);
    assert.match(message, /affinity: unknown option; known are ownership, comments/);
    assert.match(message, /toString: unknown option/);
  }
});

test.run();
