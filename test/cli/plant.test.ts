/** `unbraid plant` and `unbraid score`, and what they refuse. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { PlantFile } from "../../src/channels/plants/plant.ts";
import type { Score } from "../../src/channels/plants/score.ts";
import { testAdapters } from "../support/gpu.ts";
import { errorOf, jsonOf, temporaryFolder, unbraid, write, writeClassifier, writeImages } from "./support.ts";

const dir = temporaryFolder();
const at = (...names: string[]): string => join(dir, ...names);
const [model, images, plants] = [at("net.onnx"), at("images"), at("plants.json")];

describe.skipIf(testAdapters.length === 0)("plant and score", () => {
  const adapter = ["--adapter", testAdapters[0] ?? ""];
  const plantIn = (folder: string, layer: string, out: string, ...options: string[]): string[] => [
    ...["plant", model, "--images", folder, "--layer", layer, "--out", out, "--plants", "4", ...options],
    ...adapter,
  ];
  const plant = (...options: string[]): string[] => plantIn(images, "body.conv", plants, ...options);

  beforeAll(async () => {
    writeClassifier(model);
    await writeImages(images, 10);
    expect((await unbraid(...plant())).code).toBe(0);
  }, 60_000);

  test("plants every tier, the same for the same seeds", async () => {
    const file = JSON.parse(readFileSync(plants, "utf8")) as PlantFile & { readonly format: string };
    expect(file).toMatchObject({ format: "unbraid plants", layer: "body.conv", images: { length: 40 } });
    const tiers = (list: PlantFile["plants"]): number[] =>
      ["P0", "P1", "P2", "P3", "P4", "P5"].map((t) => list.filter((p) => p.tier === t).length);
    expect(tiers(file.plants)).toEqual([12, 12, 12, 12, 12, 12]);
    const again = await unbraid(
      ...plantIn(images, "body.conv", at("some.json"), "--tier", "P2,P1", "--seed", "2", "--json"),
    );
    expect(jsonOf(again)).toMatchObject({
      tiers: [
        { tier: "P1", plants: 4 },
        { tier: "P2", plants: 4 },
      ],
      seeds: [2],
    });
    const some = JSON.parse(readFileSync(at("some.json"), "utf8")) as PlantFile;
    expect(some.plants).toEqual(["P1", "P2"].flatMap((t) => file.plants.filter((p) => p.tier === t && p.seed === 2)));
  });

  test("scores the original beside ours, each figure with its interval", { timeout: 60_000 }, async () => {
    const ran = await unbraid("score", plants, "--images", images, "--out", at("score.json"), "--json", ...adapter);
    expect(ran.stderr).toContain("held-out");
    expect(ran.code).toBe(0);
    const found = jsonOf<Score & { readonly layer: string }>(ran);
    expect(JSON.parse(readFileSync(at("score.json"), "utf8"))).toEqual(found);
    expect(Object.keys(found.tiers)).toEqual(["P1", "P2", "P3", "P4"]);
    for (const tier of Object.values(found.tiers)) {
      expect(tier.plants).toBe(12);
      for (const rule of Object.values(tier.rules))
        for (const figure of [rule.correlation, rule.leakage, rule.squared_error]) {
          expect(figure.n).toBe(12);
          expect(figure.low).toBeLessThanOrEqual(figure.value);
          expect(figure.high).toBeGreaterThanOrEqual(figure.value);
        }
    }
    expect(Object.keys(found.tiers.P2?.rules ?? {})).toEqual(
      expect.arrayContaining(["official", "symmetric", "additive", "tuned"]),
    );
    expect(Object.keys(found.tiers.P4?.rules ?? {})).not.toContain("official");
    expect(found.tiers.P1?.rules.symmetric?.set_accuracy?.value).toBeGreaterThan(0);
    expect(found.tiers.P2?.rules.additive?.swap_invariant?.value).toBe(1);
    // Six channels are too few to learn from.
    expect(found.detection).toBeNull();
    expect(found.inserted).toMatchObject({ relevant_both: { n: 12 }, accuracy: {} });
    const text = await unbraid("score", plants, "--images", images, "--quiet", ...adapter);
    expect(text.stdout).toContain("P2, dense: 12 plants");
    expect(text.stdout).toContain("official");
  });

  test("refuses what cannot be planted", async () => {
    expect(await errorOf(...plant("--tier", "P7"))).toMatchObject({ code: "OPTION_VALUE", exit: 2 });
    expect(await errorOf(...plantIn(images, "deep", plants))).toMatchObject({ code: "CHANNEL_DEPTHWISE", exit: 5 });
    expect(await errorOf(...plant("--limit", "0"))).toMatchObject({ code: "OPTION_VALUE" });
    await writeImages(at("one"), 3, ["apple"]);
    write(at("classes.json"), '{"apple": 0}');
    expect(await errorOf(...plantIn(at("one"), "body.conv", plants, "--classes", at("classes.json")))).toMatchObject({
      code: "PLANT_CLASSES",
      exit: 3,
    });
  });

  test("refuses what cannot be scored", async () => {
    const score = (...options: string[]): string[] => ["score", plants, "--images", images, ...options, ...adapter];
    write(at("bad.json"), "{}");
    expect(await errorOf("score", at("bad.json"), "--images", images)).toMatchObject({
      code: "PLANTS_FORMAT",
      exit: 3,
    });
    expect(await errorOf("score", at("none.json"), "--images", images)).toMatchObject({
      code: "PLANTS_FORMAT",
      exit: 3,
    });
    writeClassifier(at("other.onnx"), 99);
    expect(await errorOf(...score("--model", at("other.onnx")))).toMatchObject({ code: "PLANTS_MODEL", exit: 3 });
    const moved = readFileSync(plants, "utf8").replace("net.onnx", "gone.onnx");
    write(at("moved.json"), moved);
    expect(await errorOf("score", at("moved.json"), "--images", images)).toMatchObject({
      code: "PLANTS_MODEL",
      exit: 3,
    });
    await writeImages(at("three"), 3, ["apple", "boat", "cat"]);
    expect(await errorOf(...score().map((x) => (x === images ? at("three") : x)))).toMatchObject({
      code: "IMAGES_CLASSES_OTHER",
      exit: 3,
    });
  });
});
