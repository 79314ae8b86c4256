/** examples/python on what `unbraid export` writes: skipped where Python, numpy or pandas are missing (UNBRAID_PYTHON names one). */
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { root } from "../cli/built.ts";
import { jsonOf, unbraid } from "../cli/support.ts";
import { testAdapters } from "../support/gpu.ts";
import { python } from "../support/python.ts";

if (python === undefined)
  process.stderr.write("note: no Python with numpy and pandas is found: the tests of examples/python are skipped\n");

const work = mkdtempSync(join(tmpdir(), "unbraid-python-"));
const at = (name: string): string => join(work, name);
const CLASSES = ["key", "light-bulb", "panda"];
const CHANNEL = 91;

afterAll(() => {
  rmSync(work, { recursive: true, force: true });
});

async function done(...argv: string[]): Promise<void> {
  const ran = await unbraid(...argv);
  expect(ran.code, ran.stderr).toBe(0);
}

/** Rows of CSV as objects. */
function rows(text: string): Record<string, string>[] {
  const [header = "", ...lines] = text.trim().split("\n");
  const names = header.split(",");
  return lines.map((line) => Object.fromEntries(line.split(",").map((cell, k) => [names[k] ?? "", cell])));
}

const script = (name: string, ...args: string[]): string =>
  execFileSync(python ?? "", [join(root, "examples", "python", name), ...args], { encoding: "utf8", cwd: work });

describe.skipIf(python === undefined || testAdapters.length === 0)(
  "examples/python (skipped without numpy, pandas or an adapter)",
  () => {
    beforeAll(async () => {
      for (const name of ["demo.onnx", "demo.preprocess.json", "demo-labels.json"])
        cpSync(join(root, "models", name), at(name));
      for (const name of CLASSES) {
        mkdirSync(at(`images/${name}`), { recursive: true });
        const from = join(root, "models", "images", "train", name);
        for (const file of readdirSync(from).sort().slice(0, 6)) cpSync(join(from, file), at(`images/${name}/${file}`));
      }
      const images = ["--images", at("images"), "--classes", at("demo-labels.json")];
      const channel = ["--channel", String(CHANNEL)];
      await done("study", at("demo.onnx"), ...images, "--layer", "last", "--out", at("a.study"));
      await done(
        ...["split", at("demo.onnx"), "--study", at("a.study"), ...channel, "--classes", "key,panda"],
        ...["--rho", "0.5", "--out", at("split.onnx")],
      );
      await done(
        ...["evaluate", at("split.onnx"), ...images, "--no-ablation", "--draws", "20", "--sample", "18"],
        ...["--out", at("e.json")],
      );
      await done("export", at("a.study"), "--npz", at("a.npz"), "--csv", at("a.csv"), ...channel);
      await done("export", at("e.json"), "--npz", at("e.npz"));
    });

    it("study.py: relevance vectors made anew, and the cosines of `find`", async () => {
      const text = script("study.py", "a.npz", "a.csv", "--channel", String(CHANNEL));
      const off = Number(/differ from the exported ones by (\S+) of the largest/.exec(text)?.[1]);
      // The export divides exact sums; numpy adds five folds and 96 terms up in float64, cancellation included.
      expect(off).toBeLessThan(1e-10);
      const found = rows(text.slice(text.indexOf("class 1,")));
      const ran = await unbraid("find", at("a.study"), "--gamma", "2", "--all", "--json");
      const pairs = jsonOf<{
        pairs: { channel: number; class1_name: string; class2_name: string; cosine_similarity: number }[];
      }>(ran).pairs.filter((p) => p.channel === CHANNEL);
      expect(pairs.length).toBeGreaterThan(0);
      expect(found.length).toBe(pairs.length);
      for (const pair of pairs) {
        const mine = found.find((row) => row["class 1"] === pair.class1_name && row["class 2"] === pair.class2_name);
        expect(Number(mine?.cosine)).toBeCloseTo(pair.cosine_similarity, 9);
      }
    });

    it("density.py: eight curves of area 1, the parts' peaks where their concepts are", () => {
      const text = script("density.py", "e.json", "e.npz", "--channel", String(CHANNEL), "--out", "d.svg");
      const curves = rows(text);
      expect(curves.length).toBe(8);
      // Curves end three bandwidths beyond the images: of a Gaussian 0.27 % at most lie further out, and 200 points sum well.
      for (const { area } of curves) expect(Math.abs(Number(area) - 1)).toBeLessThan(0.005);
      const peak = (of: string, concept: string): number =>
        Number(curves.find((row) => row.of === of && row.concept === concept)?.peak);
      expect(peak("part 1", "key")).toBeGreaterThan(peak("part 1", "panda"));
      expect(peak("part 2", "panda")).toBeGreaterThan(peak("part 2", "key"));
      const svg = readFileSync(at("d.svg"), "utf8");
      expect(svg.match(/<polyline/g)?.length).toBe(8);
      expect(svg).toContain("part 1 on images of key");
    });

    it("density.py says which channels there are", () => {
      const ran = spawnSync(
        python ?? "",
        [join(root, "examples/python/density.py"), "e.json", "e.npz", "--channel", "5", "--out", "x.svg"],
        { cwd: work, encoding: "utf8" },
      );
      expect(ran.status).toBe(1);
      expect(ran.stderr).toContain("channel 5 was not evaluated: there are [91]");
    });
  },
);
