/**
 * `import()` that reads files, wherever it is called: the packed program cannot use its own, which knows the modules inside
 * it only; one that is compiled anew, as if it stood in the file that is to be loaded, can load from the disk.
 */
import Module from 'node:module';
import { pathToFileURL } from 'node:url';

type Importer = (url: string) => Promise<unknown>;

/** Every kind of file that Node.js runs, CommonJS and TypeScript (whose types it leaves out) included. `path` is absolute. */
export function importFile(path: string): Promise<unknown> {
  const module = new Module(path) as Module & { _compile(code: string, path: string): void };
  module.filename = path;
  module._compile('module.exports = (url) => import(url)', path);
  return (module.exports as Importer)(pathToFileURL(path).href);
}
