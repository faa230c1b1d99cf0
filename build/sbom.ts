/**
 * What an executable is made of, as a CycloneDX bill of materials: the npm packages that esbuild took anything from,
 * koffi's native library, and Node.js with what Node.js itself is made of. No times and no random numbers: the same
 * sources give the same text.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Enums, Models, Serialize, Spec } from '@cyclonedx/cyclonedx-library';
import manifest from '../package.json' with { type: 'json' };
import { ROOT } from './bundle.ts';
import type { Architecture } from './executable.ts';
import { carriedBy } from './notices.ts';
import { locked } from './npm-package.ts';

export interface SbomOptions {
  readonly architecture: Architecture;
  /** Of the repository; "" = unknown. */
  readonly commit: string;
  /** Packages in the bundle, as folders from the root: "node_modules/yaml". */
  readonly packages: readonly string[];
  /** `process.versions` of the Node.js in it. */
  readonly versions: Readonly<Record<string, string | undefined>>;
  /** SHA-256 of the executable, hexadecimal. */
  readonly digest: string;
}

const { Bom, Component, LicenseRepository, NamedLicense, SpdxLicense, Property } = Models;

/** CycloneDX 1.6, JSON. */
export function billOfMaterials({ architecture, commit, packages, versions, digest }: SbomOptions): string {
  const program = new Component(Enums.ComponentType.Application, manifest.name, {
    bomRef: manifest.name,
    version: manifest.version,
    description: manifest.description,
    licenses: new LicenseRepository([new SpdxLicense(manifest.license)]),
    hashes: new Models.HashDictionary([[Enums.HashAlgorithm['SHA-256'], digest]]),
    properties: new Models.PropertyRepository([
      new Property('kube-proxy:commit', commit || 'unknown'),
      new Property('kube-proxy:architecture', architecture),
    ]),
  });
  const node = new Component(Enums.ComponentType.Platform, 'node', {
    bomRef: 'node',
    version: versions.node ?? '',
    purl: `pkg:generic/node@${versions.node}`,
    licenses: new LicenseRepository([new SpdxLicense('MIT')]),
  });
  const bom = new Bom();
  bom.metadata.component = program;
  program.dependencies.add(node.bomRef);
  bom.components.add(node);
  for (const [name, version] of Object.entries(versions)) {
    // Named without a version is what this Node.js is built without (nghttp3, ngtcp2). The others that are passed over
    // are versions of interfaces and of data, not of things.
    if (!version || ['node', 'modules', 'napi', 'unicode', 'cldr', 'tz'].includes(name)) continue;
    const part = new Component(Enums.ComponentType.Library, name, { bomRef: `node:${name}`, version });
    node.dependencies.add(part.bomRef);
    bom.components.add(part);
  }
  const native = `node_modules/@koromix/koffi-linux-${architecture}`;
  for (const folder of [...packages, native]) {
    const part = packageComponent(folder);
    for (const inside of carriedBy(folder)) part.components.add(carriedComponent(inside, part));
    program.dependencies.add(part.bomRef);
    bom.components.add(part);
  }
  const serializer = new Serialize.JsonSerializer(new Serialize.JSON.Normalize.Factory(Spec.Spec1dot6));
  return `${serializer.serialize(bom, { sortLists: true, space: 2 })}\n`;
}

function packageComponent(folder: string): Models.Component {
  const name = packageName(folder);
  const { version, integrity } = locked(folder.replace(/^node_modules\//, ''));
  const [algorithm = '', digest = ''] = integrity.split(/-(.*)/s);
  const hash = algorithm === 'sha512' ? [[Enums.HashAlgorithm['SHA-512'], hex(digest)] as const] : [];
  return new Component(Enums.ComponentType.Library, name, {
    bomRef: `npm:${name}@${version}`,
    version,
    purl: `pkg:npm/${name.replace('@', '%40')}@${version}`,
    licenses: new LicenseRepository(license(folder)),
    hashes: new Models.HashDictionary(hash),
  });
}

/** Without a version, because none is known for sure. */
function carriedComponent(folder: string, carrier: Models.Component): Models.Component {
  const name = packageName(folder);
  return new Component(Enums.ComponentType.Library, name, {
    bomRef: `${carrier.bomRef.value}:${name}`,
    purl: `pkg:npm/${name.replace('@', '%40')}`,
    licenses: new LicenseRepository(license(folder)),
  });
}

const packageName = (folder: string): string => folder.replace(/^(?:.*\/)?node_modules\//, '');

function hex(base64: string): string {
  return Buffer.from(base64, 'base64').toString('hex');
}

/** As the package states it. One that is for another machine is not installed; its sibling has the same licence. */
function license(folder: string): Models.License[] {
  const installed = folder.replace(/-(?:x64|arm64)$/, `-${process.arch}`);
  const { license: stated } = JSON.parse(readFileSync(join(ROOT, installed, 'package.json'), 'utf8')) as {
    readonly license?: string;
  };
  if (stated === undefined) return [];
  return [/^[A-Za-z0-9.-]+$/.test(stated) ? new SpdxLicense(stated) : new NamedLicense(stated)];
}
