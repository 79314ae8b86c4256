// The demo's time: `node bench/demo.mjs [ADAPTER ...]` (lavapipe and swiftshader unless told), after `npm run build`.
// What it must hold on two cores: 60 s on lavapipe, 180 s on SwiftShader. Prints a JSON document; fails above the limits.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const LIMITS = { lavapipe: 60, swiftshader: 180 };
const bin = fileURLToPath(new URL("../bin/unbraid.mjs", import.meta.url));
const given = process.argv.slice(2);
const results = [];
for (const adapter of given.length > 0 ? given : Object.keys(LIMITS)) {
  const folder = mkdtempSync(join(tmpdir(), "unbraid-demo-"));
  const load = loadavg()[0];
  const { status, stdout } = spawnSync(
    process.execPath,
    [bin, "demo", "--out", join(folder, "demo"), "--adapter", adapter, "--json", "--quiet"],
    { encoding: "utf8", maxBuffer: 2 ** 26, stdio: ["ignore", "pipe", "inherit"] },
  );
  rmSync(folder, { recursive: true, force: true });
  const document = JSON.parse(stdout);
  if (status !== 0) {
    results.push({ adapter, error: document.error });
    continue;
  }
  const { seconds, steps } = document;
  results.push({
    adapter,
    seconds,
    limit: LIMITS[adapter] ?? null,
    // On a machine that does other things the seconds say little: the load says whether it did.
    load_before: load,
    cpus: availableParallelism(),
    steps: Object.fromEntries(steps.map((step) => [step.name, Number(step.seconds.toFixed(2))])),
  });
}
console.log(JSON.stringify({ demo: results }, undefined, 1));
const late = results.filter((r) => r.error !== undefined || (r.limit !== null && r.seconds > r.limit));
if (late.length > 0) process.exitCode = 1;
