/** Parts of the program that lie in the executable as assets, each a CommonJS module run when it is first asked for. */
import Module from 'node:module';
import { getAsset } from 'node:sea';

/** What the module of this asset exports. */
export function loadAsset(name: string): unknown {
  const part = new Module(name);
  // Names its lines in stack traces, and is where its `require` looks: nowhere, so that only what Node has is found.
  part.filename = `/kube-proxy/${name}`;
  part.paths = [];
  (part as Module & { _compile(source: string, file: string): unknown })._compile(
    getAsset(name, 'utf8'),
    part.filename,
  );
  return part.exports;
}
