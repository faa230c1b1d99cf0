/**
 * Where the demo's scenes play: it asks the world's questions, prints what came of them, and remembers every fault.
 * The last line of the demo is nothing but this memory.
 */
import type { Outcome, Request } from '../test/netns/agent-protocol.ts';
import type { World } from '../test/netns/world.ts';
import { type Observation, observe } from './demo-observation.ts';
import type { Question, States, Topic } from './demo-questions.ts';
import { type Cell, columnWidths, type Paint, tableRow, wrap } from './demo-table.ts';

/** Connections per question: enough that every endpoint shows. */
export const CONNECTIONS = 40;
/** Well below a second, after which TCP asks again; well above what a busy machine takes. */
const TIMEOUT_MS = 800;

export interface Stage {
  heading(text: string): void;
  say(text?: string): void;
  /** A command as typed, broken as a shell would take it. */
  command(text: string): void;
  /** A file's or program's own text, line by line. */
  quote(lines: readonly string[]): void;
  /** Ask, print the table, judge. */
  tour(topics: readonly Topic[], states: States): Promise<void>;
  /** Ask and judge without a table. */
  ask(topics: readonly Topic[], states: States): Promise<readonly (readonly Observation[])[]>;
  /** Something other than connections that must hold; printed and remembered if it does not. */
  expect(holds: boolean, fault: string): void;
  /** Every connection whose fate was judged. */
  connections(): number;
  faults(): readonly string[];
}

export function createStage(world: World, print: (line: string) => void, paint: Paint): Stage {
  const faults: string[] = [];
  let connections = 0;
  const say = (text = '') => {
    for (const line of wrap(text, { indent: /^ */.exec(text)![0].length })) print(line);
  };

  async function ask(topics: readonly Topic[], states: States): Promise<readonly (readonly Observation[])[]> {
    const outcomes = await askWorld(
      world,
      topics.flatMap(({ questions }) => questions),
    );
    return topics.map(({ questions, family }) =>
      questions.map((question) => {
        const own = outcomes.get(question) ?? [];
        connections += own.length;
        const observation = observe(question, own, states[family].node);
        faults.push(...observation.faults);
        return observation;
      }),
    );
  }

  return {
    heading(text) {
      print('');
      print(paint(text, 'bold'));
    },
    say,
    command(text) {
      for (const line of wrap(`  $ ${text}`, { indent: 6, mark: ' \\' })) print(paint(line, 'bold'));
    },
    quote(lines) {
      for (const line of lines) print(line === '' ? '' : `    ${line}`);
    },
    ask,
    async tour(topics, states) {
      const observations = await ask(topics, states);
      const rows = topics.map(({ questions }, topic) =>
        questions.map(({ from }, index): readonly Cell[] => {
          const { reached, source, faults: own } = observations[topic]![index]!;
          const good = own.length === 0;
          return [`    ${from}`, reached, source, { text: good ? 'ok' : 'WRONG', tone: good ? 'good' : 'bad' }];
        }),
      );
      const title = ['    from', `reached, of ${CONNECTIONS} connections`, 'source seen by the pod', 'oracle'];
      const widths = columnWidths([title, ...rows.flat()]);
      print(paint(tableRow(title, widths, unpainted), 'dim'));
      const names = columnWidths(topics.map(({ service, destination }) => [service, destination]));
      for (const [index, { service, destination, note }] of topics.entries()) {
        print(
          `  ${tableRow([{ text: service, tone: 'bold' }, destination, { text: note, tone: 'dim' }], names, paint)}`,
        );
        for (const row of rows[index]!) print(tableRow(row, widths, paint));
      }
    },
    expect(holds, fault) {
      if (holds) return;
      faults.push(fault);
      say(`  ${paint('WRONG', 'bad')}: ${fault}`);
    },
    connections: () => connections,
    faults: () => faults,
  };
}

/** All at once from every place; a sticky client's first connection goes alone, for only then has it an endpoint. */
async function askWorld(world: World, questions: readonly Question[]): Promise<Map<Question, readonly Outcome[]>> {
  const first = await inParallel(
    world,
    questions.filter(({ sticky }) => sticky).map((question) => [question, 1]),
  );
  const rest = await inParallel(
    world,
    questions.map((question) => [question, CONNECTIONS - (first.get(question)?.length ?? 0)]),
  );
  return new Map([...rest].map(([question, outcomes]) => [question, [...(first.get(question) ?? []), ...outcomes]]));
}

async function inParallel(
  world: World,
  asked: readonly (readonly [Question, number])[],
): Promise<Map<Question, readonly Outcome[]>> {
  const byNamespace = Map.groupBy(asked, ([{ probe }]) => probe.namespace);
  const outcomes = new Map<Question, readonly Outcome[]>();
  await Promise.all(
    [...byNamespace].map(async ([namespace, own]) => {
      const requests = own.flatMap(([{ probe }, times]) => Array<Request>(times).fill(requestOf(probe.packet)));
      const all = await world.requests(namespace, requests, 2 * CONNECTIONS);
      let at = 0;
      for (const [question, times] of own) {
        outcomes.set(question, all.slice(at, at + times));
        at += times;
      }
    }),
  );
  return outcomes;
}

function requestOf({ protocol, sourceIP, destinationIP, destinationPort }: Question['probe']['packet']): Request {
  return { protocol, sourceIP, destinationIP, destinationPort, timeoutMs: TIMEOUT_MS };
}

const unpainted: Paint = (text) => text;
