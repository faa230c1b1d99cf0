/**
 * Manifests read once, for `kube-proxy render` and tests: same rules as the live source, no watching.
 */
import type { EndpointSlice, Node, Service, ServiceCIDR } from '../../model/objects.ts';
import { createCatalog } from './catalog.ts';
import { formatOf, listManifests, manifestError, readManifest } from './files.ts';
import { type ManifestObject, parseManifest } from './parse-manifest.ts';

export interface Manifests {
  readonly services: readonly Service[];
  readonly slices: readonly EndpointSlice[];
  readonly nodes: readonly Node[];
  readonly serviceCIDRs: readonly ServiceCIDR[];
  /** Faults that were stepped over, each naming the file and the object. */
  readonly problems: readonly string[];
}

/** Rejects (KP_MANIFEST, a line per fault) when the path or a file cannot be read or is not YAML. */
export async function readManifests(path: string): Promise<Manifests> {
  const { files } = await listManifests(path);
  const contents = new Map<string, ReadonlyMap<string, ManifestObject>>();
  const problems: string[] = [];
  const faults: string[] = [];
  for (const file of files) {
    try {
      const parsed = parseManifest(await readManifest(file), formatOf(file.path));
      if (parsed.kind === 'malformed') {
        faults.push(`${file.path}: ${parsed.problem}; correct the file`);
        continue;
      }
      contents.set(file.path, parsed.contents.objects);
      problems.push(...parsed.contents.problems.map((problem) => `${file.path}: ${problem}`));
    } catch (error) {
      faults.push(error instanceof Error ? error.message : String(error));
    }
  }
  if (faults.length > 0) throw manifestError(faults);

  const { changes, duplicates } = createCatalog().replace(contents);
  for (const { id, usedFile, ignoredFile } of duplicates) {
    problems.push(`${ignoredFile}: ${id} is also in ${usedFile}, which counts because its name is first; remove one`);
  }
  const services: Service[] = [];
  const slices: EndpointSlice[] = [];
  const nodes: Node[] = [];
  const serviceCIDRs: ServiceCIDR[] = [];
  for (const { object } of changes) {
    if (object.kind === 'Service' && object.value) services.push(object.value);
    if (object.kind === 'EndpointSlice' && object.value) slices.push(object.value);
    if (object.kind === 'Node' && object.value) nodes.push(object.value);
    if (object.kind === 'ServiceCIDR' && object.value) serviceCIDRs.push(object.value);
  }
  return { services, slices, nodes, serviceCIDRs, problems };
}
