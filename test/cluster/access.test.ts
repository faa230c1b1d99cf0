/** What the program must be allowed, and who it says it is. */
import { writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { skip } from '../skip.ts';
import { openClient } from './client.ts';
import { type Cluster, openCluster, PROXY_RULES, PROXY_USER } from './cluster.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { endpointAt, service, slice } from './objects.ts';

const test = suite('access to the API server');
const cluster: Cluster = await openCluster();
const { client, namespace, nodeName, server } = cluster;
const [family] = cluster.families;
let daemon: Daemon | undefined;

test.after.each(async () => void (await daemon?.stop()));
test.after(() => cluster.close());

async function start(kubeconfig: string): Promise<Daemon> {
  daemon = await startDaemon({ kubeconfig, nodeName });
  await daemon.ready();
  return daemon;
}

const ASKED = [
  '/api/v1/services',
  '/api/v1/nodes',
  '/apis/discovery.k8s.io/v1/endpointslices',
  '/apis/networking.k8s.io/v1/servicecidrs',
];

/** Why the proxy's user is of no use here: we may not speak for it, or this cluster gives it other rights. */
async function impersonationProblem(): Promise<string | undefined> {
  const impersonator = await openClient(cluster.kubeconfigFor({ as: PROXY_USER }));
  try {
    for (const path of ASKED) {
      const { status, text } = await impersonator.request('GET', `${path}?limit=1`);
      if (status !== 200) return `this cluster refuses ${path} to ${PROXY_USER}: ${status} ${text.slice(0, 300)}`;
    }
    return undefined;
  } finally {
    impersonator.close();
  }
}

const impersonation = server === undefined ? await impersonationProblem() : undefined;
const enough = `the user ${PROXY_USER} may do all that is needed`;
if (impersonation !== undefined) skip(enough, impersonation);
else {
  test(enough, async () => {
    const running = await start(cluster.kubeconfigFor({ as: PROXY_USER }));
    const web = await client.create(service(namespace, 'web'));
    await client.create(slice(web, { family, endpoints: [endpointAt(family, 1)] }));
    await running.until('served', () => running.served.port(family, namespace, 'web/TCP')?.cluster.length === 1);
    const codes = async () => (await running.metrics()).get('rest_client_requests_total')?.samples ?? [];
    await running.until('the event about the start is written', async () =>
      (await codes()).some(({ labels }) => labels.method === 'POST' && labels.code === '201'),
    );
    const refused = (await codes()).filter(({ labels }) => labels.code === '401' || labels.code === '403');
    assert.equal(refused, []);
  });
}

const exactly = 'the rules that are documented are all needed, and nothing else is asked for';
const ownOnly = 'only our own server tells what it was asked';
if (server === undefined) skip(exactly, ownOnly);
else {
  test(exactly, async () => {
    server.forgetRequests();
    const first = await start(cluster.kubeconfig);
    await first.stop();
    // A server that cannot stream lists is asked for lists.
    const refusal = server.faults.add({ kind: 'watchListRefused' }, { verb: 'watch' }, Number.POSITIVE_INFINITY);
    await start(cluster.kubeconfig);
    // Not all of them hold up Ready.
    for (const resource of ['services', 'endpointslices', 'nodes', 'servicecidrs']) {
      const listed = () => server.requests().some((one) => one.verb === 'list' && one.resource === resource);
      await daemon!.until(`a list of ${resource}`, listed);
    }
    refusal.remove();
    const event = () => server.requests().some(({ method }) => method === 'POST');
    await daemon!.until('an event', event);
    const asked = server.requests().filter(({ user }) => user === PROXY_USER);
    assert.equal(
      asked.filter(({ status }) => status === 401 || status === 403),
      [],
    );
    const used = new Set(asked.map(({ verb, resource }) => `${verb} ${resource}`));
    // Only an event that recurs for minutes is patched.
    used.add('patch events');
    const allowed = PROXY_RULES.flatMap(({ verbs, resources }) =>
      verbs.flatMap((verb) => resources.map((resource) => `${verb} ${resource}`)),
    );
    assert.equal([...used].toSorted(), allowed.toSorted());
  });
}

const renewal = 'a token that expires and an authority that changes are taken up from their files';
if (server === undefined) skip(renewal, 'the credentials of a real cluster are not ours to change');
else {
  test(renewal, async () => {
    const token = server.tokens.issue(PROXY_USER);
    const files = server.kubeconfigFor({ kind: 'token', token, files: true });
    const running = await start(files.path);
    const web = await client.create(service(namespace, 'renewed'));
    const all = await client.create(slice(web, { family, endpoints: [endpointAt(family, 1)] }));
    const served = () =>
      running.served
        .port(family, namespace, 'renewed/TCP')
        ?.cluster.map(({ ip }) => ip)
        .join();
    await running.until('the first endpoint', () => served() === endpointAt(family, 1).addresses[0]);

    server.tokens.expire(token);
    server.rotateCertificate({ newAuthority: true });
    server.dropConnections('reset');
    writeFileSync(files.tokenFile, server.tokens.issue(PROXY_USER));
    writeFileSync(files.caFile, server.ca());
    // The administrator's kubeconfig must know the new authority, too; our client follows it.
    server.adminKubeconfig();
    await client.patch(all, { endpoints: [endpointAt(family, 2)] });
    await running.until('the second endpoint', () => served() === endpointAt(family, 2).addresses[0]);
  });
}

test.run();
