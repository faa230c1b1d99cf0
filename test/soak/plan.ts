/**
 * Everything that goes wrong in a soak, drawn from its seed beforehand: what, from which step of the churn to which.
 * Steps are the time here, so that a slow machine sees the same faults at the same states of the cluster.
 *
 *   steps  0 ─────────────────────────────────────────────────────────────── last
 *          ├─ incidents one after the other, a few seconds apart; they last, and so overlap ─┤ quiet ├─
 *          ├─ the proxy itself is stopped and killed ─┤ its last process lives on, so that growth would show ─
 *
 * Kinds are drawn like cards from a deck: none comes twice before all have come.
 */
import type { Fault as ServerFault } from '../apiserver/faults.ts';
import type { Random } from '../unit/model/random.ts';

export type ResourceName = 'services' | 'endpointslices' | 'nodes' | 'servicecidrs';
export const RESOURCES: readonly ResourceName[] = ['services', 'endpointslices', 'nodes', 'servicecidrs'];

export type Fault =
  /** The next answers about these resources go wrong, for a while; their streams end, so that there is something to answer. */
  | {
      readonly kind: 'answers';
      readonly fault: ServerFault;
      readonly resources: readonly ResourceName[];
      readonly times: number;
      /** No stream can resume, so that whole states are asked for. */
      readonly whole: boolean;
    }
  | { readonly kind: 'streams'; readonly how: 'reset' | 'close' | 'end'; readonly resources: readonly ResourceName[] }
  /** The connection stays and nothing more comes; in the end all connections are reset, as by a NAT that forgot them. */
  | { readonly kind: 'half-open'; readonly resources: readonly ResourceName[] }
  /** No watch can resume from where it was. */
  | { readonly kind: 'compaction' }
  | {
      readonly kind: 'server restart';
      readonly how: 'reset' | 'close' | 'end';
      /** With what it comes back: as it was; the same objects under lower versions; the objects of some seconds ago. */
      readonly with: 'the same' | 'lower versions' | 'a backup';
    }
  | { readonly kind: 'stalled handshakes' }
  /** Packets between the proxy and the server vanish. */
  | { readonly kind: 'blackhole' }
  /** `late`: the new one is only there in the end. */
  | { readonly kind: 'token'; readonly late: boolean }
  | { readonly kind: 'server certificate'; readonly newAuthority: boolean }
  /** The kubeconfig names a client certificate for a while. */
  | { readonly kind: 'client certificate' }
  | { readonly kind: 'configuration'; readonly edit: ConfigurationEdit }
  /** Somebody changes the proxy's rules; `act` chooses how. */
  | { readonly kind: 'vandalism'; readonly act: number }
  /** The proxy ends and is started again; in between its rules may be changed. */
  | { readonly kind: 'proxy restart'; readonly signal: 'SIGTERM' | 'SIGKILL'; readonly act: number | undefined };

/**
 * So long before the end nothing comes that makes the proxy write everything anew or look at everything: that would heal
 * what it missed. It is also as long as it may take to notice that somebody changed its rules.
 */
export const CALM_SECONDS = 40;

/** What a file says for a while; `broken` is no configuration at all. */
export type ConfigurationEdit = 'pace' | 'masquerade all' | 'primary node ports' | 'other backend' | 'broken';

export interface Incident {
  /** For the log: "429 burst". */
  readonly title: string;
  /** Steps. The same: over as soon as it has begun. */
  readonly begin: number;
  readonly end: number;
  readonly fault: Fault;
}

interface Card {
  readonly title: string;
  readonly draw: (random: Random) => Fault;
  /** How long it lasts; default: no time. */
  readonly seconds?: readonly [least: number, most: number];
  /** How long before the end of the soak it must be over, because of the time that the proxy takes to get over it. */
  readonly quietSeconds?: number;
}

const GAP_SECONDS = 4;
/** Faults in a short soak come closer. */
const LEAST_INCIDENTS = 8;
/** The share of the time in which the proxy is restarted. */
const RESTARTS_UNTIL = 0.4;
const RESTARTS_PER_MINUTE = 1;
const QUIET_SECONDS = 1;

