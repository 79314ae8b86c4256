/** `find` end to end on a small network: calibrated pairs, several layers, studies without a null, clusters. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { testAdapters } from "../support/gpu.ts";
import { CLASSES, errorOf, jsonOf, temporaryFolder, unbraid, writeClassifier, writeImages } from "./support.ts";

const PER_CLASS = 15;

interface Interval {
  readonly value: number | null;
  readonly low: number | null;
  readonly high: number | null;
  readonly n: number;
}
interface PairJson {
  readonly layer: string;
  readonly channel: number;
  readonly cosine_similarity: number;
  readonly random_place: number;
  readonly significant: boolean | null;
  readonly near_threshold: boolean | null;
  readonly significance: { readonly cosine: Interval; readonly p_value: number; readonly q_value: number } | null;
}
interface FindJson {
  readonly layer: string | null;
  readonly gamma: number | null;
  readonly fdr: number;
  readonly candidates: number;
  readonly pairs: readonly PairJson[];
  readonly layers: readonly {
    readonly layer: string;
    readonly channels: number;
    readonly relevant: number;
    readonly candidates: number;
    readonly pairs: number;
    readonly polysemantic: number;
    readonly share: Interval;
    readonly rule: string;
    readonly threshold: number;
    readonly null: { readonly random_pairs: { readonly below_threshold: number }; readonly same_class: unknown };
  }[];
}
interface ClustersJson {
  readonly layer: string;
  readonly study: { readonly sha256: string };
  readonly channels: readonly {
    readonly channel: number;
    readonly images: number;
    readonly concepts: number;
    readonly clusters: readonly {
      readonly size: number;
      readonly vector: readonly number[];
      readonly images: readonly string[];
      readonly classes: readonly { readonly name: string; readonly images: number }[];
    }[];
  }[];
}

describe.skipIf(testAdapters.length === 0)("find", () => {
  const dir = temporaryFolder();
  const at = (name: string): string => join(dir, name);
  const model = at("net.onnx");
  const adapter = ["--adapter", testAdapters[0] ?? ""];
  const plain = ["--mean", "0.5,0.5,0.5", "--std", "0.3,0.3,0.3"];
  const wide = ["--p", "0.3", "--tau", "0.03"];
  const makeStudy = async (out: string, ...more: string[]): Promise<void> => {
    const ran = await unbraid(
      ...["study", model, "--images", at("images"), "--out", at(out), "--quiet"],
      ...[...plain, ...adapter, ...more],
    );
    expect(ran.code, ran.stderr).toBe(0);
  };

  beforeAll(async () => {
    writeClassifier(model);
    await writeImages(at("images"), PER_CLASS);
    await makeStudy("all.study", "--layer", "all");
    await makeStudy("one.study", "--layer", "body.conv", "--folds", "1");
  }, 60_000);

  it("says of each layer how polysemantic it is, and of each pair how sure it is", async () => {
    const json = jsonOf<FindJson>(await unbraid("find", at("all.study"), ...wide, "--json"));
    expect(json).toMatchObject({ layer: null, gamma: null, fdr: 0.05 });
    expect(json.layers.map((l) => [l.layer, l.channels])).toEqual([
      ["stem", 8],
      ["body.conv", 6],
    ]);
    for (const layer of json.layers) {
      const own = json.pairs.filter((q) => q.layer === layer.layer);
      expect(own.length).toBe(layer.pairs);
      expect(new Set(own.map((q) => q.channel)).size).toBe(layer.polysemantic);
      expect(layer.share.n).toBe(layer.relevant);
      expect(layer.rule).toBe("calibrated");
      expect(layer.null.random_pairs.below_threshold).toBeCloseTo(0.5, 1);
    }
    expect(json.candidates).toBe(json.layers.reduce((n, l) => n + l.candidates, 0));
    expect(json.pairs.every((q) => q.significant === true && (q.significance?.q_value ?? 1) <= 0.05)).toBe(true);

    const all = jsonOf<FindJson>(await unbraid("find", at("all.study"), ...wide, "--all", "--json"));
    expect(all.pairs.length).toBe(all.candidates);
    expect(all.pairs.length).toBeGreaterThan(3);
    for (const { significance, random_place, cosine_similarity } of all.pairs) {
      const { cosine, p_value, q_value } = significance ?? {};
      expect(cosine?.low).toBeLessThanOrEqual(cosine?.high ?? NaN);
      expect(cosine?.n).toBe(10);
      expect(q_value).toBeGreaterThanOrEqual(0);
      expect(p_value).toBeLessThanOrEqual(1);
      expect(random_place >= 0 && random_place <= 1 && cosine_similarity <= 1).toBe(true);
    }
    const table = (await unbraid("find", at("all.study"), ...wide)).stdout.split("\n");
    expect(table.slice(0, 3).map((line) => line.split(" ")[0])).toEqual(["layer", "stem", "body.conv"]);
  });

  it("--layer restricts, --gamma decides alone, CSV names layers where there are several", async () => {
    const gamma = ["--gamma", "1.5"];
    const one = jsonOf<FindJson>(
      await unbraid("find", at("all.study"), ...wide, ...gamma, "--layer", "body.conv", "--json"),
    );
    expect(one).toMatchObject({ layer: "body.conv", gamma: 1.5 });
    expect(one.layers).toHaveLength(1);
    expect(one.pairs.length).toBeGreaterThan(0);
    expect(one.pairs.every((q) => typeof q.significant === "boolean" && q.cosine_similarity >= 0)).toBe(true);
    const csv = (await unbraid("find", at("all.study"), ...wide, ...gamma, "--csv", "-")).stdout.trimEnd().split("\n");
    const columns = csv[0]?.split(",") ?? [];
    expect(columns.slice(0, 4)).toEqual(["channel", "class1", "class2", "cosine_similarity"]);
    expect(columns.at(-1)).toBe("layer");
    expect(csv.slice(1).every((line) => line.split(",").length === columns.length)).toBe(true);
    expect(new Set(csv.slice(1).map((line) => line.split(",").at(-1)))).toEqual(new Set(["stem", "body.conv"]));
    const single = await unbraid("find", at("all.study"), ...wide, ...gamma, "--layer", "body.conv", "--csv", "-");
    expect(single.stdout.split("\n")[0]?.endsWith(",near_threshold")).toBe(true);
    const text = (await unbraid("find", at("all.study"), ...wide, ...gamma, "--layer", "body.conv")).stdout;
    expect(text).toMatch(/pairs in \d+ channels of body\.conv, of \d+ pairs .*: cosine from 0 to below 1\.5/);
    expect((await errorOf("find", at("all.study"), "--layer", "none")).code).toBe("STUDY_LAYER");
    expect((await errorOf("find", at("all.study"), "--fdr", "2")).code).toBe("OPTION_RANGE");
  });

  it("a study of one fold has no null, and says so", async () => {
    const ran = await unbraid("find", at("one.study"), ...wide, "--gamma", "1.5", "--json");
    const json = jsonOf<FindJson>(ran);
    expect(json.pairs.length).toBeGreaterThan(0);
    expect(json.pairs.every((q) => q.significance === null && q.significant === null)).toBe(true);
    expect(json.layers[0]?.null.same_class).toBeNull();
    expect(ran.stderr).toMatch(/the study has 1 fold, and a null of its noise takes 4/);
    expect(jsonOf<FindJson>(await unbraid("find", at("one.study"), ...wide, "--json"))).toMatchObject({ gamma: 0.5 });
  });

  const cluster = ["--concepts", "cluster", "--layer", "body.conv"];

  it("clusters of a channel's most relevant images, in a file for split", async () => {
    const args = ["--model", model, "--images", at("images"), ...plain, ...adapter];
    const ran = await unbraid(
      ...["find", at("all.study"), ...cluster, ...args, "--channel", "0,2", "--channel", "4"],
      ...["--top", "25", "--clusters", "3", "--out", at("clusters.json"), "--json"],
    );
    expect(ran.code, ran.stderr).toBe(0);
    const json = jsonOf<ClustersJson>(ran);
    expect(JSON.parse(readFileSync(at("clusters.json"), "utf8"))).toEqual(json);
    expect(json.layer).toBe("body.conv");
    expect(json.study.sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(json.channels.map((c) => c.channel)).toEqual([0, 2, 4]);
    expect(json.channels.some((c) => c.images > 0)).toBe(true);
    for (const { images, concepts, clusters } of json.channels) {
      expect(images).toBeLessThanOrEqual(25);
      expect(clusters.length).toBe(concepts);
      expect(clusters.reduce((n, c) => n + c.size, 0)).toBe(images);
      for (const c of clusters) {
        expect(c.vector).toHaveLength(8);
        expect(c.images).toHaveLength(c.size);
        expect(c.classes.reduce((n, t) => n + t.images, 0)).toBe(c.size);
        expect(c.images.every((path) => CLASSES.some((name) => path.startsWith(`${name}/`)))).toBe(true);
      }
      expect(new Set(clusters.flatMap((c) => c.images)).size).toBe(images);
    }
    const text = await unbraid("find", at("all.study"), ...cluster, ...args, ...wide, "--top", "10");
    expect(text.stdout).toMatch(/^channel +images +concepts/);
    expect(text.stdout).toMatch(/\d+ of \d+ channels of body\.conv have more than one concept/);
  });

  it("refuses options of the other kind, and what is missing, before it opens a device", async () => {
    const codes = async (...more: string[]): Promise<string> =>
      (await errorOf("find", at("all.study"), ...more, "--adapter", "none such")).code;
    expect(await codes("--concepts", "groups")).toBe("OPTION_VALUE");
    expect(await codes("--channel", "1")).toBe("OPTION_CONFLICT");
    expect(await codes(...cluster, "--gamma", "0.5")).toBe("OPTION_CONFLICT");
    expect(await codes(...cluster)).toBe("OPTION_MISSING");
    expect(await codes(...cluster, "--model", model)).toBe("OPTION_MISSING");
    expect(await codes(...cluster, "--model", model, "--images", at("images"), "--channel", "6")).toBe("CHANNEL_RANGE");
    expect(await codes("--concepts", "cluster", "--model", model, "--images", at("images"))).toBe("STUDY_LAYER");
    writeClassifier(at("other.onnx"), 9);
    expect(await codes(...cluster, "--model", at("other.onnx"), "--images", at("images"))).toBe("STUDY_MODEL");
    await writeImages(at("strange"), 1, ["elk", "fox"]);
    expect(await codes(...cluster, "--model", model, "--images", at("strange"), "--channel", "1")).toBe(
      "IMAGES_CLASSES_OTHER",
    );
  });
});
