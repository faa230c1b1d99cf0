/** The error that something ends with; the test fails if it succeeds. */
export async function failure(attempt: Promise<unknown>): Promise<Error & { code?: string }> {
  try {
    await attempt;
  } catch (error) {
    return error as Error;
  }
  throw new Error('it did not fail');
}
