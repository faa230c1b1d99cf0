/**
 * How many times longer than usual a test waits before it calls something silent or late: 1, or what
 * KUBE_PROXY_TEST_SLOW says where the processor is emulated. Requests of agents and the program under test heed it;
 * test titles and what they expect do not.
 */
export const SLOW = slowness(process.env.KUBE_PROXY_TEST_SLOW);

/** Throws for what is no number of at least 1: nobody should wait less than usual. */
export function slowness(text = '1'): number {
  const times = Number(text);
  if (text.trim() === '' || !(times >= 1 && times <= 100)) {
    throw new Error(`KUBE_PROXY_TEST_SLOW is ${JSON.stringify(text)}: give a number from 1 to 100, or none`);
  }
  return times;
}
