/**
 * Where a module that runs by itself, as a thread or a process, stands compiled: beside the caller in dist/, and there too
 * where the caller is run as TypeScript by a test, because Node 20 runs no TypeScript. Node only.
 */
import { fileURLToPath } from "node:url";

/**
 * @param name relative to the caller, ending in .js
 * @param caller its `import.meta.url`
 */
export function compiledPath(name: string, caller: string): string {
  const { href } = new URL(name, caller);
  // The last "src" of the path: folders above the project may be called so too.
  return fileURLToPath(caller.endsWith(".ts") ? href.replace(/\/src\/(?!.*\/src\/)/, "/dist/") : href);
}
