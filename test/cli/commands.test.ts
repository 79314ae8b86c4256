/** Every command on a small network, end to end on an adapter: what it prints, writes and returns. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { decodeModel } from "../../src/onnx/decode.ts";
import { encodeNpy, readNpy } from "../../src/cli/npy.ts";
import { testAdapters } from "../support/gpu.ts";
import { CLASSES, jsonOf, SIDE, temporaryFolder, unbraid, write, writeClassifier, writeImages } from "./support.ts";
import type { ErrorJson } from "./support.ts";

const PER_CLASS = 9;
const ALL = PER_CLASS * CLASSES.length;

interface StudyJson {
  readonly images: number;
  readonly classes: number;
  readonly layer: string;
  readonly seconds: number;
  readonly images_per_second: number;
  readonly accumulator_bytes: number;
  readonly file: string;
  readonly complete: boolean;
}

interface Part {
  readonly channel: number;
  readonly concepts: readonly string[];
  readonly rho: number;
  readonly rule: string;
  readonly sets: string;
  readonly choice?: { readonly criterion: string; readonly scores: readonly number[] };
}

describe.skipIf(testAdapters.length === 0)("commands", () => {
  const dir = temporaryFolder();
  const at = (name: string): string => join(dir, name);
  const adapter = testAdapters[0] ?? "";
  const gpu = (...argv: string[]): ReturnType<typeof unbraid> => unbraid(...argv, "--adapter", adapter, "--json");
  const model = at("net.onnx");
  const study = at("all.study");

  beforeAll(async () => {
    writeClassifier(model);
    write(at("net.preprocess.json"), JSON.stringify({ mean: [0.5, 0.4, 0.3], std: [0.25, 0.2, 0.3] }));
    write(at("net-labels.json"), JSON.stringify(CLASSES));
    await writeImages(at("images"), PER_CLASS);
    const ran = await gpu(
      "study",
      model,
      "--images",
      at("images"),
      "--layer",
      "body.conv",
      "--out",
      study,
      "--tau",
      "0.03,0.2",
    );
    expect(ran.code).toBe(0);
    expect(jsonOf<StudyJson>(ran)).toMatchObject({
      images: ALL,
      classes: CLASSES.length,
      layer: "body.conv",
      seconds: expect.any(Number) as number,
      images_per_second: expect.any(Number) as number,
      accumulator_bytes: expect.any(Number) as number,
      file: study,
      complete: true,
    });
  });

  it("inspect lists operators and layers, and says what can be split", async () => {
    const json = jsonOf<{ operators: unknown; unsupported: unknown; layers: unknown[] }>(
      await unbraid("inspect", model, "--json"),
    );
    expect(json.operators).toEqual({ Conv: 3, Flatten: 1, Gemm: 1, GlobalAveragePool: 1, Relu: 2 });
    expect(json.unsupported).toEqual([]);
    expect(json.layers).toMatchObject([
      { name: "stem", kernel: [3, 3], in: 3, out: 8, groups: 1, splittable: true, why: "" },
      {
        name: "body.conv",
        kernel: [1, 1],
        in: 8,
        out: 6,
        groups: 1,
        splittable: true,
        bias: true,
        output_shape: [1, 6, 8, 8],
      },
      {
        name: "deep",
        kernel: [3, 3],
        in: 6,
        out: 6,
        groups: 6,
        splittable: false,
        why: expect.stringContaining("depthwise") as string,
      },
    ]);
    expect((await unbraid("inspect", model)).stdout).toContain("body.conv");
  });

  it("run writes any value by name, as float32 in its shape", async () => {
    const x = Float32Array.from({ length: 2 * 3 * SIDE * SIDE }, (_, k) => Math.sin(k));
    write(at("x.npy"), encodeNpy({ type: "float32", shape: [2, 3, SIDE, SIDE], data: x }));
    const ran = await gpu(
      "run",
      model,
      "--input",
      at("x.npy"),
      "--output",
      at("logits.npy"),
      "--output",
      `z=${at("z.npy")}`,
      "--output",
      `c=${at("c.npy")}`,
    );
    expect(ran.code).toBe(0);
    expect(readNpy(at("logits.npy")).shape).toEqual([2, CLASSES.length]);
    const [z, c] = [readNpy(at("z.npy")), readNpy(at("c.npy"))];
    expect(z.shape).toEqual([2, 6, SIDE, SIDE]);
    expect(z.data.some((v) => v < 0)).toBe(true);
    expect([...c.data]).toEqual(Array.from(z.data, (v) => Math.max(v, 0)));
    const printed = jsonOf<{ outputs: { name: string; min: number; max: number }[] }>(ran).outputs;
    expect(printed.map((o) => o.name)).toEqual(["logits", "z", "c"]);
    expect(printed[1]).toMatchObject({ min: Math.min(...z.data), max: Math.max(...z.data) });
  });

  it("classify gives the softmax of the logits, by falling probability, with labels", async () => {
    const image = join(at("images"), "boat", "3.png");
    const json = jsonOf<{ image: string; top: { class: number; label: string; probability: number }[] }[]>(
      await gpu("classify", model, image, join(at("images"), "cat", "0.png")),
    );
    expect(json.map((row) => row.image)).toEqual([image, join(at("images"), "cat", "0.png")]);
    for (const { top } of json) {
      expect(top.length).toBe(CLASSES.length); // top-5 of four
      expect(top.reduce((sum, t) => sum + t.probability, 0)).toBeCloseTo(1, 12);
      expect(top.every((t, k) => k === 0 || t.probability <= (top[k - 1]?.probability ?? 0))).toBe(true);
      expect(top.every((t) => t.label === CLASSES[t.class])).toBe(true);
    }
    const below = jsonOf<unknown[]>(await gpu("classify", model, at("images"), "--top", "1", "--batch", "5"));
    expect(below.length).toBe(ALL);
    expect((await unbraid("classify", model, image, "--adapter", adapter)).stdout).toMatch(
      /^\S+boat\/3\.png\n +\d+\.\d\d % {2}\w+ \(\d\)\n/,
    );
  });

  it("a batch of another size, shards and their merge give the same study, byte for byte", async () => {
    const args = ["study", model, "--images", at("images"), "--layer", "z", "--tau", "0.2", "--tau", "0.03"];
    expect((await gpu(...args, "--out", at("batch.study"), "--batch", "5")).code).toBe(0);
    expect(readFileSync(at("batch.study")).equals(readFileSync(study))).toBe(true);
    const shards = [1, 2, 3].map((k) => at(`${k}.study`));
    for (const [k, file] of shards.entries())
      expect(jsonOf<StudyJson>(await gpu(...args, "--out", file, "--shard", `${k + 1}/3`))).toMatchObject({
        images: ALL / 3,
        complete: false,
      });
    const merged = jsonOf<StudyJson>(
      await unbraid("merge", ...shards.reverse(), "--out", at("merged.study"), "--json"),
    );
    expect(merged).toMatchObject({ images: ALL, complete: true, layer: "body.conv" });
    expect(readFileSync(at("merged.study")).equals(readFileSync(study))).toBe(true);
  });

  it("find lists pairs with their cosine, and writes them as CSV", async () => {
    const wide = ["--tau", "0.03", "--p", "0.5", "--gamma", "2"];
    const json = jsonOf<{ pairs: Record<string, number>[] }>(await unbraid("find", study, ...wide, "--json"));
    expect(json.pairs.length).toBeGreaterThan(2);
    for (const pair of json.pairs) {
      expect(pair.channel).toBeLessThan(6);
      expect(pair.class1).toBeLessThan(pair.class2 ?? 0);
      expect(pair.cosine_similarity).toBeGreaterThanOrEqual(0);
    }
    const printed = await unbraid("find", study, ...wide, "--csv", "-");
    expect((await unbraid("find", study, ...wide, "--csv", at("pairs.csv"))).code).toBe(0);
    expect(readFileSync(at("pairs.csv"), "utf8")).toBe(printed.stdout);
    const [header = "", first = ""] = printed.stdout.split("\n");
    expect(header.startsWith("channel,class1,class2,cosine_similarity,")).toBe(true);
    const { channel, class1, class2, cosine_similarity } = json.pairs[0] ?? {};
    expect(first.startsWith([channel, class1, class2, cosine_similarity].join(","))).toBe(true);
    expect((await unbraid("find", study, ...wide, "--compat", "official", "--json")).code).toBe(0);
  });

  it("split with a given rho needs no adapter, and writes model, manifest and what stands beside", async () => {
    const ran = await unbraid(
      ...[
        "split",
        model,
        "--study",
        study,
        "--channel",
        "2",
        "--classes",
        "boat,3",
        "--channel",
        "4",
        "--classes",
        "0,cat",
      ],
      ...["--rho", "0.5", "--out", at("split.onnx"), "--adapter", "none such", "--json"],
    );
    expect(ran.code).toBe(0);
    const { layer, parts } = jsonOf<{ layer: string; parts: Part[] }>(ran);
    expect(layer).toBe("body.conv");
    expect(parts).toMatchObject([
      {
        channel: 2,
        concepts: ["boat", "door"],
        rho: 0.5,
        rule: "symmetric",
        sets: expect.stringMatching(/^[012]{8}$/) as string,
      },
      { channel: 4, concepts: ["apple", "cat"], rho: 0.5 },
    ]);
    expect(JSON.parse(readFileSync(at("split.split.json"), "utf8"))).toEqual(JSON.parse(ran.stdout));
    expect(readFileSync(at("split.preprocess.json"))).toEqual(readFileSync(at("net.preprocess.json")));
    expect(existsSync(at("split.labels.json"))).toBe(true);
    const written = decodeModel(readFileSync(at("split.onnx")));
    expect(written.metadata.get("unbraid.splits")).toContain('"channel":4');
    expect(written.outputs[0]?.name).toBe("logits");
  });

  it("verify: the difference stays under its bound, onnxruntime agrees, and a changed model is found out", async () => {
    await unbraid(
      "split",
      model,
      "--study",
      study,
      "--pairs",
      at("pairs.csv"),
      "--rho",
      "0.4",
      "--out",
      at("pairs.onnx"),
    );
    const ran = await gpu("verify", model, at("pairs.onnx"), "--images", at("images"));
    expect([ran.code, ran.stderr]).toEqual([0, expect.any(String)]);
    const json = jsonOf<{ ratio: number; bound: number; max_abs_diff: number; onnxruntime: { flips: number } }>(ran);
    expect(json).toMatchObject({
      images: ALL,
      flips: 0,
      other_channels: 0,
      holds: true,
      accuracy: { before: expect.any(Number) as number, after: expect.any(Number) as number },
      onnxruntime: { max_abs_diff: expect.any(Number) as number, flips: 0 },
    });
    expect(json.ratio).toBeLessThanOrEqual(1);
    expect(json.max_abs_diff).toBeLessThanOrEqual(json.bound);
    // A weight of a part changed by hand: the largest exponent bit of one number.
    const broken = readFileSync(at("pairs.onnx"));
    const weights = decodeModel(broken).initializers.get("body.conv.split.weight")?.raw() ?? new Uint8Array(0);
    const place = broken.indexOf(Buffer.from(weights));
    const nonzero = weights.findIndex((b, k) => k % 4 === 3 && b !== 0 && b !== 0x80);
    broken[place + nonzero] = (broken[place + nonzero] ?? 0) ^ 0x01;
    write(at("broken.onnx"), broken);
    const found = await gpu("verify", model, at("broken.onnx"), "--images", at("images"), "--no-onnxruntime");
    expect(found.code).toBe(9);
    expect(jsonOf<{ holds: boolean; onnxruntime: null }>(found)).toMatchObject({ holds: false, onnxruntime: null });
  });

  it("split chooses rho on images, by its own criterion and by the original's", async () => {
    const args = [
      "split",
      model,
      "--study",
      study,
      "--channel",
      "2",
      "--classes",
      "1,3",
      "--images",
      at("images"),
      "--out",
      at("chosen.onnx"),
    ];
    // The network is random: its channel 2 shows nothing of these classes, and the split is refused.
    const refused = await gpu(...args);
    expect(refused.code).toBe(3);
    expect(jsonOf<ErrorJson>(refused).error).toMatchObject({ code: "SPLIT_NO_SECOND_CONCEPT" });
    expect(existsSync(at("chosen.onnx"))).toBe(false);
    const own = jsonOf<{ parts: Part[] }>(await gpu(...args, "--force")).parts[0];
    expect(own).toMatchObject({ forced: true, guards: { passed: false, images: [1, 1] } });
    expect(own?.choice?.criterion).toBe("held-out log ratio");
    expect(own?.choice?.scores.length).toBe(20);
    const official = jsonOf<{ parts: Part[] }>(await gpu(...args, "--compat", "official")).parts[0];
    expect(official).toMatchObject({ rule: "official", choice: { criterion: "official ratio" } });
  });

  it("--skip-bad goes on without bad images, and says which", async () => {
    await writeImages(at("some-bad"), 3);
    write(join(at("some-bad"), "cat", "1.png"), "not an image");
    write(join(at("some-bad"), "door", "2.png"), readFileSync(join(at("images"), "cat", "0.png")).subarray(0, 60));
    const args = ["study", model, "--images", at("some-bad"), "--layer", "body.conv", "--out", at("bad.study")];
    const ran = await gpu(...args, "--skip-bad");
    expect(ran.code).toBe(0);
    expect(jsonOf<StudyJson & { skipped: { image: string }[] }>(ran)).toMatchObject({
      images: 10,
      complete: true,
      skipped: [{ image: "cat/1.png" }, { image: "door/2.png" }],
    });
    expect(ran.stderr).toContain('"image":"cat/1.png"');
    expect(await gpu(...args)).toMatchObject({ code: 3 });
  });

  it("a model for one size of batch is fed that size", async () => {
    writeClassifier(at("fixed.onnx"), 1, 4);
    write(at("fixed.preprocess.json"), readFileSync(at("net.preprocess.json")));
    const image = join(at("images"), "boat", "3.png");
    const [one, other] = [await gpu("classify", model, image), await gpu("classify", at("fixed.onnx"), image)];
    const probability = (ran: typeof one): number | undefined =>
      jsonOf<{ top: { probability: number }[] }[]>(ran)[0]?.top[0]?.probability;
    expect(probability(other)).toBe(probability(one));
  });

  it("doctor measures every adapter that is there", async () => {
    const ran = await unbraid("doctor", "--json");
    expect(ran.code).toBe(0);
    const { adapters, chosen, advice } = jsonOf<{
      adapters: Record<string, unknown>[];
      chosen: string;
      advice: string;
    }>(ran);
    expect(adapters.map((a) => a.name)).toContain(chosen);
    expect(typeof advice).toBe("string");
    for (const a of adapters) {
      expect(a).toMatchObject({ software: expect.any(Boolean) as boolean, features: expect.any(Array) as string[] });
      expect(a.gflops).toBeGreaterThan(0.1);
      expect(a.gbytes_per_second).toBeGreaterThan(0.01);
      expect(a.limits).toMatchObject({ maxStorageBufferBindingSize: expect.any(Number) as number });
    }
  });
});
