import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ServicePort } from '../../../core/backend.ts';
import { createHealthPorts, healthPortHosts, healthPortReply } from '../../../core/observe/service-health-ports.ts';
import { change, endpoint, servicePort } from './changes.ts';

const NOTHING = { upsert: [], remove: [] };

const following = suite('following healthCheckNodePorts');

/** The number that one Service with these ports has. */
function count(...ports: readonly ServicePort[]): number | undefined {
  return createHealthPorts().apply(change(ports)).upsert[0]?.localEndpoints;
}

following('a Service is told once for all its ports, and again when its number or port moves', () => {
  const ports = createHealthPorts();
  const web = { namespace: 'default', name: 'web', port: 32_000 };
  const two = [servicePort('web', ['10.0.0.1']), servicePort('web', ['10.0.0.1', '10.0.0.2'], { portName: 'tls' })];
  assert.equal(ports.apply(change(two)), { upsert: [{ ...web, localEndpoints: 2 }], remove: [] });
  assert.equal(ports.apply(change(two)), NOTHING);
  assert.equal(ports.apply(change([servicePort('web', ['10.0.0.1'], { portName: 'tls' })])), {
    upsert: [{ ...web, localEndpoints: 1 }],
    remove: [],
  });
  const moved = two.map((port) => ({ ...port, healthCheckNodePort: 32_001 }));
  assert.equal(ports.apply(change(moved)), {
    upsert: [{ ...web, port: 32_001, localEndpoints: 2 }],
    remove: [],
  });
});

following('it goes with its last port, or when it loses the health port', () => {
  const ports = createHealthPorts();
  const both = [servicePort('web', ['10.0.0.1']), servicePort('web', ['10.0.0.2'], { portName: 'tls' })];
  ports.apply(change(both));
  assert.is(ports.apply(change([], { remove: ['default/web/TCP'] })).upsert[0]?.localEndpoints, 1);
  assert.equal(ports.apply(change([], { remove: ['default/web:tls/TCP'] })), { upsert: [], remove: ['default/web'] });
  assert.equal(ports.apply(change([], { remove: ['default/web:tls/TCP', 'default/other/TCP'] })), NOTHING);
  ports.apply(change(both));
  const without = both.map((port) => ({ ...port, healthCheckNodePort: 0 }));
  assert.equal(ports.apply(change(without)), { upsert: [], remove: ['default/web'] });
});

following('Services without one are passed over', () => {
  assert.equal(
    createHealthPorts().apply(change([servicePort('a', ['10.0.0.1'], { healthCheckNodePort: 0 })])),
    NOTHING,
  );
});

following('a full change says all that there is: what it lacks is gone, what it has unchanged is not told', () => {
  const ports = createHealthPorts();
  ports.apply(change(['a', 'b', 'c'].map((name) => servicePort(name, ['10.0.0.1']))));
  const full = change([servicePort('b', ['10.0.0.1']), servicePort('c', []), servicePort('d', ['10.0.0.9'])], {
    full: true,
  });
  const { upsert, remove } = ports.apply(full);
  assert.equal(remove, ['default/a']);
  assert.equal(
    upsert.map(({ name, localEndpoints }) => `${name} ${localEndpoints}`),
    ['c 0', 'd 1'],
  );
  assert.equal(ports.apply(change([], { full: true })).remove.toSorted(), ['default/b', 'default/c', 'default/d']);
});

following('counts pods: one address in several ports is one', () => {
  assert.is(
    count(servicePort('web', ['10.0.0.1', '10.0.0.2']), servicePort('web', ['10.0.0.2'], { portName: 'b' })),
    2,
  );
  const twice = [endpoint('10.0.0.1', { port: 80 }), endpoint('10.0.0.1', { port: 81 })];
  assert.is(count(servicePort('web', [], { local: twice })), 1);
});

following('an endpoint that terminates never counts, though it serves', () => {
  const local = [endpoint('10.0.0.1', { ready: false }), endpoint('10.0.0.2', { ready: false })];
  assert.is(count(servicePort('web', [], { local })), 0);
});

following('endpoints of other nodes do not count', () => {
  const cluster = [endpoint('10.0.0.1'), endpoint('10.0.9.9', { isLocal: false })];
  assert.is(count(servicePort('web', [], { local: [], cluster })), 0);
  assert.is(count(servicePort('web', [], { local: [endpoint('10.0.0.1')], cluster })), 1);
});

following('costs what changed, whatever else there is', () => {
  const ports = createHealthPorts();
  ports.apply(change(Array.from({ length: 5_000 }, (_, at) => servicePort(`s${at}`, ['10.0.0.1']))));
  let looked = 0;
  const watched = new Proxy(servicePort('s7', ['10.0.0.1', '10.0.0.2']), {
    get(port, field: keyof ServicePort) {
      looked++;
      return port[field];
    },
  });
  assert.is(ports.apply(change([watched])).upsert.length, 1);
  assert.ok(looked < 30, `${looked} looks`);
});

const answers = suite('what a health port is and says');

answers('it is opened on every address of its family, or on the node port addresses but loopback', () => {
  assert.equal(healthPortHosts('IPv4', { match: 'all', loopback: true }), ['0.0.0.0']);
  assert.equal(healthPortHosts('IPv6', { match: 'all', loopback: false }), ['::']);
  assert.equal(healthPortHosts('IPv4', { match: 'list', addresses: ['127.0.0.1', '127.1.2.3', '192.0.2.1'] }), [
    '192.0.2.1',
  ]);
  assert.equal(healthPortHosts('IPv6', { match: 'list', addresses: ['::1', 'fd00::1'] }), ['fd00::1']);
  assert.equal(healthPortHosts('IPv6', { match: 'list', addresses: [] }), []);
});

answers('200 with endpoints and a healthy proxy, else 503; the weight in both cases', () => {
  const port = { namespace: 'shop', name: 'web', port: 32_000, localEndpoints: 2 };
  assert.equal(healthPortReply(port, true), {
    status: 200,
    headers: {
      'Content-Type': 'application/json',
      'X-Content-Type-Options': 'nosniff',
      'X-Load-Balancing-Endpoint-Weight': '2',
    },
    body:
      '{\n\t"service": {\n\t\t"namespace": "shop",\n\t\t"name": "web"\n\t},\n' +
      '\t"localEndpoints": 2,\n\t"serviceProxyHealthy": true\n}',
  });
  const sick = healthPortReply(port, false);
  assert.is(sick.status, 503);
  assert.is(sick.headers['X-Load-Balancing-Endpoint-Weight'], '2');
  assert.match(sick.body, '"serviceProxyHealthy": false');
  const none = healthPortReply({ ...port, localEndpoints: 0 }, true);
  assert.equal([none.status, none.headers['X-Load-Balancing-Endpoint-Weight']], [503, '0']);
});

following.run();
answers.run();
