/** The package as it ships: dist/, built anew where a source is younger. */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));
export const dist = join(root, "dist");

export function build(): void {
  const built = statSync(join(dist, "cli", "main.js"), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const sources = readdirSync(join(root, "src"), { recursive: true, withFileTypes: true }).filter((f) => f.isFile());
  if (sources.every((f) => statSync(join(f.parentPath, f.name)).mtimeMs < built)) return;
  execFileSync(
    process.execPath,
    [join(root, "node_modules", "typescript", "bin", "tsc"), "-p", "tsconfig.build.json"],
    {
      cwd: root,
      stdio: "inherit",
    },
  );
}

export interface Ended {
  /** The exit code, or the signal's name. */
  readonly end: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * `unbraid ARGV` in a process of its own.
 * @param onStderr is given the process, and all of stderr whenever it grows
 * @param env beside this process's own
 */
export function unbraidProcess(
  argv: readonly string[],
  onStderr: (child: ChildProcess, stderr: string) => void = () => undefined,
  env: NodeJS.ProcessEnv = {},
): Promise<Ended> {
  const child = spawn(process.execPath, [join(root, "bin", "unbraid.mjs"), ...argv], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (data: Buffer) => {
    stdout += data.toString();
  });
  child.stderr.on("data", (data: Buffer) => {
    stderr += data.toString();
    onStderr(child, stderr);
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      resolve({ end: code ?? signal ?? "", stdout, stderr });
    });
  });
}