export function planIncidents(steps: number, stepsPerSecond: number, random: Random): readonly Incident[] {
  const seconds = steps / stepsPerSecond;
  const gap = Math.min(GAP_SECONDS, seconds / LEAST_INCIDENTS);
  const incidents: Incident[] = [];
  const add = (card: Card, at: number): void => {
    const [least, most] = card.seconds ?? [0, 0];
    const length = least + (random.below(1001) / 1000) * (most - least);
    const fault = card.draw(random);
    const end = Math.min(at + length, seconds - QUIET_SECONDS);
    if (at + (card.quietSeconds ?? QUIET_SECONDS) > seconds || end < at) return;
    const toStep = (time: number): number => Math.round(time * stepsPerSecond);
    incidents.push({ title: card.title, begin: toStep(at), end: toStep(end), fault });
  };

  let deck: Card[] = [];
  const nextGap = (): number => gap * (0.5 + random.below(1001) / 1000);
  for (let at = nextGap(); at < seconds - QUIET_SECONDS; at += nextGap()) {
    if (deck.length === 0) deck = random.shuffle(CARDS);
    add(deck.pop()!, at);
  }
  const restarts = Math.max(2, Math.round((seconds / 60) * RESTARTS_PER_MINUTE));
  for (let number = 0; number < restarts; number++) {
    const at = (seconds * RESTARTS_UNTIL * (number + 0.2 + random.below(601) / 1000)) / restarts;
    add(number % 2 === 0 ? KILL : STOP, at);
  }
  return incidents.sort((a, b) => a.begin - b.begin);
}

const STRUCK: readonly ResourceName[] = [
  'services',
  'services',
  'endpointslices',
  'endpointslices',
  'nodes',
  'servicecidrs',
];
const some = (random: Random): readonly ResourceName[] => (random.chance(0.3) ? RESOURCES : [random.pick(STRUCK)]);

/** What has not struck by then never does: faults must not wait for requests that come once in half a minute. */
const ANSWERS_SECONDS = [2, 6] as const;

/** `most`: requests that it strikes at the most, at least one. */
const answers = (title: string, most: number, draw: (random: Random) => ServerFault): Card => ({
  title,
  seconds: ANSWERS_SECONDS,
  draw: (random) => {
    const times = 1 + random.below(most);
    return { kind: 'answers', fault: draw(random), resources: some(random), times, whole: false };
  },
});

/** It also strikes the attempts to resume: to verify the version, and to watch from it. */
const wholeStates = (title: string, most: number, draw: (random: Random) => ServerFault): Card => ({
  title,
  seconds: ANSWERS_SECONDS,
  draw: (random) => {
    const times = 3 + random.below(most);
    return { kind: 'answers', fault: draw(random), resources: some(random), times, whole: true };
  },
});

const randomCut = (random: Random) => ({ kind: 'cut', how: random.pick(['reset', 'close', 'end'] as const) }) as const;
const GARBAGE = [
  '{"type":"ADDED","object":{"kind":"Service","metadata":{"name":"half\n',
  'null\n',
  '[]\n',
  '<html><body>502 Bad Gateway</body></html>\n',
  '{"type":"MODIFIED"}\n',
  '{"type":"BOOKMARK","object":{}}\n',
  '\u0000\u0001\u0002\n',
];

const restart = (back: Extract<Fault, { kind: 'server restart' }>['with']): Card => ({
  title: `server restart with ${back}`,
  seconds: [0.1, 6],
  quietSeconds: 8,
  draw: (random) => ({ kind: 'server restart', how: random.pick(['reset', 'close', 'end']), with: back }),
});

const edit = (title: ConfigurationEdit): Card => ({
  title: `configuration: ${title}`,
  seconds: [2, 10],
  quietSeconds: CALM_SECONDS + 12,
  draw: () => ({ kind: 'configuration', edit: title }),
});

