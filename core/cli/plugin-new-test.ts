/** NAME.test.js of a new plugin, with "my-backend" for its name. It needs Node.js, fake-host.js and nothing else. */
export const TEST_TEMPLATE = `// @ts-check
/**
 * node --test
 *
 * What the contract asks of any backend. What yours programs is known to \`dataPlane\` at the end, and to the test of its
 * options: rewrite these two when you put your own in.
 *
 * @import { TestContext } from 'node:test'
 * @import { Backend, SelfChecking, ServicePort } from './kube-proxy.d.ts'
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { change, fakeHost, port } from './fake-host.js';
import plugin from './my-backend.js';

test('a full sync makes the state, and another with the same state writes nothing', async (t) => {
  const { backend, served } = await start(t);
  const full = change({ full: true, upsert: [port('default/web/TCP')] });
  assert.equal((await backend.sync(full)).operations, 1);
  assert.deepEqual(served(), ['default/web/TCP']);
  assert.equal((await backend.sync(full)).operations, 0);
});

test('a change touches what it names, and leaves the rest', async (t) => {
  const { backend, served } = await start(t);
  await backend.sync(change({ full: true, upsert: [port('default/a/TCP'), port('default/b/TCP')] }));
  await backend.sync(change({ upsert: [port('default/c/TCP')], remove: ['default/a/TCP'] }));
  assert.deepEqual(served(), ['default/b/TCP', 'default/c/TCP']);
});

test('a full sync removes what is ours and not in it', async (t) => {
  const { backend, served } = await start(t);
  await backend.sync(change({ full: true, upsert: [port('default/a/TCP'), port('default/b/TCP')] }));
  await backend.sync(change({ full: true, upsert: [port('default/b/TCP')] }));
  assert.deepEqual(served(), ['default/b/TCP']);
});

test('the families do not disturb each other', async (t) => {
  const { backend, served } = await start(t);
  await Promise.all([
    backend.sync(change({ full: true, upsert: [port('default/web/TCP')] })),
    backend.sync(change({ full: true, family: 'IPv6', upsert: [port('default/six/TCP')] })),
  ]);
  assert.deepEqual(served(), ['default/web/TCP']);
  assert.deepEqual(served('IPv6'), ['default/six/TCP']);
});

test('a sync that was not applied rejects, and the full one after it makes everything right', async (t) => {
  const { backend, served, breakDown, mend } = await start(t);
  await backend.sync(change({ full: true, upsert: [port('default/a/TCP')] }));
  breakDown();
  await assert.rejects(backend.sync(change({ upsert: [port('default/b/TCP')] })));
  mend();
  await backend.sync(change({ full: true, upsert: [port('default/a/TCP'), port('default/b/TCP')] }));
  assert.deepEqual(served(), ['default/a/TCP', 'default/b/TCP']);
});

test('it notices what somebody else changed', async (t) => {
  const { backend, spoil } = await start(t);
  assert.deepEqual(await backend.check('IPv4'), { intact: true });
  await backend.sync(change({ full: true, upsert: [port('default/web/TCP')] }));
  assert.deepEqual(await backend.check('IPv4'), { intact: true });
  spoil();
  assert.equal((await backend.check('IPv4')).intact, false);
});

test('cleaning up removes what an earlier run made, and nothing else', async (t) => {
  const { backend, options, everything } = await start(t);
  const before = everything();
  await backend.sync(change({ full: true, upsert: [port('default/web/TCP')] }));
  await backend.close();
  assert.notDeepEqual(everything(), before);
  const fresh = await plugin.create(fakeHost(), options);
  await fresh.cleanup();
  assert.deepEqual(everything(), before);
  await fresh.cleanup();
});

test('render prints what a first sync writes', async (t) => {
  const { backend, text } = await start(t);
  const first = change({ full: true, upsert: [port('default/web/TCP')] });
  await backend.sync(first);
  assert.equal(plugin.render?.([first], {}, { nftables: () => '' }), text());
});

test('an option that is wrong is refused, by name', async () => {
  const code = 'KP_BACKEND_OPTION';
  await assert.rejects(plugin.create(fakeHost(), { foldr: '/run' }), { code, message: /foldr/ });
  await assert.rejects(plugin.create(fakeHost(), { folder: 'relative' }), { code, message: /relative/ });
  await assert.rejects(plugin.create(fakeHost(), { folder: '/there/is/no/such' }), { code, message: /such/ });
});

/** @param {TestContext} t */
async function start(t) {
  const plane = dataPlane(t);
  const backend = /** @type {Backend & SelfChecking} */ (await plugin.create(fakeHost(), plane.options));
  return { backend, ...plane };
}

/**
 * One of the test's own, which goes with it: here a folder, in which somebody else has a file, too.
 * @param {TestContext} t
 */
function dataPlane(t) {
  const folder = mkdtempSync(join(tmpdir(), 'my-backend-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, 'of-somebody-else'), '');
  /** What is programmed. */
  const text = (family = 'IPv4') => readFileSync(join(folder, \`my-backend.\${family}.json\`), 'utf8');
  return {
    options: { folder },
    text,
    /** Keys of the service ports that it serves. */
    served(family = 'IPv4') {
      /** @type {{ servicePorts: ServicePort[] }} */
      const { servicePorts } = JSON.parse(text(family));
      return servicePorts.map(({ key }) => key);
    },
    /** What is there, whoever made it. */
    everything: () => readdirSync(folder),
    /** From now on nothing can be programmed, until mend(). */
    breakDown: () => rmSync(folder, { recursive: true }),
    mend: () => mkdirSync(folder),
    /** What somebody else may do to it. */
    spoil: () => writeFileSync(join(folder, 'my-backend.IPv4.json'), ''),
  };
}
`;
