/**
 * Leaving a test out, never silently: call this instead of registering the test. test/run.ts counts the lines printed
 * here, and fails a file that uses uvu's own `.skip` or `.only`, which know no reason.
 *
 *   const problem = sctpProblem();
 *   if (problem) skip('SCTP is translated', problem);
 *   else test('SCTP is translated', async () => { … });
 */
export function skip(title: string, reason: string): void {
  const oneLine = `${title}: ${reason}`.replace(/\s+/g, ' ').trim();
  console.log(`# skipped: ${oneLine}`);
}
