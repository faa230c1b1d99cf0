/** Options as text and as typed values; all faults in one error. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseOptions } from '../../../plugins/ipvs/options.ts';

const test = suite('ipvs options');

function failure(raw: Readonly<Record<string, unknown>>): Error & { code?: string } {
  try {
    parseOptions(raw);
  } catch (error) {
    return error as Error;
  }
  throw new Error(`${JSON.stringify(raw)} was taken`);
}

test('without options there are defaults', () => {
  const { scheduler, excluded, ...rest } = parseOptions({});
  assert.equal(scheduler, { name: 'rr', hashPort: false, hashFallback: false });
  assert.is(excluded('10.96.0.1'), false);
  assert.equal(rest, {
    strictARP: false,
    tcpTimeoutSeconds: 0,
    tcpFinTimeoutSeconds: 0,
    udpTimeoutSeconds: 0,
    graceSeconds: 900,
    ownership: 'auto',
    comments: true,
    cleanupOnly: false,
  });
});

test('text of the command line and typed values of a file mean the same', () => {
  const typed = parseOptions({
    scheduler: 'wlc',
    excludeCIDRs: ['10.0.0.0/8', '2001:db8::/32'],
    strictARP: true,
    tcpTimeoutSeconds: 60,
    tcpFinTimeoutSeconds: 0,
    udpTimeoutSeconds: 2147483,
    graceSeconds: 5,
    ownership: false,
    comments: false,
  });
  const text = parseOptions({
    scheduler: 'wlc',
    excludeCIDRs: '10.0.0.0/8, 2001:db8::/32',
    strictARP: 'on',
    tcpTimeoutSeconds: '60',
    tcpFinTimeoutSeconds: '0',
    udpTimeoutSeconds: '2147483',
    graceSeconds: '5',
    ownership: 'off',
    comments: 'false',
  });
  const { excluded: one, ...plain } = typed;
  const { excluded: other, ...same } = text;
  assert.equal(plain, same);
  assert.equal([plain.strictARP, plain.tcpTimeoutSeconds, plain.ownership], [true, 60, 'off']);
  for (const excluded of [one, other]) {
    assert.equal(['10.1.2.3', '11.0.0.1', '2001:db8::1', '2001:db9::1'].map(excluded), [true, false, true, false]);
  }
});

test('mh of a configuration hashes the port, as in the reference; other names are as in annotations', () => {
  assert.equal(parseOptions({ scheduler: 'mh' }).scheduler, { name: 'mh', hashPort: true, hashFallback: true });
  assert.is(parseOptions({ scheduler: 'mh-fallback' }).scheduler.hashPort, false);
  assert.is(parseOptions({ scheduler: 'sh' }).scheduler.hashPort, false);
});

test('an empty list excludes nothing, and an option left undefined has its default', () => {
  assert.is(parseOptions({ excludeCIDRs: '' }).excluded('10.0.0.1'), false);
  assert.is(parseOptions({ graceSeconds: undefined }).graceSeconds, 900);
});

test('one error names every fault: option, value, and what it should be', () => {
  const error = failure({ schedular: 'rr', graceSeconds: -1, strictARP: 'maybe', excludeCIDRs: '10.0.0.0' });
  assert.is(error.code, 'KP_BACKEND_OPTION');
  assert.match(error.message, /schedular: unknown option; known are scheduler, excludeCIDRs/);
  assert.match(error.message, /graceSeconds: -1 is not a whole number of seconds, at most 2147483/);
  assert.match(error.message, /strictARP: "maybe" is not one of on, off/);
  assert.match(error.message, /excludeCIDRs: "10.0.0.0" is not a list of CIDRs/);
});

for (const [name, values] of Object.entries({
  scheduler: ['', 'RR', 7, null],
  excludeCIDRs: ['10.0.0.0/33', '10.0.0.0/8;11.0.0.0/8', ['10.0.0.0/8', 7], 7, '::/129', 'fe80::%eth0/64'],
  strictARP: ['', 1, 'yes', null],
  tcpTimeoutSeconds: ['', '1.5', 1.5, 2147484, '-1', '1e3', Number.NaN, true],
  graceSeconds: ['15m'],
  ownership: ['maybe', 1],
  comments: ['no'],
})) {
  test(`${name} takes none of ${JSON.stringify(values)}`, () => {
    for (const value of values) {
      const { code, message } = failure({ [name]: value });
      assert.is(code, 'KP_BACKEND_OPTION');
      assert.match(message, `ipvs backend options: ${name}: ${JSON.stringify(value)} is not `);
    }
  });
}

test.run();
