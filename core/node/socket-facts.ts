/** What the kernel knows of this thread's sockets. koffi and the netlink socket come at the first question that needs them. */
import type { SocketFacts } from '../backend.ts';
import { loadLibc } from '../netlink/libc.ts';
import { createOriginalDestination, type OriginalDestination } from '../netlink/original-destination.ts';
import { createOriginalFlows, type OriginalFlows } from '../netlink/original-flow.ts';

export interface OpenSocketFacts extends SocketFacts {
  /** Asking again opens it again. */
  close(): void;
}

export function createSocketFacts(flows: OriginalFlows = createOriginalFlows()): OpenSocketFacts {
  let ofConnection: OriginalDestination | undefined;
  return {
    originalDestination(fd) {
      ofConnection ??= createOriginalDestination(loadLibc());
      return ofConnection(fd);
    },
    originalUDPDestination: (flow) => flows.find(flow),
    close: () => flows.close(),
  };
}