const randomAct = (random: Random): number | undefined => (random.chance(0.5) ? random.below(1000) : undefined);
const KILL: Card = {
  title: 'proxy killed',
  seconds: [0, 2],
  quietSeconds: 4,
  draw: (random) => ({ kind: 'proxy restart', signal: 'SIGKILL', act: randomAct(random) }),
};
const STOP: Card = {
  title: 'proxy stopped',
  seconds: [0, 2],
  quietSeconds: 4,
  draw: (random) => ({ kind: 'proxy restart', signal: 'SIGTERM', act: randomAct(random) }),
};

const VANDALISM: Card = {
  title: 'vandalism',
  quietSeconds: CALM_SECONDS,
  draw: (random) => ({ kind: 'vandalism', act: random.below(1000) }),
};

const CARDS: readonly Card[] = [
  ...(['reset', 'close', 'end'] as const).map(
    (how): Card => ({
      title: `streams ${how}`,
      draw: (random) => ({ kind: 'streams', how, resources: some(random) }),
    }),
  ),
  { title: 'half-open', seconds: [3, 15], draw: (random) => ({ kind: 'half-open', resources: some(random) }) },
  { title: 'compaction', draw: () => ({ kind: 'compaction' }) },
  answers('410 as an event', 2, () => ({ kind: 'expired', as: 'event' })),
  answers('410 as an answer', 2, () => ({ kind: 'expired', as: 'http' })),
  answers('429 burst', 3, (random) => ({ kind: 'answer', status: 429, retryAfterSeconds: 1 + random.below(2) })),
  answers('500 burst', 3, () => ({ kind: 'answer', status: 500 })),
  answers('503 burst', 3, () => ({ kind: 'answer', status: 503 })),
  answers('403 burst', 2, () => ({ kind: 'answer', status: 403 })),
  answers('reset instead of an answer', 3, () => ({ kind: 'reset' })),
  answers('empty answers', 3, () => ({ kind: 'empty' })),
  answers('truncated JSON', 3, (random) => ({ ...randomCut(random), afterBytes: random.below(20_000) })),
  wholeStates('truncated whole states', 2, (random) => ({
    ...randomCut(random),
    afterBytes: 100 + random.below(20_000),
  })),
  answers('short streams', 3, (random) => ({ ...randomCut(random), afterEvents: random.below(30) })),
  answers('garbage', 1, (random) => ({ kind: 'garbage', text: random.pick(GARBAGE), afterEvents: random.below(20) })),
  answers('duplicate events', 1, () => ({ kind: 'duplicate' })),
  answers('events out of order', 1, () => ({ kind: 'replay' })),
  answers('no bookmarks', 2, () => ({ kind: 'noBookmarks' })),
  wholeStates('streamed lists refused', 1, () => ({ kind: 'watchListRefused' })),
  wholeStates('streamed lists ignored', 1, () => ({ kind: 'watchListIgnored' })),
  wholeStates('slow whole states', 1, (random) => ({
    kind: 'slow',
    milliseconds: 20,
    bytes: 2000 + random.below(8000),
  })),
  // The client gives up a request without an answer after half a minute or a whole one.
  { ...answers('no answer', 1, () => ({ kind: 'silence' })), quietSeconds: 75 },
  restart('the same'),
  restart('lower versions'),
  restart('a backup'),
  { title: 'stalled handshakes', seconds: [1, 5], draw: () => ({ kind: 'stalled handshakes' }) },
  { title: 'blackhole', seconds: [2, 10], draw: () => ({ kind: 'blackhole' }) },
  { title: 'token replaced', draw: () => ({ kind: 'token', late: false }) },
  { title: 'token expired', seconds: [0.5, 4], draw: () => ({ kind: 'token', late: true }) },
  { title: 'server certificate renewed', draw: () => ({ kind: 'server certificate', newAuthority: false }) },
  { title: 'another authority', seconds: [0.5, 4], draw: () => ({ kind: 'server certificate', newAuthority: true }) },
  { title: 'client certificate', seconds: [3, 20], draw: () => ({ kind: 'client certificate' }) },
  ...(['pace', 'masquerade all', 'primary node ports', 'other backend', 'broken'] as const).map(edit),
  VANDALISM,
  VANDALISM,
  VANDALISM,
];
