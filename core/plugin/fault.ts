/** What can be wrong with a plugin before it has done anything. All are faults of what was given: status 2, a refused edit. */

export const PLUGIN_FAULTS = [
  /** No such file, or none of that name in the folder. */
  'KP_PLUGIN_NOT_FOUND',
  /** Several files would be it. */
  'KP_PLUGIN_AMBIGUOUS',
  /** Others than root and this program's own user could change what is run. */
  'KP_PLUGIN_WRITABLE',
  /** It threw while it was loaded, is no JavaScript, imports what is not there, or took too long. */
  'KP_PLUGIN_LOAD',
  /** What it exports is no `BackendPlugin`. */
  'KP_PLUGIN_NOT_A_PLUGIN',
  /** It was written for another version of the contract. */
  'KP_PLUGIN_API_VERSION',
  /** It calls itself by a name that it cannot have, or by another than it was asked for. */
  'KP_PLUGIN_NAME',
] as const;

export type PluginFaultCode = (typeof PLUGIN_FAULTS)[number];

/** Its message begins with the file, or the name, that it is about, and ends with the remedy and, in brackets, its code. */
export interface PluginFault extends Error {
  readonly code: PluginFaultCode;
}

export function pluginFault(code: PluginFaultCode, message: string): PluginFault {
  return Object.assign(new Error(withCode(message, code)), { code });
}

/** So that who reads a line of the log can look up what it means. */
export function withCode(message: string, code: string): string {
  return `${message} (${code})`;
}

/** Without it, for where the code has a place of its own. */
export function withoutCode(message: string, code: string): string {
  const end = ` (${code})`;
  return code !== '' && message.endsWith(end) ? message.slice(0, -end.length) : message;
}

export function isPluginFault(error: unknown): error is PluginFault {
  return error instanceof Error && 'code' in error && PLUGIN_FAULTS.some((code) => code === error.code);
}
