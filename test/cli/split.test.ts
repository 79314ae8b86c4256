/** `split` among many concepts, by every rule, by clusters, twice; and `verify` of what it wrote. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { planSplits } from "../../src/channels/split-run.ts";
import { guardSplits, writeSplit, type SplitManifest } from "../../src/channels/write-split.ts";
import { readModelFile } from "../../src/files.ts";
import { hexDigest } from "../../src/relevance/digest.ts";
import { decodeStudy } from "../../src/relevance/study-file.ts";
import { selectLayer } from "../../src/relevance/study-set.ts";
import { testAdapters } from "../support/gpu.ts";
import { CLASSES, errorOf, jsonOf, temporaryFolder, unbraid, write, writeClassifier, writeImages } from "./support.ts";

interface Verified {
  readonly holds: boolean;
  readonly ratio: number;
  readonly splits: number;
  readonly channels: number;
  readonly layers: readonly string[];
}

describe.skipIf(testAdapters.length === 0)("split", () => {
  const dir = temporaryFolder();
  const at = (name: string): string => join(dir, name);
  const adapter = testAdapters[0] ?? "";
  const gpu = (...argv: string[]): ReturnType<typeof unbraid> => unbraid(...argv, "--adapter", adapter, "--json");
  const model = at("net.onnx");
  const study = at("net.study");
  const images = ["--images", at("images")];

  async function split(out: string, ...argv: string[]): Promise<SplitManifest> {
    const ran = await gpu("split", model, "--study", study, "--out", at(out), ...argv);
    expect([ran.code, ran.stdout.slice(0, 400)]).toEqual([0, expect.any(String)]);
    return jsonOf<SplitManifest>(ran);
  }
  async function verified(before: string, after: string): Promise<Verified> {
    const ran = await gpu("verify", before, at(after), ...images, "--no-onnxruntime");
    expect([ran.code, ran.stdout]).toEqual([0, expect.any(String)]);
    return jsonOf<Verified>(ran);
  }

  beforeAll(async () => {
    writeClassifier(model);
    write(at("net.preprocess.json"), JSON.stringify({ mean: [0.5, 0.4, 0.3], std: [0.25, 0.2, 0.3] }));
    await writeImages(at("images"), 10);
    const ran = await gpu("study", model, ...images, "--layer", "body.conv", "--out", study);
    expect(ran.code).toBe(0);
  });

  it("among three classes, many channels at once: any order gives the same bytes", async () => {
    const one = ["--channel", "4", "--classes", "apple,cat,door"];
    const two = ["--channel", "1", "--classes", "3,0"];
    const manifest = await split("a.onnx", ...one, ...two, "--rho", "0.5");
    await split("b.onnx", ...two, ...one, "--rho", "0.5");
    expect(manifest).toMatchObject({
      version: 2,
      parts: [
        { channel: 1, concepts: ["door", "apple"], rows: [1, 6, 7], guards: null },
        { channel: 4, concepts: ["apple", "cat", "door"], classes: [0, 2, 3], rows: [4, 8, 9, 10], guards: null },
      ],
    });
    expect(manifest.parts[1]?.sets).toMatch(/^[0123a-d]{8}$/);
    expect(readFileSync(at("b.onnx"))).toEqual(readFileSync(at("a.onnx")));
    expect(await verified(model, "a.onnx")).toMatchObject({ holds: true, channels: 2, splits: 1 });
  });

  it("the library writes the same bytes and the same manifest", async () => {
    const manifest = await split("cli.onnx", "--channel", "5", "--classes", "0,1,2,3", "--rho", "0.3");
    const bytes = readFileSync(study);
    const of = selectLayer(decodeStudy(bytes));
    const targets = [{ channel: 5, classes: [0, 1, 2, 3] }];
    const planned = await planSplits({ study: of, targets, rule: "symmetric", rho: 0.3 });
    const written = writeSplit(readModelFile(model), of, guardSplits(of, planned, { force: false, some: false }), {
      source: { file: "net.onnx", sha256: hexDigest(readFileSync(model)) },
      study: { file: "net.study", sha256: hexDigest(bytes) },
      file: "cli.onnx",
    });
    expect(Buffer.from(written.bytes)).toEqual(readFileSync(at("cli.onnx")));
    expect(JSON.parse(JSON.stringify(written.manifest))).toEqual(manifest);
  });

  it("by the sign rule, which knows no rho and needs no images", async () => {
    const manifest = await split("sign.onnx", "--channel", "2", "--classes", "0,1", "--rule", "sign");
    expect(manifest.parts).toMatchObject([{ rule: "sign", rho: null }]);
    expect(await verified(model, "sign.onnx")).toMatchObject({ holds: true });
    const args = ["split", model, "--study", study, "--out", at("x.onnx"), "--channel", "2", "--classes", "0,1"];
    expect(await errorOf(...args, "--rule", "sign", "--rho", "0.5")).toMatchObject({ code: "OPTION_CONFLICT" });
    expect(await errorOf(...args, "--scale", "0.5")).toMatchObject({ code: "OPTION_CONFLICT" });
    expect(await errorOf(...args, "--rule", "best")).toMatchObject({ code: "OPTION_VALUE" });
    expect(await errorOf(...args, "--rule", "additive")).toMatchObject({ code: "RHO_NEEDS_IMAGES" });
    expect(await errorOf(...args, "--rule", "additive", "--compat", "official")).toMatchObject({
      code: "OPTION_CONFLICT",
    });
  });

  it("by the additive rule: parts that no sets give, without a residual", async () => {
    const args = ["--channel", "3", "--classes", "1,2", "--rule", "additive", ...images, "--force"];
    const manifest = await split("additive.onnx", ...args);
    expect(manifest.parts).toMatchObject([
      { rule: "additive", rho: null, scale: 0.75, rows: [3, 6], sets: expect.stringMatching(/^[012]{8}$/) as string },
    ]);
    expect(manifest.parts[0]?.guards?.k.filters.n).toBeGreaterThan(3);
    expect(await verified(model, "additive.onnx")).toMatchObject({ holds: true });
    // Another order of the classes exchanges the parts, and nothing else.
    const other = await split("swapped.onnx", ...args.map((a) => (a === "1,2" ? "2,1" : a)));
    const rows = [at("additive.onnx"), at("swapped.onnx")].map((path) => {
      const weights = readModelFile(path).initializers.get("body.conv.split.weight")?.numbers() ?? [];
      return [Array.from(weights.slice(24, 32)), Array.from(weights.slice(48, 56))];
    });
    expect(rows[1]).toEqual(rows[0]?.toReversed());
    expect(other.parts[0]?.heldOut).toEqual(manifest.parts[0]?.heldOut);
  });

  it("by sets of the tuned rule's parts: weights of whole inputs and a residual, refused where there is no second concept", async () => {
    const args = ["--channel", "3", "--classes", "1,2", "--rule", "tuned_sets", ...images];
    const manifest = await split("sets.onnx", ...args, "--rho", "0.9", "--force");
    const [part] = manifest.parts;
    expect(part).toMatchObject({ rule: "tuned_sets", rho: 0.9, rows: [3, 6, 7] });
    expect(part?.sets).toMatch(/^[012]{8}$/);
    expect(part?.guards?.k.filters.n).toBeGreaterThan(3);
    expect(await verified(model, "sets.onnx")).toMatchObject({ holds: true });
    const weights = readModelFile(at("sets.onnx")).initializers.get("body.conv.split.weight")?.numbers() ?? [];
    const own = readModelFile(model).initializers.get("body.conv.weight")?.numbers() ?? [];
    const row = (of: ArrayLike<number>, r: number): number[] => Array.from(of).slice(8 * r, 8 * r + 8);
    const served = (digits: string): number[] =>
      row(own, 3).map((w, i) => (digits.includes(part?.sets[i] ?? "") ? w : 0));
    expect([3, 6, 7].map((r) => row(weights, r))).toEqual([served("01"), served("02"), served("0")]);
    const chosen = await split("chosen.onnx", ...args, "--rho", "chosen", "--force");
    expect(chosen.parts[0]?.choice?.scores).toHaveLength(20);
    // Between a class that the channel does not answer to and another.
    const forced = await Promise.all(
      ["0,1", "2,3"].map((classes) =>
        split(`${classes}.onnx`, "--channel", "3", "--classes", classes, ...args.slice(4), "--force"),
      ),
    );
    const refusedAt = ["0,1", "2,3"][forced.findIndex((m) => m.parts[0]?.forced === true)] ?? "";
    const refused = await errorOf(
      "split",
      model,
      "--study",
      study,
      "--out",
      at("x.onnx"),
      "--adapter",
      adapter,
      ...["--channel", "3", "--classes", refusedAt],
      ...args.slice(4),
    );
    expect(refused).toMatchObject({ code: "SPLIT_NO_SECOND_CONCEPT" });
    const plain = [...args.slice(0, 6), "--out", at("x.onnx")];
    expect(await errorOf("split", model, "--study", study, ...plain)).toMatchObject({ code: "RHO_NEEDS_IMAGES" });
    expect(await errorOf("split", model, "--study", study, ...plain, "--scale", "1")).toMatchObject({
      code: "OPTION_CONFLICT",
    });
  });

  it("of a split model: verified against the model before it, and against the first", async () => {
    await split("once.onnx", "--channel", "2", "--classes", "0,1", "--rho", "0.6");
    const again = at("again.study");
    const once = at("once.onnx");
    expect((await gpu("study", once, ...images, "--layer", "body.conv", "--out", again)).code).toBe(0);
    // Channel 2 is now the first part, channel 6 the second.
    const args = ["--channel", "6", "--classes", "1,3", "--channel", "0", "--classes", "0,2,3", "--rho", "0.5"];
    const ran = await gpu("split", once, "--study", again, ...args, "--out", at("twice.onnx"));
    expect(ran.code).toBe(0);
    expect(await verified(once, "twice.onnx")).toMatchObject({ holds: true, splits: 1, channels: 2 });
    expect(await verified(model, "twice.onnx")).toMatchObject({ holds: true, splits: 2, channels: 2 });
    const wrong = await errorOf("verify", at("twice.onnx"), at("once.onnx"), ...images);
    expect(wrong).toMatchObject({ code: "SPLIT_MODEL", exit: 3 });
  });

  it("by clusters of images, as by classes", async () => {
    const of = (name: string, from: number) =>
      readdirSync(join(at("images"), name))
        .slice(from)
        .map((file) => `${name}/${file}`);
    const vector = (k: number) => Array.from({ length: 8 }, (_, i) => (i % 2 === k ? 1 : 0.1 * i));
    const clusters = [0, 1].map((k) => ({
      name: `group ${k}`,
      vector: vector(k),
      images: [...of("apple", 4 * k), ...of("boat", 2)].slice(0, 7),
    }));
    const document = {
      layer: "body.conv",
      channels: [
        { channel: 3, clusters },
        { channel: 4, clusters: [] },
      ],
    };
    const path = write(at("clusters.json"), JSON.stringify(document));
    const manifest = await split("clusters.onnx", "--clusters", path, ...images, "--force");
    expect(manifest.parts).toMatchObject([
      { channel: 3, concepts: ["group 0", "group 1"], classes: [], guards: { images: [2, 2] } },
    ]);
    expect(await verified(model, "clusters.onnx")).toMatchObject({ holds: true });
    for (const rule of ["additive", "tuned", "tuned_sets"]) {
      const by = await split(`${rule}.onnx`, "--clusters", path, ...images, "--rule", rule, "--force");
      expect(by.parts).toMatchObject([
        { channel: 3, concepts: ["group 0", "group 1"], classes: [], rule, guards: { images: [2, 2] } },
      ]);
      expect(await verified(model, `${rule}.onnx`)).toMatchObject({ holds: true });
    }
    const fixed = await split("fixed.onnx", "--clusters", path, "--rho", "0.9");
    expect(fixed.parts[0]?.sets).toBe("12121212");
    const refused = async (content: unknown): Promise<string> => {
      write(path, JSON.stringify(content));
      return (await errorOf("split", model, "--study", study, "--out", at("x.onnx"), "--clusters", path)).code;
    };
    expect(await refused({})).toBe("CLUSTERS_INVALID");
    expect(await refused({ ...document, layer: "stem" })).toBe("CLUSTERS_INVALID");
    expect(await refused({ channels: [{ channel: 4, clusters: [] }] })).toBe("CLUSTERS_INVALID");
    expect(await refused({ channels: [{ channel: 3, clusters: clusters.map((c) => ({ ...c, vector: [1] })) }] })).toBe(
      "CLUSTERS_INVALID",
    );
  });

  it("lists of pairs: up to N classes a channel, and what shows no second concept is left out", async () => {
    const rows = ["0,0,1,0.4", "0,0,2,0.3", "0,1,2,0.2", "0,2,3,0.1", "4,1,3,0.3"];
    const pairs = write(at("pairs.csv"), ["channel,class1,class2,cosine_similarity", ...rows, ""].join("\n"));
    const two = await split("two.onnx", "--pairs", pairs, "--rho", "0.5");
    expect(two.parts.map((p) => p.classes)).toEqual([
      [2, 3],
      [1, 3],
    ]);
    // No class is listed with both 2 and 3.
    const three = await split("three.onnx", "--pairs", pairs, "--rho", "0.5", "--concepts", "3");
    expect(three.parts.map((p) => p.classes)).toEqual([
      [2, 3],
      [1, 3],
    ]);
    write(pairs, ["channel,class1,class2,cosine_similarity", ...rows.filter((r) => !r.startsWith("0,2,3"))].join("\n"));
    const more = await split("more.onnx", "--pairs", pairs, "--rho", "0.5", "--concepts", "3");
    expect(more.parts.map((p) => p.classes)).toEqual([
      [1, 2, 0],
      [1, 3],
    ]);
    const list = ["0", "1", "2", "3", "4", "5"].map((c) => `${c},0,2,0.4`);
    write(pairs, ["channel,class1,class2,cosine_similarity", ...list, ""].join("\n"));
    const all = await split("all.onnx", "--pairs", pairs, ...images, "--rho", "0.5", "--force");
    const passed = all.parts.filter((p) => p.guards?.passed === true).map((p) => p.channel);
    expect(all.parts.map((p) => p.forced ?? false)).toEqual(all.parts.map((p) => p.guards?.passed === false));
    expect(passed.length).toBeGreaterThan(0);
    expect(passed.length).toBeLessThan(6);
    const some = await split("some.onnx", "--pairs", pairs, ...images, "--rho", "0.5");
    expect(some.parts.map((p) => p.channel)).toEqual(passed);
    expect((some.refused ?? []).map((p) => p.channel)).toEqual([0, 1, 2, 3, 4, 5].filter((c) => !passed.includes(c)));
  });

  it(`takes two to five different classes of the ${CLASSES.length}`, async () => {
    const args = ["split", model, "--study", study, "--out", at("x.onnx"), "--rho", "0.5", "--channel", "2"];
    for (const classes of ["0", "0,0", "0,1,0", "apple,0"])
      expect(await errorOf(...args, "--classes", classes)).toMatchObject({ code: "SPLIT_CONCEPTS", exit: 2 });
  });
});
