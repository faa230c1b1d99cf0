import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { formatDuration, formatGoDuration, parseDuration } from '../../../core/config/duration.ts';

const durations = suite('durations as Go writes them');

for (const [text, milliseconds] of [
  ['0', 0],
  ['0s', 0],
  ['30s', 30_000],
  ['1h0m0s', 3_600_000],
  ['100ms', 100],
  ['1.5h', 5_400_000],
  ['1m30s', 90_000],
  ['-1s', -1000],
  ['+.5s', 500],
  ['1us', 0.001],
] as const) {
  durations(`${text} is ${milliseconds} ms`, () => assert.is(parseDuration(text), milliseconds));
}

for (const text of ['', '1', '30', '3000000h', 's', '1 s', '1d', '1s2', 'x1s', '--1s', '1..5s', '.s']) {
  durations(`"${text}" is no duration`, () => assert.is(parseDuration(text), undefined));
}

durations('a duration is shown in the shortest form that reads well', () => {
  const shown = [0, 1, 1000, 1500, 90_000, 3_600_000, 5_400_000, -1000].map(formatDuration);
  assert.equal(shown, ['0s', '1ms', '1s', '1.5s', '1m30s', '1h', '1h30m', '-1s']);
});

durations('in files it looks as Go prints it', () => {
  const shown = [0, 1e-6, 0.0015, 1, 1.5, 1000, 1500, 90_000, 900_000, 3_600_000, 5_400_000, 86_400_000, -1000];
  assert.equal(shown.map(formatGoDuration), [
    ...['0s', '1ns', '1.5µs', '1ms', '1.5ms', '1s', '1.5s', '1m30s', '15m0s', '1h0m0s', '1h30m0s', '24h0m0s', '-1s'],
  ]);
});

durations('what Go prints can be read again', () => {
  for (const milliseconds of [0, 1e-6, 0.25, 999.5, 61_001, 86_399_999, 3_600_000]) {
    assert.is(parseDuration(formatGoDuration(milliseconds)), milliseconds);
  }
});

durations('what is shown can be read again', () => {
  for (const milliseconds of [0, 5, 999, 61_000, 86_400_000]) {
    assert.is(parseDuration(formatDuration(milliseconds)), milliseconds);
  }
});

durations.run();
