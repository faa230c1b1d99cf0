/**
 * The query of a list or a watch, read and refused as a real server reads and refuses it (ListOptions of meta/v1).
 *
 * Leniency is kept, too: unknown parameters are ignored, every text but "", "0" and "false" is true, a negative limit
 * is none, and a list's timeoutSeconds means nothing.
 */
import { type FieldError, forbiddenField, notSupported } from './field-errors.ts';
import { parseFieldSelector, parseLabelSelector, type Selector } from './selectors.ts';
import { badRequest, invalid, unclassified } from './status.ts';

export interface ListOptions {
  readonly watch: boolean;
  readonly labels: Selector;
  readonly fields: Selector;
  /** As given; "" when absent. */
  readonly resourceVersion: string;
  readonly resourceVersionMatch: string;
  /** 0 = no limit. */
  readonly limit: number;
  readonly continue: string;
  /** Undefined when absent. */
  readonly timeoutSeconds: number | undefined;
  readonly allowWatchBookmarks: boolean;
  readonly sendInitialEvents: boolean | undefined;
}

/** What of a kind can be selected by field, and how a refusal is worded. */
export interface FieldLabels {
  convert(label: string): string | undefined;
  refusal(label: string): string;
}

export function parseListOptions(query: URLSearchParams, labels: FieldLabels, watchListEnabled: boolean): ListOptions {
  const options: ListOptions = {
    watch: readBoolean(query, 'watch') ?? false,
    labels: parseLabelSelector(query.get('labelSelector') ?? ''),
    fields: parseFieldSelector(query.get('fieldSelector') ?? '', labels.convert, labels.refusal),
    resourceVersion: query.get('resourceVersion') ?? '',
    resourceVersionMatch: query.get('resourceVersionMatch') ?? '',
    limit: Math.max(0, readInteger(query, 'limit') ?? 0),
    continue: query.get('continue') ?? '',
    timeoutSeconds: readInteger(query, 'timeoutSeconds'),
    allowWatchBookmarks: readBoolean(query, 'allowWatchBookmarks') ?? false,
    sendInitialEvents: readBoolean(query, 'sendInitialEvents'),
  };
  const errors = options.watch ? watchErrors(options, watchListEnabled) : listErrors(options);
  if (errors.length > 0) throw invalid({ group: 'meta.k8s.io', kind: 'ListOptions' }, '', errors);
  return options;
}

export function readBoolean(query: URLSearchParams, name: string): boolean | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  return text === '' || !(text === '0' || text.toLowerCase() === 'false');
}

function readInteger(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  if (!/^[-+]?\d+$/.test(text)) throw badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
  return Number(text);
}

/** 0 for "" and "0". Where the real server does not classify the fault, it answers 500 without a reason. */
export function parseResourceVersion(text: string): number {
  if (text === '') return 0;
  if (/^\d+$/.test(text)) return Number(text);
  const reason = `strconv.ParseUint: parsing ${JSON.stringify(text)}: invalid syntax`;
  throw unclassified(`resourceVersion: Invalid value: ${JSON.stringify(text)}: ${reason}`);
}

function listErrors(options: ListOptions): readonly FieldError[] {
  const errors: FieldError[] = [];
  const match = options.resourceVersionMatch;
  if (match !== '') {
    const refuse = (detail: string) => errors.push(forbiddenField('resourceVersionMatch', detail));
    if (options.resourceVersion === '') refuse('resourceVersionMatch is forbidden unless resourceVersion is provided');
    if (options.continue !== '') refuse('resourceVersionMatch is forbidden when continue is provided');
    if (match !== 'Exact' && match !== 'NotOlderThan') {
      errors.push(notSupported('resourceVersionMatch', match, ['Exact', 'NotOlderThan', '']));
    }
    if (match === 'Exact' && options.resourceVersion === '0') {
      refuse('resourceVersionMatch "exact" is forbidden for resourceVersion "0"');
    }
  }
  if (options.sendInitialEvents !== undefined) {
    errors.push(forbiddenField('sendInitialEvents', 'sendInitialEvents is forbidden for list'));
  }
  return errors;
}

function watchErrors(options: ListOptions, watchListEnabled: boolean): readonly FieldError[] {
  const errors: FieldError[] = [];
  const match = options.resourceVersionMatch;
  const refuseMatch = (detail: string) => errors.push(forbiddenField('resourceVersionMatch', detail));
  if (options.sendInitialEvents !== undefined) {
    if (match !== 'NotOlderThan')
      refuseMatch('sendInitialEvents requires setting resourceVersionMatch to NotOlderThan');
    if (!watchListEnabled) {
      const detail = 'sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled';
      errors.push(forbiddenField('sendInitialEvents', detail));
    }
  }
  if (match !== '') {
    if (options.sendInitialEvents === undefined) {
      refuseMatch('resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided');
    }
    if (match !== 'NotOlderThan') errors.push(notSupported('resourceVersionMatch', match, ['NotOlderThan']));
    if (options.continue !== '') refuseMatch('resourceVersionMatch is forbidden when continue is provided');
  }
  return errors;
}
