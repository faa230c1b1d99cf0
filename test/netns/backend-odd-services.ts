/** Services at odds with one another or with the node: endpoints on the node itself, shared addresses, disputed ports. */
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import type { IPFamily } from '../../core/backend.ts';
import type { NodeSettings } from '../../core/model/node-settings.ts';
import { askAll } from '../conformance/ask.ts';
import { judge } from '../conformance/judge.ts';
import { ENDPOINT_PORT, probes, roundTrips } from '../conformance/matrix.ts';
import { DEFAULT_SETTINGS, modelState } from '../conformance/model-state.ts';
import { endpointSlice, type KubernetesObject, type ServiceSpec, service } from '../conformance/objects.ts';
import { type DataPlane, flagsOf, play } from './backend-scene.ts';
import { nodeAddresses } from './node-addresses.ts';
import type { World } from './world.ts';
import { CLUSTER_CIDR } from './world-topology.ts';

/** `special`: what this data plane cannot do. */
export function oddServicesTest(test: Test, plane: DataPlane, special: Partial<NodeSettings> = {}): void {
  test(`${plane.title}: endpoints on the node, shared addresses and disputed ports do as the oracle says`, async () => {
    const settings = { ...DEFAULT_SETTINGS, clusterCIDRs: [CLUSTER_CIDR.IPv4, CLUSTER_CIDR.IPv6], ...special };
    const families: readonly IPFamily[] = ['IPv4', 'IPv6'];
    const objects = (world: World) => families.flatMap((family) => oddServices(world, family));
    const prepare = async (world: World): Promise<void> => {
      const addresses = families.map((family) => world.nodeIPs[family][0]!);
      await world.serve('node', { protocol: 'TCP', port: ENDPOINT_PORT, server: 'node process', addresses });
    };
    await play({ flags: flagsOf(plane), objects, prepare }, async ({ world }) => {
      const addresses = await nodeAddresses(world);
      for (const family of families) {
        const state = modelState(family, oddServices(world, family), settings, addresses);
        const questions = probes({ ...state, hidesSources: plane.hidesSources === true }, family, world).filter(
          roundTrips,
        );
        const faults: string[] = [];
        for (const [index, outcome] of (await askAll(world, questions)).entries()) {
          if (outcome === undefined) throw new Error('a question was not asked');
          // What is delivered on this very node passes no POSTROUTING, and needs no masquerading.
          const delivered = outcome.outcome === 'answered' && outcome.server === 'node process';
          const fault = judge(questions[index]!, outcome, state.node);
          if (fault !== undefined && !(delivered && fault.includes('address masqueraded'))) faults.push(fault);
        }
        console.log(`# ${family}: ${questions.length} requests, ${faults.length} wrong`);
        assert.equal(faults.slice(0, 8), []);
        assert.ok(questions.length > 200);
      }
    });
  });
}

/** Each in a namespace of its family, so that both families can be served at once. */
function oddServices(world: World, family: IPFamily): KubernetesObject[] {
  const six = family === 'IPv6';
  const namespace = family.toLowerCase();
  const external = (n: number) => (six ? `2001:db8:113::${n}` : `203.0.113.${n}`);
  const [here, second] = world.nodeIPs[family] as readonly [string, string];
  const pods = world.pods.map((pod) => ({ ip: pod.ip[family], nodeName: 'node' }));
  const [first, other, third] = pods as [(typeof pods)[0], (typeof pods)[0], (typeof pods)[0]];
  const onNode = { ip: here, nodeName: 'node' };
  const remote = { ip: world.remotePods[0]!.ip[family], nodeName: 'remote' };
  const denied = { sourceRanges: [six ? '2001:db8:100::/64' : '198.51.100.0/24', six ? 'fd99::/16' : '198.51.0.0/16'] };
  const objects: KubernetesObject[] = [];
  const add = (
    spec: Partial<Omit<ServiceSpec, 'ports'>> & { port?: number; nodePort?: number },
    endpoints: readonly (typeof onNode)[],
  ): void => {
    const { port = 80, nodePort = 0, ...rest } = spec;
    const n = objects.length + 1;
    const { name = `odd-${n}` } = rest;
    const clusterIPs = { [family]: six ? `fd00:10:96::5${n.toString(16).padStart(2, '0')}` : `10.96.5.${n}` };
    const type = nodePort === 0 ? 'ClusterIP' : 'NodePort';
    objects.push(
      service({ type, ...rest, name, namespace, clusterIPs, ports: [{ name: '', protocol: 'TCP', port, nodePort }] }),
    );
    const at = { name: '', protocol: 'TCP' as const, port: ENDPOINT_PORT };
    objects.push(endpointSlice({ service: name, namespace, family, port: at, endpoints }));
  };
  // A pod that reaches itself, and a process of the node that is an endpoint, by every way and policy.
  let nodePort = six ? 31000 : 30000;
  for (const externalPolicy of ['Cluster', 'Local'] as const) {
    for (const internalPolicy of ['Cluster', 'Local'] as const) {
      for (const endpoints of [[first], [onNode], [onNode, first]]) {
        const externalIPs = [external(objects.length + 1)];
        add(
          { nodePort: ++nodePort, externalIPs, externalPolicy, internalPolicy, affinitySeconds: nodePort % 2 },
          endpoints,
        );
      }
    }
  }
  // An address of the node as VIP or external IP, on the port of another Service's node port.
  const contested: readonly (readonly [Parameters<typeof add>[0], readonly (typeof onNode)[]])[] = [
    [{ type: 'LoadBalancer', loadBalancerVIPs: [here] }, [third]],
    [{ type: 'LoadBalancer', loadBalancerVIPs: [here] }, []],
    [{ type: 'LoadBalancer', loadBalancerVIPs: [here], ...denied }, [first]],
    [{ type: 'LoadBalancer', loadBalancerVIPs: [here], ...denied }, []],
    [{ externalIPs: [second] }, []],
    [{ externalIPs: [second], externalPolicy: 'Local' }, [remote]],
  ];
  for (const [spec, endpoints] of contested) {
    add({ nodePort: ++nodePort }, [other]);
    add({ ...spec, port: nodePort }, endpoints);
  }
  // One node port, claimed twice; the smaller name has it, endpoints or not.
  add({ name: 'disputed-a', nodePort: ++nodePort, externalPolicy: 'Local' }, [remote]);
  add({ name: 'disputed-b', nodePort }, [other]);
  // Many ports of one external address: deep in the dispatch tree.
  for (let k = 0; k < 40; k++) add({ externalIPs: [external(240)], port: 1000 + k * 37 }, [pods[k % 3]!]);
  return objects;
}
