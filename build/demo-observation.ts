/**
 * What was seen, as cells of the demo's table, and whether it is what the oracle said. Every word of a cell comes from
 * outcomes; the expectation only adds the faults. Pure.
 */
import type { NodeView } from '../core/backend.ts';
import { judge } from '../test/conformance/judge.ts';
import { hostPort, type Outcome } from '../test/netns/agent-protocol.ts';
import type { Question } from './demo-questions.ts';

export interface Observation {
  /** "pod-a 14, pod-b 26", "refused at once", "no answer (dropped)". */
  readonly reached: string;
  /** "kept", "masqueraded as 192.168.50.10"; "" when nothing was reached. */
  readonly source: string;
  /** One line for each thing that is not as the oracle says, repetitions counted; empty when all is. */
  readonly faults: readonly string[];
}

type Answered = Extract<Outcome, { outcome: 'answered' }>;

export function observe(question: Question, outcomes: readonly Outcome[], node: NodeView): Observation {
  const answers = outcomes.filter((outcome) => outcome.outcome === 'answered');
  return {
    reached: reachedCell(outcomes, answers),
    source: sourceCell(question, answers, node),
    faults: faultsOf(question, outcomes, answers, node),
  };
}

function reachedCell(outcomes: readonly Outcome[], answers: readonly Answered[]): string {
  const byServer = [...counts(answers.map(({ server }) => server))].sort(([a], [b]) => (a < b ? -1 : 1));
  const parts = byServer.map(([server, times]) => `${server} ${times}`);
  const words = {
    refused: 'refused at once',
    timeout: 'no answer (dropped)',
    unreachable: 'unreachable',
    closed: 'closed without an answer',
  };
  for (const [kind, text] of Object.entries(words)) {
    const times = outcomes.filter(({ outcome }) => outcome === kind).length;
    if (times > 0) parts.push(times === outcomes.length ? text : `${text} ${times}`);
  }
  return parts.join(', ');
}

function sourceCell({ probe: { packet } }: Question, answers: readonly Answered[], node: NodeView): string {
  const seen = counts(answers.map(({ peer }) => peer));
  const masqueraded = [...seen].filter(([peer]) => peer !== packet.sourceIP);
  if (answers.length === 0) return '';
  if (masqueraded.length === 0) {
    // The node masquerades with its own address: that cannot be told from keeping it.
    return node.addresses.includes(packet.sourceIP) ? "the node's" : 'kept';
  }
  const kept = seen.get(packet.sourceIP) ?? 0;
  if (kept > 0) return `kept ${kept}, masqueraded ${answers.length - kept}`;
  return `masqueraded as ${masqueraded.map(([peer]) => peer).join(', ')}`;
}

function faultsOf(
  { from, probe, sticky }: Question,
  outcomes: readonly Outcome[],
  answers: readonly Answered[],
  node: NodeView,
): readonly string[] {
  // Each answer carries its own port number; without it, equal faults are equal.
  const alike = (outcome: Outcome): Outcome => {
    return outcome.outcome === 'answered' ? { ...outcome, localPort: 0, peerPort: 0 } : outcome;
  };
  const single = outcomes.flatMap((outcome) => judge(probe, alike(outcome), node) ?? []);
  const faults = [...counts(single)].map(([fault, times]) => `${times}x ${fault}`);
  const { packet, verdict } = probe;
  if (verdict.action !== 'endpoints' || answers.length === 0) return faults;

  const to = hostPort(packet.destinationIP, packet.destinationPort);
  const servers = new Set(answers.map(({ address }) => address));
  if (sticky && servers.size > 1)
    faults.push(`${from} to ${to}: expected one endpoint, got ${[...servers].join(', ')}`);
  // Forty connections miss one of three endpoints by chance once in four million times.
  const missed = verdict.endpoints.map(({ ip, port }) => hostPort(ip, port)).filter((address) => !servers.has(address));
  if (!sticky && missed.length > 0 && answers.length >= 40) {
    faults.push(`${from} to ${to}: ${missed.join(', ')} never reached by ${answers.length} connections`);
  }
  return faults;
}

function counts(values: readonly string[]): Map<string, number> {
  const found = new Map<string, number>();
  for (const value of values) found.set(value, (found.get(value) ?? 0) + 1);
  return found;
}
