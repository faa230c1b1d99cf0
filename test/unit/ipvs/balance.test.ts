/** Schedulers and weights by annotation: what is meant, and what is said about what cannot be. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Endpoint, ServicePort } from '../../../core/backend.ts';
import {
  balanceOf,
  parseScheduler,
  SCHEDULER_ANNOTATION,
  schedulersFor,
  WEIGHT_ANNOTATION,
} from '../../../plugins/ipvs/balance.ts';
import { endpoint, servicePort } from '../nftables/samples.ts';

const test = suite('ipvs balance');
const NODE = { name: 'node-a', zone: 'zone-a' };
const RR = { name: 'rr', hashPort: false, hashFallback: false };

function asked(scheduler: string | undefined, weight?: string, rest: Partial<ServicePort> = {}): ServicePort {
  const annotations = {
    ...(scheduler !== undefined && { [SCHEDULER_ANNOTATION]: scheduler }),
    ...(weight !== undefined && { [WEIGHT_ANNOTATION]: weight }),
  };
  return servicePort({ annotations, ...rest });
}

function balance(port: ServicePort, usual = 'rr', lacks: readonly string[] = []) {
  const lack = (name: string) => (lacks.includes(name) ? `this kernel has no scheduler ${name}` : undefined);
  return balanceOf(port, NODE, { scheduler: parseScheduler(usual)!, lack });
}

function weights(text: string, ...endpoints: readonly Partial<Endpoint>[]): readonly number[] {
  const cluster = endpoints.map((rest) => endpoint('1.0.0.1', { isLocal: false, nodeName: 'node-b', ...rest }));
  const { balance: found, complaints } = balance(asked('wrr', text, { cluster }));
  assert.equal(complaints, []);
  return cluster.map(found.weight);
}

test('a scheduler is named as the kernel names it, hashes with what else they do', () => {
  assert.equal(parseScheduler('wlc'), { name: 'wlc', hashPort: false, hashFallback: false });
  assert.equal(parseScheduler('mh'), { name: 'mh', hashPort: false, hashFallback: true });
  assert.equal(parseScheduler('mh-port'), { name: 'mh', hashPort: true, hashFallback: true });
  assert.equal(parseScheduler('sh-fallback'), { name: 'sh', hashPort: false, hashFallback: true });
  assert.equal(parseScheduler('mh-port-fallback'), { name: 'mh', hashPort: true, hashFallback: true });
  assert.equal(parseScheduler('mh-fallback-port'), { name: 'mh', hashPort: true, hashFallback: true });
  for (const text of ['', 'RR', 'rr-port', 'mh-', 'mh-other', 'wlc,rr', 'a234567890123456', '1rr', 'r r']) {
    assert.is(parseScheduler(text), undefined, text);
  }
});

test('a Service gets the scheduler that it asks for, blanks aside, and else the default', () => {
  assert.equal(balance(asked(' lc ')).balance.scheduler.name, 'lc');
  assert.equal(balance(asked(undefined), 'wlc').balance.scheduler.name, 'wlc');
  assert.equal(balance(asked('sh-port')).balance.scheduler, { name: 'sh', hashPort: true, hashFallback: true });
});

test('what is no scheduler, or none of this kernel, is told with annotation, value and remedy; the default is used', () => {
  for (const [text, why] of [
    ['round robin', /no name of a scheduler/],
    ['', /no name of a scheduler/],
    ['sed', /no scheduler sed/],
  ] as const) {
    const { balance: found, complaints } = balance(asked(text), 'wlc', ['sed']);
    assert.is(found.scheduler.name, 'wlc', text);
    assert.is(complaints.length, 1);
    const [{ reason, note } = { reason: '', note: '' }] = complaints;
    assert.is(reason, 'InvalidIPVSScheduler');
    assert.match(note, SCHEDULER_ANNOTATION);
    assert.match(note, JSON.stringify(text));
    assert.match(note, why);
    assert.match(note, 'wlc is used instead');
    assert.match(note, 'Use one that');
  }
});

test('long texts are cut in what is told, and of many faults the first are told', () => {
  const [scheduler] = balance(asked('x'.repeat(500))).complaints;
  assert.ok(scheduler!.note.length < 400, scheduler!.note);
  const [weight] = balance(asked('wrr', `${'y'.repeat(500)},`.repeat(200))).complaints;
  assert.ok(weight!.note.length < 700, weight!.note);
  assert.match(weight!.note, /and 198 more; endpoints weigh/);
});

test('an endpoint weighs as its node says, else its zone, this node, this zone, its EndpointSlice, the plain number', () => {
  const all = 'node/node-b=10, zone/zone-b=9, same-node=8, same-zone=7, 6';
  const slice = { annotations: { [WEIGHT_ANNOTATION]: '5' } };
  assert.equal(
    weights(
      all,
      { zone: 'zone-b' },
      { nodeName: 'node-c', zone: 'zone-b', isLocal: true },
      { nodeName: 'node-a', zone: 'zone-a', isLocal: true },
      { nodeName: 'node-c', zone: 'zone-a', ...slice },
      { nodeName: 'node-c', zone: 'zone-c', ...slice },
      { nodeName: 'node-c', zone: 'zone-c' },
    ),
    [10, 9, 8, 7, 5, 6],
  );
  assert.equal(weights('node/x=3', {}), [1], 'who is not named weighs 1');
  assert.equal(weights('0', {}), [0]);
  assert.equal(weights(' 65535 ', {}), [65535]);
});

test('where nobody knows the zone, an endpoint is not in the same', () => {
  const { balance: found } = balanceOf(
    asked('wrr', 'same-zone=4'),
    { name: 'node-a', zone: '' },
    { scheduler: RR, lack: () => undefined },
  );
  assert.is(found.weight(endpoint('1.0.0.1', { zone: '' })), 1);
});

test('every kind of bad weight is one complaint with annotation, value and remedy, and all endpoints weigh the same', () => {
  for (const text of [
    '',
    'heavy',
    '65536',
    '-1',
    '1.5',
    'node/=3',
    'zone/a',
    'rack/a=3',
    'same-node=',
    '2,,3',
    'node/a=1=2',
  ]) {
    const { balance: found, complaints } = balance(asked('wrr', text));
    assert.is(complaints.length, 1, text);
    const [{ reason, note } = { reason: '', note: '' }] = complaints;
    assert.is(reason, 'InvalidIPVSWeight');
    assert.match(note, WEIGHT_ANNOTATION);
    const bad = text.split(',').map((part) => part.trim());
    assert.ok(
      bad.some((part) => note.includes(JSON.stringify(part))),
      note,
    );
    assert.match(note, /0 to 65535|none of node\/NAME=/);
    assert.match(note, 'as if it were not there');
    assert.is(found.weight(endpoint('1.0.0.1')), 1);
  }
});

test('a bad weight of an EndpointSlice is one complaint, however many endpoints it has, and others count', () => {
  const of = (ip: string, text: string) => endpoint(ip, { annotations: { [WEIGHT_ANNOTATION]: text } });
  const cluster = [of('1.0.0.1', 'much'), of('1.0.0.2', 'much'), of('1.0.0.3', '4'), endpoint('1.0.0.4')];
  const { balance: found, complaints } = balance(servicePort({ cluster, local: cluster }));
  assert.is(complaints.length, 1);
  assert.match(complaints[0]!.note, /EndpointSlice: "much" is no number from 0 to 65535/);
  assert.equal(cluster.map(found.weight), [1, 1, 4, 1]);
  assert.is(found.scheduler.name, 'wrr');
});

test('with weights rr becomes wrr and lc wlc, unless the Service asks for just these, which is told', () => {
  assert.is(balance(asked(undefined, '2')).balance.scheduler.name, 'wrr');
  assert.is(balance(asked(undefined, '2'), 'lc').balance.scheduler.name, 'wlc');
  assert.is(balance(asked(undefined, '2'), 'mh-port').balance.scheduler.name, 'mh');
  assert.equal(balance(asked(undefined, '2')).complaints, []);
  for (const [port, usual, lacks] of [
    [asked('rr', '2'), 'rr', []],
    [asked('lc', '2'), 'rr', []],
    [asked(undefined, '2'), 'dh', []],
    [asked(undefined, '2'), 'rr', ['wrr']],
  ] as const) {
    const { balance: found, complaints } = balance(port, usual, lacks);
    assert.is(found.scheduler.name, port.annotations[SCHEDULER_ANNOTATION] ?? usual);
    assert.is(complaints.length, 1);
    assert.match(complaints[0]!.note, /weights have no effect .* set the annotation kube-proxy.io\/ipvs-scheduler/);
  }
});

test('what is to be tried is what may be chosen', () => {
  assert.equal(schedulersFor(asked(undefined), RR), []);
  assert.equal(schedulersFor(asked('sed'), RR), ['sed']);
  assert.equal(schedulersFor(asked('Sed'), RR), []);
  assert.equal(schedulersFor(asked(undefined, '2'), RR), ['wrr']);
  const cluster = [endpoint('1.0.0.1', { annotations: { [WEIGHT_ANNOTATION]: '4' } })];
  assert.equal(schedulersFor(servicePort({ cluster }), RR), ['wrr']);
});

test('a client is kept at its endpoint by Maglev, else by source hashing, else not', () => {
  assert.equal(balance(asked(undefined)).balance.hash, { name: 'mh', hashPort: false, hashFallback: true });
  assert.is(balance(asked(undefined), 'rr', ['mh']).balance.hash.name, 'sh');
  assert.is(balance(asked('sh-port')).balance.hash.name, 'sh', 'its own, if that hashes');
  assert.equal(balance(asked(undefined), 'rr', ['mh', 'sh']).balance.hash, RR);
});

test.run();
