/** Events (events.k8s.io/v1), with the strictness that this version of their API has: pkg/apis/core/validation. */
import { checkName, type FieldError, invalidValue, qualifiedName, required } from '../api/field-errors.ts';
import { OBJECT_META, OBJECT_REFERENCE, type ObjectShape } from '../api/schema.ts';
import { ALL_VERBS, type Kind, type KubeObject } from './kind.ts';

interface EventObject extends KubeObject {
  eventTime?: string | null;
  series?: { count: number; lastObservedTime?: string };
  reportingController?: string;
  reportingInstance?: string;
  action?: string;
  reason?: string;
  regarding?: Record<string, string>;
  related?: Record<string, string>;
  note?: string;
  type?: string;
  deprecatedSource?: { component?: string; host?: string };
  deprecatedFirstTimestamp?: string;
  deprecatedLastTimestamp?: string;
  deprecatedCount?: number;
}

const SHAPE: ObjectShape = {
  type: 'Event',
  fields: {
    metadata: OBJECT_META,
    eventTime: 'microtime',
    series: { type: 'EventSeries', fields: { count: 'int32!', lastObservedTime: 'microtime' } },
    reportingController: 'string',
    reportingInstance: 'string',
    action: 'string',
    reason: 'string',
    regarding: { ...OBJECT_REFERENCE, always: true },
    related: OBJECT_REFERENCE,
    note: 'string',
    type: 'string',
    deprecatedSource: { type: 'EventSource', always: true, fields: { component: 'string', host: 'string' } },
    deprecatedFirstTimestamp: 'time',
    deprecatedLastTimestamp: 'time',
    deprecatedCount: 'int32',
  },
};

const LONGEST = 128;
const LONGEST_NOTE = 1024;

export const EVENTS: Kind = {
  group: 'events.k8s.io',
  version: 'v1',
  plural: 'events',
  singular: 'event',
  kind: 'Event',
  shortNames: ['ev'],
  namespaced: true,
  verbs: ALL_VERBS,
  shape: SHAPE,
  hasStatus: false,
  createsWithStatus: false,
  createOnUpdate: true,
  deleteReturnsObject: false,
  counted: false,
  empty: { eventTime: null, regarding: {}, deprecatedSource: {} },
  ownFieldLabels: true,
  selectable: {
    reason: (object) => (object as EventObject).reason ?? '',
    type: (object) => (object as EventObject).type ?? '',
    reportingController: (object) => (object as EventObject).reportingController ?? '',
    'regarding.kind': (object) => (object as EventObject).regarding?.kind ?? '',
    'regarding.namespace': (object) => (object as EventObject).regarding?.namespace ?? '',
    'regarding.name': (object) => (object as EventObject).regarding?.name ?? '',
    'regarding.uid': (object) => (object as EventObject).regarding?.uid ?? '',
    'regarding.apiVersion': (object) => (object as EventObject).regarding?.apiVersion ?? '',
    'regarding.resourceVersion': (object) => (object as EventObject).regarding?.resourceVersion ?? '',
    'regarding.fieldPath': (object) => (object as EventObject).regarding?.fieldPath ?? '',
  },
  setDefaults() {},
  validate(object, old) {
    const event = object as EventObject;
    return old === undefined ? validateNew(event) : validateUpdate(event, old as EventObject);
  },
};

function validateNew(event: EventObject): readonly FieldError[] {
  const errors = [...common(event), ...seriesErrors(event)];
  if (event.eventTime === undefined) errors.push(required('eventTime'));
  if (event.type !== 'Normal' && event.type !== 'Warning') {
    errors.push(invalidValue('type', '', `has invalid value: ${event.type ?? ''}`));
  }
  const unset = 'needs to be unset';
  if (event.deprecatedFirstTimestamp !== undefined) errors.push(invalidValue('firstTimestamp', '', unset));
  if (event.deprecatedLastTimestamp !== undefined) errors.push(invalidValue('lastTimestamp', '', unset));
  if (event.deprecatedCount !== undefined) errors.push(invalidValue('count', '', unset));
  if (Object.keys(event.deprecatedSource ?? {}).length > 0) errors.push(invalidValue('source', '', unset));
  return errors;
}

/** Only the series of an event may change. */
function validateUpdate(event: EventObject, old: EventObject): readonly FieldError[] {
  const errors = [...common(event)];
  if (JSON.stringify(event.series) !== JSON.stringify(old.series)) errors.push(...seriesErrors(event));
  const fixed: readonly (readonly [field: keyof EventObject, name: string])[] = [
    ['regarding', 'involvedObject'],
    ['reason', 'reason'],
    ['note', 'message'],
    ['deprecatedSource', 'source'],
    ['deprecatedFirstTimestamp', 'firstTimestamp'],
    ['deprecatedLastTimestamp', 'lastTimestamp'],
    ['deprecatedCount', 'count'],
    ['type', 'type'],
    ['eventTime', 'eventTime'],
    ['action', 'action'],
    ['related', 'related'],
    ['reportingController', 'reportingController'],
    ['reportingInstance', 'reportingInstance'],
  ];
  for (const [field, name] of fixed) {
    if (JSON.stringify(event[field]) === JSON.stringify(old[field])) continue;
    errors.push(invalidValue(name, event[field] ?? '', 'field is immutable'));
  }
  return errors;
}

function seriesErrors({ series }: EventObject): readonly FieldError[] {
  if (series === undefined) return [];
  return [
    ...(series.count < 2 ? [invalidValue('series.count', '', 'should be at least 2')] : []),
    ...(series.lastObservedTime === undefined ? [required('series.lastObservedTime')] : []),
  ];
}

function common(event: EventObject): readonly FieldError[] {
  const errors: FieldError[] = [];
  const namespace = event.metadata.namespace ?? '';
  const regarding = event.regarding?.namespace ?? '';
  const mismatch = invalidValue('involvedObject.namespace', regarding, 'does not match event.namespace');
  if (event.eventTime === undefined) {
    if (regarding === '' ? namespace !== '' && namespace !== 'default' : namespace !== regarding) errors.push(mismatch);
    return errors;
  }
  // An event about something without a namespace lives in default or kube-system.
  if (regarding === '' && namespace !== 'default' && namespace !== 'kube-system') errors.push(mismatch);
  const text = (field: 'reportingController' | 'reportingInstance' | 'action' | 'reason', most: number): void => {
    const value = event[field] ?? '';
    if (value === '') errors.push(required(field));
    else if (value.length > most) errors.push(invalidValue(field, '', `can have at most ${most} characters`));
  };
  text('reportingController', Number.POSITIVE_INFINITY);
  if ((event.reportingController ?? '') !== '') {
    errors.push(...checkName('reportingController', event.reportingController!, qualifiedName));
  }
  text('reportingInstance', LONGEST);
  text('action', LONGEST);
  text('reason', LONGEST);
  if ((event.note ?? '').length > LONGEST_NOTE) {
    errors.push(invalidValue('message', '', `can have at most ${LONGEST_NOTE} characters`));
  }
  return errors;
}
