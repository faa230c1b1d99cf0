/**
 * A cluster whose users and controllers never rest: seeded random writes, one a step, straight into the server's
 * objects. What a step does depends on the seed, on the steps before it and on what is there, and on nothing else, so
 * that the same seed gives the same cluster at the same step, however fast the machine is.
 */
import type { IPFamily } from '../../core/backend.ts';
import { isApiError } from '../apiserver/api/status.ts';
import type { KubeObject } from '../apiserver/kinds/kind.ts';
import { asService } from '../apiserver/kinds/service-types.ts';
import type { Objects } from '../apiserver/objects.ts';
import { NODE_NAME } from '../netns/world-topology.ts';
import {
  type Draw,
  FAMILIES,
  NAMESPACES,
  namespaceOf,
  otherNode,
  ownNode,
  type Place,
  placeOf,
  serviceRange,
  ZONES,
} from './places.ts';
import { randomService, withOtherStatus } from './random-service.ts';
import { randomSlice, SLICES, sliceName, withFlap, withOtherOwner } from './random-slice.ts';

export interface Churn {
  /** What is there from the start: the nodes, and every Service with a slice or two. */
  populate(): void;
  /**
   * One random write. Not `whole`: none that makes the proxy look at everything again, which would heal what it missed.
   */
  step(whole: boolean): void;
  /** Writes that were made, and those that the server refused. */
  counts(): { readonly made: number; readonly refused: number };
  /** Where Services that were deleted could be reached, the latest last. */
  retired(): readonly Retired[];
}

/** An address that a Service no longer has; another one may have it by now. */
export interface Retired {
  readonly family: IPFamily;
  readonly protocol: 'TCP' | 'UDP';
  readonly clusterIP: string;
  readonly port: number;
  /** 0 = none. */
  readonly nodePort: number;
}

const REMEMBERED = 200;
const OTHER_NODES = 4;
const RANGES = 6;

