/**
 * A real browser for tests: headless Chromium, WebGPU on SwiftShader. UNBRAID_CHROMIUM names another; where there is none,
 * tests skip and say so.
 */
import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { chromium, type Browser, type Page } from "playwright-core";
import { afterAll } from "vitest";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];

function runnable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function find(): string | undefined {
  const named = process.env.UNBRAID_CHROMIUM;
  if (named !== undefined && named !== "") return runnable(named) ? named : undefined;
  const folders = ["/usr/bin", ...(process.env.PATH ?? "").split(delimiter)];
  return NAMES.flatMap((name) => folders.map((folder) => join(folder, name))).find(runnable);
}

/** undefined where there is no Chromium. */
export const chromiumPath = find();
if (chromiumPath === undefined)
  process.stderr.write(
    "note: no Chromium is found (UNBRAID_CHROMIUM, chromium, chromium-browser, google-chrome): tests in a browser are skipped\n",
  );

const WEBGPU = [
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--enable-features=Vulkan",
  "--use-vulkan=swiftshader",
];

/** @param webgpu whether it has an adapter */
export function launch(webgpu = true): Promise<Browser> {
  if (chromiumPath === undefined) throw new Error("no Chromium");
  // No sandbox: containers that run as root have none to give. The pages are ours.
  const args = ["--no-sandbox", ...(webgpu ? WEBGPU : ["--disable-gpu", "--disable-features=WebGPU,WebGPUService"])];
  return chromium.launch({ executablePath: chromiumPath, headless: true, args });
}

/** A folder that goes when the file's tests have ended. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "unbraid-browser-"));
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

/** What a page wrote on its console as an error, and what it threw: none is expected. */
export function faultsOf(page: Page): string[] {
  const faults: string[] = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") faults.push(message.text());
  });
  return faults;
}
