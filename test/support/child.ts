/** Runs our own sources in a process of their own: for exit codes, environments, and what only a fresh process shows. */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const root = fileURLToPath(new URL("../..", import.meta.url));

export interface ChildResult {
  /** The exit code, or the name of the signal that ended it. */
  readonly end: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

/** A temporary folder with the named sources as JavaScript, at the same relative paths. */
export class ChildSources implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "unbraid-test-"));

  /** @param paths files or folders below the project, e.g. "src/gpu" */
  constructor(...paths: string[]) {
    symlinkSync(join(root, "node_modules"), join(this.folder, "node_modules"));
    writeFileSync(join(this.folder, "package.json"), '{"type":"module"}');
    const files = paths.flatMap((path) =>
      path.endsWith(".ts")
        ? [path]
        : readdirSync(join(root, path)).flatMap((name) => (name.endsWith(".ts") ? [join(path, name)] : [])),
    );
    for (const file of files) {
      const { outputText } = ts.transpileModule(readFileSync(join(root, file), "utf8"), {
        compilerOptions: {
          target: ts.ScriptTarget.ES2022,
          module: ts.ModuleKind.ESNext,
          verbatimModuleSyntax: true,
          rewriteRelativeImportExtensions: true,
        },
      });
      const target = join(this.folder, file.replace(/\.ts$/, ".js"));
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, outputText);
    }
  }

  /** Makes one npm package look as if it were not installed. */
  hidePackage(hidden: string): void {
    const modules = join(this.folder, "node_modules");
    rmSync(modules);
    mkdirSync(modules);
    const scope = hidden.split("/")[0];
    for (const name of readdirSync(join(root, "node_modules"))) {
      if (name !== hidden && name !== scope) symlinkSync(join(root, "node_modules", name), join(modules, name));
    }
  }

  /** Runs `script`, a module that stands in the folder's root; undefined in `env` unsets a variable. */
  run(script: string, env: Readonly<Record<string, string | undefined>> = {}): Promise<ChildResult> {
    const options = {
      cwd: this.folder,
      env: { ...process.env, ...env },
      timeout: 120_000,
      killSignal: "SIGKILL" as const,
    };
    return new Promise((resolve) => {
      execFile(process.execPath, ["--input-type=module", "-e", script], options, (error, stdout, stderr) => {
        resolve({ end: error === null ? 0 : (error.signal ?? Number(error.code)), stdout, stderr });
      });
    });
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
