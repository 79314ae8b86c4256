// The main job on the network and images that ship with the repository: study, find, split, verify.
// Usage: npm run example [-- MODEL IMAGES_TO_STUDY IMAGES_TO_VERIFY]
import { spawnSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const [model = at("models/demo.onnx"), images = at("models/images/train"), held = at("models/images/val")] =
  process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), "unbraid-"));
const study = join(folder, "last.study");
const split = join(folder, "split.onnx");

for (const args of [
  ["study", model, "--images", images, "--layer", "last", "--out", study],
  ["find", study, "--csv", join(folder, "pairs.csv")],
  ["split", model, "--study", study, "--all", "--images", images, "--out", split],
  ["verify", model, split, "--images", held],
]) {
  console.error(`\n$ unbraid ${args.join(" ")}`);
  const { status } = spawnSync(process.execPath, [at("bin/unbraid.mjs"), ...args], { stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}
console.error(`\nThe split network: ${split}`);
