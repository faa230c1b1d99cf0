/**
 * The reference's iptables layout, generated for comparison: a linear KUBE-SERVICES that every sync writes whole, a
 * chain and two rules for each endpoint, and a listing of the nat table on each sync. Written from its description
 * (rules per chain, order, comments); it is never applied outside the benchmark's own namespace.
 */
import { clusterIP, endpointIP, type Load } from './load.ts';

/** Above this many endpoints the reference leaves comments out of its per-service chains. */
const LARGE_CLUSTER = 1000;

function hash(index: number, endpoint = -1): string {
  const text = `${endpoint < 0 ? 'S' : 'E'}${index.toString(36)}${endpoint < 0 ? '' : `X${endpoint}`}`.toUpperCase();
  return text.replaceAll(/[0189]/g, 'Z').padEnd(10, 'A') + String(100000 + index).slice(-6);
}

/** Input of iptables-restore for a sync: the whole of KUBE-SERVICES, and the chains of the services in `changed`. */
export function referenceInput(load: Load, changed: Iterable<number>): string {
  const chains = [
    ':KUBE-SERVICES - [0:0]',
    ':KUBE-NODEPORTS - [0:0]',
    ':KUBE-POSTROUTING - [0:0]',
    ':KUBE-MARK-MASQ - [0:0]',
  ];
  const rules = [
    '-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN',
    '-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000',
    '-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully',
    '-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000',
  ];
  for (let index = 0; index < load.services; index++) {
    const note = `-m comment --comment "ns-${index % 100}/service-${index}:http cluster IP"`;
    rules.push(`-A KUBE-SERVICES ${note} -m tcp -p tcp -d ${clusterIP(index)} --dport 80 -j KUBE-SVC-${hash(index)}`);
  }
  const small = load.services * load.endpoints <= LARGE_CLUSTER;
  for (const index of changed) {
    const svc = `KUBE-SVC-${hash(index)}`;
    chains.push(`:${svc} - [0:0]`);
    const note = small ? `-m comment --comment "ns-${index % 100}/service-${index}:http" ` : '';
    rules.push(`-A ${svc} ${note}-m tcp -p tcp -d ${clusterIP(index)} --dport 80 ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ`);
    for (let i = 0; i < load.endpoints; i++) {
      const sep = `KUBE-SEP-${hash(index, i)}`;
      const left = load.endpoints - i;
      const chance = left > 1 ? `-m statistic --mode random --probability ${(1 / left).toFixed(10)} ` : '';
      const ip = endpointIP(index * load.endpoints + i);
      chains.push(`:${sep} - [0:0]`);
      rules.push(
        `-A ${svc} ${note}${chance}-j ${sep}`,
        `-A ${sep} ${note}-s ${ip} -j KUBE-MARK-MASQ`,
        `-A ${sep} ${note}-m tcp -p tcp -j DNAT --to-destination ${ip}:8080`,
      );
    }
  }
  rules.push(
    '-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS',
  );
  return `*nat\n${chains.join('\n')}\n${rules.join('\n')}\nCOMMIT\n`;
}
