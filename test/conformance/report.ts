/**
 * The report: one line for each behaviour, more for those that do not hold, and one line of numbers. Pure.
 *
 *   ✓ A full sync of nothing resolves
 *   ✗ close() stops timers, listeners and children
 *       expected  nothing left that keeps the process alive
 *       seen      1 Timeout
 *       contract  Backend.close(): "Stop timers, listeners and children."
 *       remedy    keep what clearInterval … need, and call them
 *   ! (advice: the contract does not demand it)
 *   – (could not be tried, and why)
 */
import { escapeControls } from '../../core/observe/log.ts';
import type { Part, Result, Verdict } from './behaviour.ts';

const MARKS: Readonly<Record<Verdict['kind'], string>> = { holds: '✓', fails: '✗', advice: '!', 'not tried': '–' };
const TITLES: Readonly<Record<Part, string>> = {
  contract: 'The contract, of which kube-proxy.d.ts says more',
  packets: 'What connections meet',
};

const LEGEND = '✓ holds   ✗ fails   ! advice: looks wrong, and the contract does not demand it   – not tried';

/** More of them are told by their number. */
const MOST_ALIKE = 4;

/** What was tried, and where. */
export interface Head {
  readonly name: string;
  readonly version: string;
  readonly summary: string;
  /** "Linux 6.1.0, in private namespaces" */
  readonly place: string;
}

export interface Printer {
  head(head: Head): string;
  result(result: Result): string;
  tail(results: readonly Result[]): string;
}

export function textPrinter(): Printer {
  let part: Part | undefined;
  let lastWhy = '';
  /** Lines of behaviours that were not tried for the same reason as the one before. */
  let alike: string[] = [];
  const alikeText = (): string => {
    const count = alike.length;
    const text = count > MOST_ALIKE ? `  – ${count} more: not tried, for the same reason\n` : alike.join('');
    alike = [];
    return text;
  };
  return {
    head({ name, version, summary, place }) {
      return `${escapeControls(`${name}${version === '' ? '' : ` ${version}`}: ${summary}`)}\non ${place}\n`;
    },
    result(result) {
      const title = result.part === part ? '' : `\n${TITLES[result.part]}\n`;
      part = result.part;
      const why = result.verdict.kind === 'not tried' ? result.verdict.why : '';
      if (why !== '' && why === lastWhy && title === '') {
        alike.push(resultText(result, lastWhy));
        return '';
      }
      const text = alikeText() + title + resultText(result, lastWhy);
      lastWhy = why;
      return text;
    },
    tail(results) {
      const { holds, fails, notTried, advice } = count(results);
      const also = advice > 0 ? `, ${advice} with advice` : '';
      return `${alikeText()}\n${LEGEND}\n${holds} hold, ${fails} fail, ${notTried} not tried${also}\n`;
    },
  };
}

/** What plugins threw and packets brought is others' text, of which controls are escaped. */
function resultText({ sentence, contract, remedy, verdict }: Result, lastWhy: string): string {
  const line = `  ${MARKS[verdict.kind]} ${sentence}`;
  switch (verdict.kind) {
    case 'holds':
      return `${line}${verdict.note ? ` (${escapeControls(verdict.note)})` : ''}\n`;
    case 'not tried':
      return `${line}: not tried${verdict.why === lastWhy ? ', for the same reason' : `: ${escapeControls(verdict.why)}`}\n`;
    case 'fails':
    case 'advice':
      return [
        line,
        `      expected  ${escapeControls(verdict.expected)}`,
        `      seen      ${escapeControls(verdict.seen)}`,
        `      contract  ${contract}`,
        `      remedy    ${remedy}`,
        '',
      ].join('\n');
  }
}

/** One JSON object at the end. */
export function jsonPrinter(): Printer {
  let head: Head | undefined;
  return {
    head(given) {
      head = given;
      return '';
    },
    result: () => '',
    tail(results) {
      const behaviours = results.map(({ verdict: { kind, ...more }, ...said }) => ({
        ...said,
        verdict: kind,
        ...more,
      }));
      return `${JSON.stringify({ backend: head, counts: count(results), behaviours }, undefined, 2)}\n`;
    },
  };
}

export interface Counts {
  readonly holds: number;
  readonly fails: number;
  readonly notTried: number;
  readonly advice: number;
}

export function count(results: readonly Result[]): Counts {
  const of = (kind: Verdict['kind']): number => results.filter(({ verdict }) => verdict.kind === kind).length;
  return { holds: of('holds'), fails: of('fails'), notTried: of('not tried'), advice: of('advice') };
}
