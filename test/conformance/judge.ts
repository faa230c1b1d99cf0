/** Compares what happened to a request with what the oracle says must happen. Pure. */
import type { NodeView } from '../../core/backend.ts';
import { hostPort, type Outcome } from '../netns/agent-protocol.ts';
import type { Probe } from './matrix.ts';

/** What is wrong, in one line each; undefined where nothing is. */
export interface Judgement {
  /** About who answered, or whether anybody did. */
  readonly answer?: string;
  /** About the source address that the endpoint saw. */
  readonly source?: string;
}

/** What is wrong, in one line; undefined when nothing is. */
export function judge(probe: Probe, outcome: Outcome, node: NodeView): string | undefined {
  const { answer, source } = judgeParts(probe, outcome, node);
  return answer ?? source;
}

export function judgeParts(probe: Probe, outcome: Outcome, node: NodeView): Judgement {
  const answer = judgeAnswer(probe, outcome);
  if (answer !== undefined) return { answer };
  const source = judgeSource(probe, outcome, node);
  return source === undefined ? {} : { source };
}

function complaint({ packet, namespace }: Probe, outcome: Outcome): (expected: string) => string {
  const destination = hostPort(packet.destinationIP, packet.destinationPort);
  const question = `${packet.protocol} from ${namespace} (${packet.sourceIP}) to ${destination}`;
  return (expected) => `${question}: expected ${expected}, got ${JSON.stringify(outcome)}`;
}

function judgeAnswer(probe: Probe, outcome: Outcome): string | undefined {
  const { packet, verdict } = probe;
  const wrong = complaint(probe, outcome);
  // The kernel tells a local UDP sender of both, DROP and REJECT, by failing its send (EPERM).
  const sendFailed = packet.origin === 'node' && outcome.outcome === 'unreachable' && outcome.code === 'EPERM';
  if (sendFailed && (verdict.action === 'reject' || verdict.action === 'drop')) return undefined;
  // Asked by raw sockets, SCTP cannot tell whose ICMP error it got: an answer, or none.
  if (packet.protocol === 'SCTP' && verdict.action !== 'endpoints') {
    return outcome.outcome === 'answered' ? wrong('no answer') : undefined;
  }
  switch (verdict.action) {
    case 'reject':
      return outcome.outcome === 'refused' ? undefined : wrong(`a refusal (${verdict.servicePort})`);
    case 'drop':
      return outcome.outcome === 'timeout' ? undefined : wrong(`silence (${verdict.servicePort})`);
    case 'pass':
      return outcome.outcome === 'answered' ? wrong('no answer from any endpoint') : undefined;
    case 'endpoints': {
      const list = verdict.endpoints.map((endpoint) => hostPort(endpoint.ip, endpoint.port));
      const isRight = outcome.outcome === 'answered' && list.includes(outcome.address);
      return isRight ? undefined : wrong(`an answer of ${list.join(' or ')} (${verdict.servicePort})`);
    }
  }
}

/** Of an answer that came from an endpoint that may give it. */
function judgeSource(probe: Probe, outcome: Outcome, node: NodeView): string | undefined {
  const { packet, verdict } = probe;
  if (verdict.action !== 'endpoints' || outcome.outcome !== 'answered') return undefined;
  const endpoint = verdict.endpoints.find(({ ip, port }) => hostPort(ip, port) === outcome.address);
  if (endpoint === undefined) return undefined;
  const wrong = complaint(probe, outcome);
  const masqueraded = outcome.peer !== packet.sourceIP;
  if (packet.origin === 'node' && packet.sourceIP !== '127.0.0.1') {
    // The node's own address is what masquerading would put there.
    return node.addresses.includes(outcome.peer) ? undefined : wrong('a source address of this node');
  }
  if (verdict.masquerade(endpoint) !== masqueraded) {
    return wrong(`the source address ${masqueraded ? 'kept' : 'masqueraded'} (${verdict.servicePort})`);
  }
  if (masqueraded && !node.addresses.includes(outcome.peer)) return wrong('an address of this node as source');
  return undefined;
}
