/**
 * The Status object, with which a Kubernetes API server answers everything that is not an object: the same reasons,
 * codes, messages and details that k8s.io/apimachinery's errors package gives, because clients decide by them.
 */
import type { FieldError } from './field-errors.ts';

export interface StatusCause {
  readonly reason: string;
  readonly message: string;
  readonly field?: string;
}

export interface StatusDetails {
  readonly name?: string;
  readonly group?: string;
  readonly kind?: string;
  readonly uid?: string;
  readonly causes?: readonly StatusCause[];
  readonly retryAfterSeconds?: number;
}

export interface Status {
  readonly kind: 'Status';
  readonly apiVersion: 'v1';
  readonly metadata: { readonly continue?: string };
  readonly status: 'Success' | 'Failure';
  readonly message?: string;
  readonly reason?: string;
  readonly details?: StatusDetails;
  readonly code?: number;
}

/** What request handlers throw; the router turns it into the answer. */
export interface ApiError extends Error {
  readonly status: Status;
}

/** A resource as errors name it: "services", "endpointslices.discovery.k8s.io". */
export interface GroupResource {
  readonly group: string;
  readonly plural: string;
}

export function isApiError(error: unknown): error is ApiError {
  return error instanceof Error && 'status' in error;
}

export function apiError(status: Status): ApiError {
  return Object.assign(new Error(status.message ?? ''), { status });
}

export function failure(
  code: number,
  reason: string,
  message: string,
  details?: StatusDetails,
  metadata: Status['metadata'] = {},
): ApiError {
  return apiError({
    kind: 'Status',
    apiVersion: 'v1',
    metadata,
    status: 'Failure',
    message,
    ...(reason === '' ? {} : { reason }),
    ...(details === undefined ? {} : { details }),
    code,
  });
}

export function success(details: StatusDetails): Status {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details };
}

function qualified({ group, plural }: GroupResource): string {
  return group === '' ? plural : `${plural}.${group}`;
}

function detailsOf(resource: GroupResource, name: string): StatusDetails {
  return {
    ...(name === '' ? {} : { name }),
    ...(resource.group === '' ? {} : { group: resource.group }),
    kind: resource.plural,
  };
}

export function badRequest(message: string): ApiError {
  return failure(400, 'BadRequest', message);
}

export function unauthorized(): ApiError {
  return failure(401, 'Unauthorized', 'Unauthorized');
}

export function forbidden(resource: GroupResource, name: string, why: string): ApiError {
  const what = name === '' ? qualified(resource) : `${qualified(resource)} ${JSON.stringify(name)}`;
  return failure(403, 'Forbidden', `${what} is forbidden: ${why}`, detailsOf(resource, name));
}

export function notFound(resource: GroupResource, name: string): ApiError {
  return failure(
    404,
    'NotFound',
    `${qualified(resource)} ${JSON.stringify(name)} not found`,
    detailsOf(resource, name),
  );
}

export function methodNotAllowed(): ApiError {
  return failure(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource', {});
}

export function notAcceptable(): ApiError {
  const types = 'application/json, application/yaml, application/vnd.kubernetes.protobuf';
  return failure(406, 'NotAcceptable', `only the following media types are accepted: ${types}`);
}

export function unsupportedMediaType(accepted: readonly string[]): ApiError {
  const list = accepted.join(', ');
  const message = `the body of the request was in an unknown format - accepted media types include: ${list}`;
  return failure(415, 'UnsupportedMediaType', message);
}

export function alreadyExists(resource: GroupResource, name: string): ApiError {
  const message = `${qualified(resource)} ${JSON.stringify(name)} already exists`;
  return failure(409, 'AlreadyExists', message, detailsOf(resource, name));
}

const MODIFIED = 'the object has been modified; please apply your changes to the latest version and try again';

export function conflict(resource: GroupResource, name: string, why = MODIFIED): ApiError {
  const message = `Operation cannot be fulfilled on ${qualified(resource)} ${JSON.stringify(name)}: ${why}`;
  return failure(409, 'Conflict', message, detailsOf(resource, name));
}

/** Reason "Expired", code 410: what clients must answer with a new list. */
export function expired(message: string, continueToken?: string): ApiError {
  return failure(410, 'Expired', message, undefined, continueToken === undefined ? {} : { continue: continueToken });
}

/** The 422 for an object, or for options, with one cause per fault. */
export function invalid(
  groupKind: { readonly group: string; readonly kind: string },
  name: string,
  errors: readonly FieldError[],
): ApiError {
  const { group, kind } = groupKind;
  const texts = errors.map(({ field, message }) => `${field}: ${message}`);
  const [only] = texts;
  const list = texts.length === 1 ? only : `[${texts.join(', ')}]`;
  const subject = group === '' ? kind : `${kind}.${group}`;
  return failure(422, 'Invalid', `${subject} ${JSON.stringify(name)} is invalid: ${list}`, {
    ...(name === '' ? {} : { name }),
    ...(group === '' ? {} : { group }),
    kind,
    causes: errors.map(({ reason, message, field }) => ({ reason, message, field })),
  });
}

/** A minimum resourceVersion that this server has not reached; asked again later it may have. */
export function tooLargeResourceVersion(wanted: number, current: number): ApiError {
  return failure(504, 'Timeout', `Timeout: Too large resource version: ${wanted}, current: ${current}`, {
    causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
    retryAfterSeconds: 1,
  });
}

/** An error that is no Status in the server's own code comes out as a 500 without a reason. */
export function unclassified(message: string): ApiError {
  return failure(500, '', message);
}

export function internalError(message: string): ApiError {
  return failure(500, 'InternalError', `Internal error occurred: ${message}`, { causes: [{ reason: '', message }] });
}