export function createChurn(objects: Objects, services: number, draw: Draw): Churn {
  const { random, addresses } = draw;
  const retired: Retired[] = [];
  let made = 0;
  let refused = 0;

  /** The server may say no, as to anybody: a port that is taken, a change that is not allowed. */
  function attempt(write: () => unknown): void {
    try {
      write();
      made++;
    } catch (error) {
      if (!isApiError(error)) throw error;
      refused++;
    }
  }

  const anyPlace = (): Place => placeOf(random.below(services));
  const serviceAt = ({ namespace, name }: Place) => objects.get('Service', namespace, name);
  const anySlice = (place: Place) => {
    const family = random.pick(FAMILIES);
    const part = random.below(SLICES);
    return { family, part, object: objects.get('EndpointSlice', place.namespace, sliceName(place, family, part)) };
  };
  const writeService = (place: Place, before: KubeObject | undefined): void =>
    attempt(() => objects.apply(randomService(place, before, draw)));
  const drawSlice = (place: Place, family: IPFamily, part: number): void =>
    attempt(() => objects.apply(randomSlice(place, family, part, serviceAt(place), draw)));

  function retire(object: KubeObject): void {
    const { clusterIPs = [], ports = [] } = asService(object).spec;
    for (const clusterIP of clusterIPs) {
      if (clusterIP === 'None') continue;
      for (const { protocol, port, nodePort = 0 } of ports) {
        if (protocol !== 'TCP' && protocol !== 'UDP') continue;
        retired.push({ family: clusterIP.includes(':') ? 'IPv6' : 'IPv4', protocol, clusterIP, port, nodePort });
      }
    }
    retired.splice(0, Math.max(0, retired.length - REMEMBERED));
  }

  function deleteService(place: Place, object: KubeObject): void {
    retire(object);
    attempt(() => objects.delete('Service', place.namespace, place.name));
  }

  const steps = {
    sliceChanges() {
      const place = anyPlace();
      const { family, part, object } = anySlice(place);
      if (object === undefined && random.chance(0.7)) return;
      if (object !== undefined && random.chance(0.6)) attempt(() => objects.apply(withFlap(place, object, draw)));
      else drawSlice(place, family, part);
    },
    sliceGoes() {
      const place = anyPlace();
      const { family, part, object } = anySlice(place);
      if (object !== undefined)
        attempt(() => objects.delete('EndpointSlice', place.namespace, sliceName(place, family, part)));
    },
    sliceMoves() {
      const place = anyPlace();
      const { family, part, object } = anySlice(place);
      // A Service of the same namespace: slices do not reach farther.
      const other = placeOf((place.index + NAMESPACES * (1 + random.below(3))) % services);
      const owner = other.namespace === place.namespace && random.chance(0.5) ? other.name : place.name;
      if (object === undefined) drawSlice(place, family, part);
      else attempt(() => objects.apply(withOtherOwner(place, object, owner, draw)));
    },
    serviceChanges() {
      const place = anyPlace();
      writeService(place, serviceAt(place));
    },
    statusChanges() {
      const place = anyPlace();
      const object = serviceAt(place);
      if (object === undefined) writeService(place, undefined);
      else attempt(() => objects.apply(withOtherStatus(place, object, random)));
    },
    serviceGoes() {
      const place = anyPlace();
      const object = serviceAt(place);
      if (object === undefined) writeService(place, undefined);
      else deleteService(place, object);
    },
    serviceIsReplaced() {
      const place = anyPlace();
      const object = serviceAt(place);
      if (object !== undefined) deleteService(place, object);
      writeService(place, undefined);
    },
    ownNodeMoves: () => attempt(() => objects.apply(ownNode(random.pick([...ZONES, '']), addresses))),
    ownNodeIsReplaced() {
      if (objects.get('Node', '', NODE_NAME) !== undefined) attempt(() => objects.delete('Node', '', NODE_NAME));
      attempt(() => objects.apply(ownNode(random.pick(ZONES), addresses)));
    },
    otherNodeMoves: () => attempt(() => objects.apply(otherNode(random.below(OTHER_NODES), random.pick(ZONES)))),
    rangeComesOrGoes() {
      const number = 1 + random.below(RANGES);
      const name = `more-${number}`;
      if (objects.get('ServiceCIDR', '', name) === undefined) attempt(() => objects.apply(serviceRange(name, number)));
      else attempt(() => objects.delete('ServiceCIDR', '', name));
    },
    namespaceGoes() {
      const name = namespaceOf(random.below(NAMESPACES));
      for (const object of objects.list('Service')) if (object.metadata.namespace === name) retire(object);
      if (objects.get('Namespace', '', name) !== undefined) attempt(() => objects.delete('Namespace', '', name));
    },
  };

  /** Of ten thousand. */
  const shares: readonly (readonly [share: number, step: () => void])[] = [
    [5200, steps.sliceChanges],
    [1200, steps.sliceGoes],
    [500, steps.sliceMoves],
    [1500, steps.serviceChanges],
    [300, steps.statusChanges],
    [600, steps.serviceGoes],
    [200, steps.serviceIsReplaced],
    [100, steps.ownNodeMoves],
    [20, steps.ownNodeIsReplaced],
    [50, steps.otherNodeMoves],
    [100, steps.rangeComesOrGoes],
    [5, steps.namespaceGoes],
  ];
  const bounds = shares.map((_, at) => shares.slice(0, at + 1).reduce((sum, [share]) => sum + share, 0));

  return {
    populate() {
      attempt(() => objects.apply(ownNode(ZONES[0], addresses)));
      for (let index = 0; index < services; index++) {
        const place = placeOf(index);
        writeService(place, undefined);
        for (const family of FAMILIES) {
          drawSlice(place, family, 0);
          if (random.chance(0.3)) drawSlice(place, family, 1);
        }
      }
    },
    step(whole) {
      // Some draws find nothing to do.
      for (const before = made + refused; made + refused === before; ) {
        const dice = random.below(bounds.at(-1)!);
        const [, step] = shares[bounds.findIndex((bound) => dice < bound)]!;
        if (whole || (step !== steps.ownNodeMoves && step !== steps.ownNodeIsReplaced)) step();
      }
    },
    counts: () => ({ made, refused }),
    retired: () => retired,
  };
}
