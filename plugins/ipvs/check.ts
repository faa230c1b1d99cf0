/**
 * Whether interface and virtual servers are still what they should be, cheaply: one listing of each, and the real servers
 * of a few virtual servers, in turn.
 */
import type { DummyLink, IPFamily, IPVS } from '../../core/backend.ts';
import { isSame, type ServerBook } from './book.ts';
import { type ServerSpec, serverName } from './frontends.ts';
import { INTERFACE } from './layout.ts';
import type { Planner } from './plan.ts';

/** Virtual servers whose real servers each check looks at. */
const CHECKED_AT_ONCE = 50;

export interface Checked {
  readonly family: IPFamily;
  readonly planner: Pick<Planner, 'addresses' | 'servers'>;
  readonly book: Pick<ServerBook, 'fault'>;
  readonly ipvs: Pick<IPVS, 'virtualServers' | 'realServers'>;
  readonly link: Pick<DummyLink, 'addresses'>;
}

/** `after`: name of the virtual server that the last check ended with ("": none), which is given back as `upTo`. */
export async function firstFault(
  { family, planner, book, ipvs, link }: Checked,
  after: string,
): Promise<{ readonly reason: string | undefined; readonly upTo: string }> {
  const addresses = link.addresses(family);
  if (addresses === undefined) return { reason: `the interface ${INTERFACE} is gone`, upTo: after };
  const bound = new Set(addresses);
  for (const ip of planner.addresses()) {
    if (!bound.has(ip)) return { reason: `${INTERFACE} has lost ${ip}`, upTo: after };
  }
  const standing = new Map((await ipvs.virtualServers(family)).map((server) => [serverName(server), server]));
  const inTurn: ServerSpec[] = [];
  let passed = after === '';
  for (const spec of planner.servers()) {
    const name = serverName(spec.server);
    const found = standing.get(name);
    if (found === undefined) return { reason: `virtual server ${name} is gone`, upTo: after };
    if (!isSame(found, spec.server)) return { reason: `virtual server ${name} is another`, upTo: after };
    if (passed && inTurn.length < CHECKED_AT_ONCE) inTurn.push(spec);
    passed ||= name === after;
  }
  // Anything may have gone since: then the next turn begins anew.
  const upTo = inTurn.length === CHECKED_AT_ONCE ? serverName(inTurn.at(-1)!.server) : '';
  for (const spec of inTurn) {
    const fault = book.fault(spec, await ipvs.realServers(spec.server));
    if (fault !== undefined) return { reason: `virtual server ${serverName(spec.server)}: ${fault}`, upTo };
  }
  return { reason: undefined, upTo };
}
