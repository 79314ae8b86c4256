/** `unbraid evaluate`, from a study and a split to figures, and what it refuses. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { ChannelEvaluation } from "../../src/channels/evaluate/evaluation.ts";
import type { Similarity } from "../../src/channels/evaluate/similarity.ts";
import { SPLITS_KEY } from "../../src/channels/split-record.ts";
import { readModelFile } from "../../src/files.ts";
import { editModel } from "../../src/onnx/edit.ts";
import { testAdapters } from "../support/gpu.ts";
import { CLASSES, errorOf, jsonOf, temporaryFolder, unbraid, write, writeClassifier, writeImages } from "./support.ts";

const dir = temporaryFolder();
const at = (...names: string[]): string => join(dir, ...names);
const [model, study, split, images] = [at("net.onnx"), at("layer.study"), at("split.onnx"), at("images")];

interface Document {
  readonly layer: string;
  readonly images: { readonly concepts: number; readonly sample: number };
  readonly channels: readonly ChannelEvaluation[];
  readonly similarity: Similarity | null;
}

const run = (...options: string[]): string[] => ["evaluate", split, "--images", images, "--draws", "20", ...options];

describe.skipIf(testAdapters.length === 0)("evaluate", () => {
  const adapter = ["--adapter", testAdapters[0] ?? ""];

  beforeAll(async () => {
    writeClassifier(model);
    await writeImages(images, 10);
    const made = await unbraid("study", model, "--images", images, "--layer", "body.conv", "--out", study, ...adapter);
    expect(made.stderr).not.toContain("error");
    const rewired = await unbraid(
      ...["split", model, "--study", study, "--channel", "1", "--classes", "apple,boat"],
      ...["--rule", "symmetric", "--rho", "0.6", "--force", "--out", split, ...adapter],
    );
    expect(rewired.stderr).not.toContain("error");
    write(at("tree.csv"), "child,parent\napple,thing\nboat,thing\ncat,animal\ndoor,thing\nanimal,thing\n");
  }, 60_000);

  test("gives every figure with its interval and n, and writes the same document to --out", async () => {
    const options = ["--study", study, "--hierarchy", at("tree.csv"), "--p", "0.1", "--out", at("e.json"), "--json"];
    const ran = await unbraid(...run(...options), ...adapter);
    expect(ran.code).toBe(0);
    const document = jsonOf<Document>(ran);
    expect(JSON.parse(readFileSync(at("e.json"), "utf8"))).toEqual(document);
    expect(document).toMatchObject({ layer: "body.conv", images: { concepts: 20, sample: 40 } });
    const [channel] = document.channels;
    expect(channel).toMatchObject({
      channel: 1,
      concepts: ["apple", "boat"],
      classes: [0, 1],
      rule: "symmetric",
      rho: 0.6,
    });
    expect(channel?.random_filters).toEqual({ rule: "symmetric", rho: 0.6, arvs: "study" });
    expect(channel?.reproducibility).toMatchObject({ from: "study", concepts: [{ jaccard: { n: 15 } }, {}] });
    expect(channel?.ablation?.draws).toBe(3);
    expect(channel?.densities.map((d) => d.of)).toEqual([...PARTS, ...PARTS]);
    expect(document.similarity?.missing).toEqual([]);
    const figures = findFigures(document);
    expect(figures.length).toBeGreaterThan(50);
    for (const figure of figures) expect(Object.keys(figure).sort()).toEqual(["high", "low", "n", "value"]);
  });

  test("the same seed gives the same document, another seed other draws", async () => {
    const document = async (...options: string[]): Promise<unknown> => {
      const found = jsonOf<Document & { seconds?: number; settings?: unknown }>(
        await unbraid(...run("--json", "--no-ablation", ...options), ...adapter),
      );
      return { ...found, seconds: 0, settings: 0 };
    };
    const first = await document();
    expect(await document()).toEqual(first);
    expect(await document("--seed", "2")).not.toEqual(first);
    expect(first).toMatchObject({
      channels: [{ ablation: null, random_filters: { arvs: "images" } }],
      similarity: null,
    });
  });

  test("prints tables, and what stands above its null", async () => {
    const { code, stdout } = await unbraid(...run("--compat", "official"), ...adapter);
    expect(code).toBe(0);
    for (const text of [
      "channel 1: apple | boat",
      "less random partition",
      "Telling its images from",
      "mean of ratios",
    ])
      expect(stdout).toContain(text);
  });

  test("refuses what cannot be evaluated", async () => {
    expect(await errorOf("evaluate", model, "--images", images)).toMatchObject({ code: "SPLIT_RECORD", exit: 3 });
    expect(await errorOf(...run("--channel", "2"))).toMatchObject({ code: "CHANNEL_NONE", exit: 2 });
    expect(await errorOf(...run("--hierarchy", at("tree.csv")))).toMatchObject({ code: "OPTION_MISSING" });
    expect(await errorOf(...run("--split", "2"))).toMatchObject({ code: "OPTION_VALUE" });
    expect(await errorOf(...run("--ablations", "2", "--no-ablation"))).toMatchObject({ code: "OPTION_CONFLICT" });
    expect(await errorOf(...run("--out", at("nowhere", "e.json")))).toMatchObject({ code: "OUTPUT_UNWRITABLE" });
  });

  test("refuses images without a concept's class", async () => {
    await writeImages(at("few"), 2, ["apple", "cat"]);
    const list = write(at("classes.txt"), `${CLASSES.join("\n")}\n`);
    const options = ["evaluate", split, "--images", at("few"), "--classes", list];
    expect(await errorOf(...options)).toMatchObject({
      code: "IMAGES_CLASSES_OTHER",
      message: expect.stringContaining('"boat" (class 1)') as string,
    });
  });

  test("refuses a hierarchy without some classes, unless that is wanted", async () => {
    write(at("small.json"), JSON.stringify({ parents: { apple: "thing", boat: "thing" } }));
    const options = run("--study", study, "--hierarchy", at("small.json"), "--p", "0", "--no-ablation");
    expect(await errorOf(...options)).toMatchObject({
      code: "HIERARCHY_CLASSES",
      message: expect.stringContaining("cat, door") as string,
    });
    const ran = await unbraid(...options, "--partial-hierarchy", "--json", ...adapter);
    expect(ran.code).toBe(0);
    expect(jsonOf<Document>(ran).similarity?.missing).toEqual(["cat", "door"]);
    for (const [name, text] of [
      ["no.json", "{"],
      ["circle.csv", "a,b\nb,a\n"],
      ["three.csv", "a,b,c\n"],
    ] as const) {
      write(at(name), text);
      expect(await errorOf(...run("--study", study, "--hierarchy", at(name)))).toMatchObject({
        code: "HIERARCHY_INVALID",
      });
    }
  });

  test("takes the images of clusters from the file that the split was made by", async () => {
    const paths = (t: number): string[] =>
      Array.from({ length: 8 }, (_, k) => `${CLASSES[k < 4 ? t : 3] ?? ""}/${k}.png`);
    const vector = (sign: number): number[] => Array.from({ length: 8 }, (_, i) => (i % 2 === 0 ? sign : -sign));
    const clusters = [
      { name: "cluster 1", vector: vector(1), images: paths(0) },
      { name: "cluster 2", vector: vector(-1), images: paths(2) },
    ];
    const file = write(at("clusters.json"), JSON.stringify({ channels: [{ channel: 4, clusters }] }));
    const made = await unbraid(
      ...["split", model, "--study", study, "--clusters", file, "--rule", "symmetric", "--rho", "0.5"],
      ...["--force", "--out", at("clusters.onnx")],
    );
    expect(made.code).toBe(0);
    const options = ["evaluate", at("clusters.onnx"), "--images", images, "--draws", "5"];
    expect(await errorOf(...options)).toMatchObject({
      code: "EVALUATE_CONCEPTS",
      message: expect.stringContaining("4") as string,
    });
    expect(await errorOf(...options, "--clusters", file)).toMatchObject({ code: "OPTION_MISSING" });
    const ran = await unbraid(...options, "--clusters", file, "--study", study, "--json", ...adapter);
    const document = jsonOf<Document>(ran);
    // Both clusters hold four images of the last class, which count once.
    expect(document.images.concepts).toBe(12);
    expect(document.channels).toMatchObject([
      {
        ...{ channel: 4, concepts: ["cluster 1", "cluster 2"], classes: [] },
        fractions: [{ images: 8 }, { images: 8 }],
        random_filters: { arvs: "images" },
        reproducibility: { from: "images" },
      },
    ]);
  });

  test("refuses a study of another model", async () => {
    const other = writeClassifier(at("other.onnx"), 50);
    await unbraid("study", other, "--images", images, "--layer", "body.conv", "--out", at("other.study"), ...adapter);
    expect(await errorOf(...run("--study", at("other.study")))).toMatchObject({ code: "STUDY_MODEL" });
  });

  test("refuses a record that the model contradicts", async () => {
    const original = readModelFile(split);
    const records = JSON.parse(original.metadata.get(SPLITS_KEY) ?? "") as {
      grown: string;
      parts: { rows: number[] }[];
    }[];
    const lying = (change: (record: (typeof records)[number]) => void): string => {
      const changed = structuredClone(records);
      changed.forEach(change);
      return write(at("lying.onnx"), editModel(original, { metadata: { [SPLITS_KEY]: JSON.stringify(changed) } }));
    };
    for (const change of [
      (record: { grown: string }) => void (record.grown = "logits"),
      (record: { parts: { rows: number[] }[] }) => {
        record.parts.forEach((part) => void (part.rows = [900, 901, 902]));
      },
    ])
      expect(await errorOf("evaluate", lying(change), "--images", images)).toMatchObject({
        code: "SPLIT_ROWS",
        exit: 4,
      });
  });

  test("of several splits takes the last, or the one that --split names", async () => {
    const twice = at("twice.onnx");
    await unbraid("study", split, "--images", images, "--layer", "body.conv", "--out", at("second.study"), ...adapter);
    const ran = await unbraid(
      ...["split", split, "--study", at("second.study"), "--channel", "3", "--classes", "cat,door"],
      ...["--rule", "symmetric", "--rho", "0.5", "--force", "--out", twice, ...adapter],
    );
    expect(ran.code).toBe(0);
    const of = async (...options: string[]) => {
      const found = await unbraid(
        "evaluate",
        twice,
        "--images",
        images,
        "--no-ablation",
        "--draws",
        "5",
        "--json",
        ...options,
        ...adapter,
      );
      return { channels: jsonOf<Document>(found).channels.map((c) => c.channel), stderr: found.stderr };
    };
    const last = await of();
    expect(last.channels).toEqual([3]);
    expect(last.stderr).toContain("2 splits");
    expect((await of("--split", "1")).channels).toEqual([1]);
  });
});

const PARTS = ["original", "part 1", "part 2", "residual"];

/** Every object that has a value and a low. */
function findFigures(value: unknown): object[] {
  if (typeof value !== "object" || value === null) return [];
  return ["value" in value && "low" in value ? [value] : [], ...Object.values(value).map(findFigures)].flat();
}
