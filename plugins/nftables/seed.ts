/** What a table that stands already says about order and numbers, which stay as they are. */
import type { Mirror } from '../shared/table/mirror.ts';
import type { Affinity, Slot } from './frontends.ts';
import type { SetName } from './layout.ts';
import type { Seed } from './plan.ts';

export function seedOf(mirror: Mirror<SetName>): Seed {
  const slots = (sets: readonly SetName[], frontend: string): readonly Slot[] => {
    const found: Slot[] = [];
    for (const set of sets) {
      for (;;) {
        const text = mirror.get(set)?.get(`${frontend} ${found.length}`);
        if (text === undefined) break;
        const [ip = '', port] = text.split(' ');
        found.push({ ip, port: Number(port) });
      }
      if (found.length > 0) break;
    }
    return found;
  };
  const handles = new Map<number, Map<string, number>>();
  let highestAffinityId = 0;
  for (const [key, handle] of mirror.get('affinity-handles') ?? []) {
    const [id = '', ip, port] = key.split(' ');
    const own = handles.get(Number(id)) ?? new Map<string, number>();
    handles.set(Number(id), own.set(`${ip} ${port}`, Number(handle)));
  }
  for (const id of mirror.get('affinity-timeouts')?.keys() ?? []) {
    highestAffinityId = Math.max(highestAffinityId, Number(id));
  }
  return {
    endpoints: (frontend) => slots(['endpoints', 'nodeport-endpoints'], frontend),
    localEndpoints: (frontend) => slots(['local-endpoints', 'local-nodeport-endpoints'], frontend),
    affinity(frontend): Affinity | undefined {
      const id = mirror.get('affinity-services')?.get(frontend) ?? mirror.get('affinity-nodeports')?.get(frontend);
      if (id === undefined) return undefined;
      const own = handles.get(Number(id)) ?? new Map<string, number>();
      let last = 0;
      for (const handle of own.values()) last = Math.max(last, handle - Number(id));
      return { id: Number(id), handles: own, last };
    },
    highestAffinityId,
  };
}
