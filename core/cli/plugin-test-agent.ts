/**
 * The hidden face of the program: one of those that serve and ask in the namespaces of `kube-proxy plugin test`. It is
 * decided before the command line is read, and only the conformance kit starts it so.
 */

/** The whole command line. */
export const AGENT_WORD = '--plugin-test-agent';

/** Returns at once; the process ends with its standard input. */
export async function pluginTestAgent(): Promise<void> {
  const { runAgent } = await import('../../test/conformance/kit.ts');
  runAgent();
}
