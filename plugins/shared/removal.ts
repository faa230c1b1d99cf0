/** Removal of what a backend ever made: it goes as far as it can, and says at its end what could not be removed. */

export interface Removal {
  /** Keeps what goes wrong to itself. */
  attempt(work: () => void | Promise<void>): Promise<void>;
  /** Nothing has gone wrong so far. */
  isComplete(): boolean;
  /** Throws one error that names every fault, if there is one. */
  finish(): void;
}

export function beginRemoval(): Removal {
  const faults: string[] = [];
  return {
    async attempt(work) {
      try {
        await work();
      } catch (error) {
        faults.push(error instanceof Error ? error.message : String(error));
      }
    },
    isComplete: () => faults.length === 0,
    finish() {
      if (faults.length === 0) return;
      throw Object.assign(new Error(`not everything could be removed: ${faults.join('; ')}`), { code: 'KP_CLEANUP' });
    },
  };
}
