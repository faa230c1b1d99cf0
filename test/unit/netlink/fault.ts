/** The error that something ends with, when it must be a NetlinkError; any other is the test's own failure. */
import { NetlinkError } from '../../../core/netlink/errors.ts';

export function fault(act: () => unknown): NetlinkError {
  try {
    act();
  } catch (error) {
    return asFault(error);
  }
  throw new Error('nothing was thrown');
}

export async function rejection(promise: Promise<unknown>): Promise<NetlinkError> {
  try {
    await promise;
  } catch (error) {
    return asFault(error);
  }
  throw new Error('nothing was rejected');
}

function asFault(error: unknown): NetlinkError {
  if (error instanceof NetlinkError) return error;
  throw error;
}
