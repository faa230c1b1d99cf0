// @ts-check
/**
 * An example of a backend, whole: the TCP node ports of Services, served by HAProxy, one for each IP family.
 *
 *   kube-proxy ──Change──▶ sync ──▶ IPv4.cfg ──▶ haproxy ◀── client of node:30080
 *
 * Like rules in a kernel, HAProxy outlives kube-proxy: after a restart it is found serving, and left alone. If it ends,
 * or somebody edits its file, check() says so and the full sync that follows makes it right. For every change a new one
 * takes over the sockets; the one before ends when its connections have. Endpoints see the node's address, affinity goes
 * by a hash, what has no endpoint is refused, and a connection is closed after an hour of silence.
 * @import { BackendPlugin, Change, Host, IPFamily, ServicePort } from '../kube-proxy.d.ts'
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';

const FOLDER = '/run/kube-proxy-haproxy';
export default /** @satisfies {BackendPlugin} */ ({
  name: 'haproxy',
  apiVersion: 1,
  summary: 'TCP node ports, served by HAProxy in user space',
  async create(host, options) {
    const [option] = Object.keys(options);
    if (option) throw fault('KP_BACKEND_OPTION', `there is no option ${option}; leave it out`);
    const probe = await host.exec('haproxy', ['-v'], { timeoutMs: 10_000 }).catch(() => undefined);
    if (probe?.status !== 0) throw fault('KP_BACKEND_UNSUPPORTED', 'HAProxy does not run here; install haproxy');
    /** What the last sync of a family made true. @type {Map<IPFamily, { ports: Map<string, ServicePort>, text: string }>} */
    const done = new Map();
    return {
      families: ['IPv4', 'IPv6'],
      async sync(change) {
        const before = done.get(change.family)?.ports ?? new Map();
        const ports = new Map(change.full ? [] : before);
        for (const key of change.remove) ports.delete(key);
        for (const port of change.upsert) {
          ports.set(port.key, port);
          const isUnserved = port.protocol !== 'TCP' && port.nodePort > 0 && !before.has(port.key);
          if (isUnserved) host.log.warn('HAProxy serves TCP only, and not this node port', { servicePort: port.key });
        }
        const text = configuration(change, [...ports.values()]);
        const isRight = await isServing(change.family, text);
        if (!isRight) await load(host, change.family, text);
        done.set(change.family, { ports, text });
        return { operations: isRight ? 0 : 1, bytes: isRight ? 0 : Buffer.byteLength(text) };
      },
      async check(/** @type {IPFamily} */ family) {
        const isRight = await isServing(family, done.get(family)?.text);
        return isRight ? { intact: true } : { intact: false, reason: 'HAProxy has ended, or its file was changed' };
      },
      async cleanup() {
        for (const pid of await readdir('/proc')) if (await isOurs(pid)) process.kill(Number(pid), 'SIGTERM');
        await rm(FOLDER, { recursive: true, force: true });
      },
      async close() {},
    };
  },
});

/** @type {(change: Change, ports: ServicePort[]) => string} */
function configuration({ family, node: { nodePortAddresses } }, ports) {
  const [scheme, any] = family === 'IPv4' ? ['ipv4@', '0.0.0.0'] : ['ipv6@', '::'];
  const addresses = nodePortAddresses.match === 'all' ? [any] : nodePortAddresses.addresses;
  // HAProxy hands its sockets over through the first; without any listener it would not run, hence the second.
  let text = `global\n  user haproxy\n  group haproxy\n  stats socket ${FOLDER}/${family}.sock mode 600 expose-fd listeners
defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h
frontend idle\n  bind unix@${FOLDER}/${family}.idle mode 600\n`;
  const taken = new Set([0]);
  for (const port of ports.sort((a, b) => (a.key < b.key ? -1 : 1))) {
    if (port.protocol !== 'TCP' || taken.has(port.nodePort)) continue;
    taken.add(port.nodePort);
    const endpoints = port.externalPolicy === 'Local' ? port.local : port.cluster;
    if (endpoints.length === 0 || addresses.length === 0) continue;
    text += `listen ${port.key.replaceAll('/', '.')}\n  balance ${port.affinitySeconds ? 'source' : 'roundrobin'}\n`;
    for (const ip of addresses) text += `  bind ${scheme}${ip}:${port.nodePort} v6only\n`;
    for (const { ip, port: to } of endpoints) text += `  server ${ip}:${to} ${scheme}${ip}:${to}\n`;
  }
  return text;
}

/** A text that HAProxy refuses leaves the one before serving. @type {(...of: [Host, IPFamily, string]) => Promise<void>} */
async function load(host, family, text) {
  const [base, old] = [`${FOLDER}/${family}`, await running(family)];
  await mkdir(FOLDER, { recursive: true, mode: 0o700 });
  await writeFile(`${base}.next`, text);
  const args = ['-D', '-f', `${base}.next`, '-p', `${base}.pid`, ...(old ? ['-x', `${base}.sock`, '-sf', old] : [])];
  const { status, stderr } = await host.exec('haproxy', args, { timeoutMs: 30_000 });
  if (status !== 0) throw new Error(`HAProxy refuses ${base}.next; what ran before goes on: ${stderr}`);
  await rename(`${base}.next`, `${base}.cfg`);
}

const isServing = async (/** @type {IPFamily} */ family, /** @type {string | undefined} */ text) =>
  (await read(`${FOLDER}/${family}.cfg`)) === text && (await running(family)) !== undefined;
async function running(/** @type {IPFamily} */ family) {
  const pid = (await read(`${FOLDER}/${family}.pid`))?.trim() ?? '';
  return (await isOurs(pid)) ? pid : undefined;
}
const isOurs = async (/** @type {string} */ pid) =>
  /^\d+$/.test(pid) && (await read(`/proc/${pid}/cmdline`))?.startsWith(`haproxy\0-D\0-f\0${FOLDER}/`) === true;
const read = (/** @type {string} */ file) => readFile(file, 'utf8').catch(() => undefined);
const fault = (/** @type {string} */ code, /** @type {string} */ message) =>
  Object.assign(new Error(`haproxy: ${message}`), { code });
