/** What is wrong with Services, found while planning, which knows of no events. */
import type { Host, ServicePort } from '../../core/backend.ts';

export interface ServiceComplaint {
  readonly port: ServicePort;
  /** As `ServiceEvents.warn` takes them. */
  readonly reason: string;
  readonly note: string;
}

export function tellComplaints({ events }: Pick<Host, 'events'>, complaints: readonly ServiceComplaint[]): void {
  for (const { port, reason, note } of complaints) {
    events.warn({ namespace: port.namespace, name: port.name }, reason, note);
  }
}
