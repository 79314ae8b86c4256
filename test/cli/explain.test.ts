/** `unbraid explain` on a small network and on its split, end to end on an adapter. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { readNpy } from "../../src/cli/npy.ts";
import { SPLITS_KEY } from "../../src/cli/split-record.ts";
import { readModelFile } from "../../src/files.ts";
import { nodeNames } from "../../src/graph/build.ts";
import { splitLayer } from "../../src/graph/surgery.ts";
import { decodeImage } from "../../src/images/decode.ts";
import { modelBytes, valueInfo } from "../onnx/make.ts";
import { U } from "../support/numbers.ts";
import { testAdapters } from "../support/gpu.ts";
import { CLASSES, classifierParts, errorOf, jsonOf, SIDE, temporaryFolder, unbraid, write, writeClassifier, writeImages } from "./support.ts"; // prettier-ignore

interface Json {
  readonly layer: string;
  readonly class: number;
  readonly label: string;
  readonly scale: number;
  readonly shape: readonly number[];
  readonly maps: readonly {
    readonly part: string;
    readonly concept: string | null;
    readonly factor: number;
    readonly response: number;
    readonly sum: number;
    readonly largest: number;
    readonly completeness: { readonly response: number; readonly baseline: number; readonly sum: number; readonly gap: number; readonly estimate: number } | null; // prettier-ignore
    readonly top_inputs: readonly { readonly channel: number; readonly relevance: number }[];
  }[];
  readonly identity: { readonly max_abs: number; readonly largest: number } | null;
}

const CHANNEL = 2;
/** Of body.conv's eight inputs: three for concept 1, two for 2, three for both. */
const SETS = [1, 1, 2, 3, 3, 1, 2, 3];

/** The classifier with channel 2 of body.conv split, saying so in its metadata as `unbraid split` does. */
function writeSplit(model: string, path: string, rows?: readonly number[]): void {
  const opened = readModelFile(model);
  const nodeIndex = nodeNames(opened).indexOf("/body/body.conv/Conv");
  const channels = [{ channel: CHANNEL, concepts: 2, sets: Uint32Array.from(SETS) }];
  const dry = splitLayer(opened, { nodeIndex, channels });
  const digest = { file: "net.onnx", sha256: "00".repeat(32) };
  const part = {
    ...{ channel: CHANNEL, concepts: ["apple", "boat"], classes: [0, 1], rho: 0.5, rule: "symmetric" },
    sets: SETS.map((s) => s % 3).join(""),
    rows: rows ?? dry.parts.map((p) => p.row),
  };
  const { grown, output } = dry;
  const record = { version: 1, layer: "body.conv", node: "/body/body.conv/Conv", grown, output, source: digest, study: digest, parts: [part] }; // prettier-ignore
  write(path, splitLayer(opened, { nodeIndex, channels, metadata: { [SPLITS_KEY]: JSON.stringify([record]) } }).bytes);
}

describe.skipIf(testAdapters.length === 0)("explain", () => {
  const dir = temporaryFolder();
  const at = (name: string): string => join(dir, name);
  const adapter = ["--adapter", testAdapters[0] ?? ""];
  const [model, split, image] = [at("net.onnx"), at("split.onnx"), at("images/boat/0.png")];
  const ask = async (...argv: string[]): Promise<Json> => {
    const ran = await unbraid("explain", ...argv, ...adapter, "--json");
    expect(ran.code, ran.stdout + ran.stderr).toBe(0);
    return jsonOf<Json>(ran);
  };
  const body = ["--layer", "body.conv"];
  const fail = (...argv: string[]) => errorOf("explain", ...argv, ...adapter);

  beforeAll(async () => {
    writeClassifier(model);
    writeSplit(model, split);
    for (const name of ["net", "split"]) {
      write(at(`${name}.preprocess.json`), JSON.stringify({ mean: [0.5, 0.4, 0.3], std: [0.25, 0.2, 0.3] }));
      write(at(`${name}-labels.json`), JSON.stringify(CLASSES));
    }
    await writeImages(at("images"), 1);
  });

  it.each(["gradient", "gradient-x-input", "integrated"])("parts add up to the whole: %s", async (method) => {
    for (const of of ["channel", "logit"]) {
      const npy = at("all.npy");
      const got = await ask(split, image, ...body, "--channel", `${CHANNEL}:all`, "--method", method, "--of", of, "--npy", npy); // prettier-ignore
      expect(got.maps.map((m) => [m.part, m.concept, m.factor])).toEqual([
        ["whole", null, 1],
        ["1", "apple", 1],
        ["2", "boat", 1],
        ["residual", null, -1],
      ]);
      const { shape, data } = readNpy(npy);
      expect(shape).toEqual([4, SIDE, SIDE]);
      const size = SIDE * SIDE;
      const gaps = Array.from({ length: size }, (_, i) => {
        const [whole = NaN, one = NaN, two = NaN, rest = NaN] = [0, 1, 2, 3].map((k) => data[k * size + i]);
        return Math.abs(one + two - rest - whole);
      });
      expect(got.identity?.max_abs).toBe(Math.max(...gaps));
      // Sums of 8 and of 8 * 9 products in each of four maps of at most this size, and of three colours.
      const bound = 4 * (8 + 72 + 3) * U * (got.identity?.largest ?? NaN);
      expect(Math.max(...gaps)).toBeLessThan(bound);
      expect(got.identity?.largest).toBeGreaterThan(0);
      const [whole = NaN, one = NaN, two = NaN, rest = NaN] = got.maps.map((m) => m.response);
      expect(Math.abs(one + two - rest - whole)).toBeLessThan(1e-4 * Math.abs(one));
    }
  });

  it("a part lives on its own inputs; whole and split model agree; the figure is a picture", async () => {
    const [png, csv] = [at("heat.png"), at("heat.csv")];
    const one = await ask(split, image, ...body, "--channel", `${CHANNEL}:1`, "--out", png, "--csv", csv);
    expect(one.maps).toHaveLength(1);
    for (const { channel } of one.maps[0]?.top_inputs ?? []) expect(SETS[channel]).not.toBe(2);
    const whole = await ask(split, image, "--layer", "body.conv", "--channel", String(CHANNEL));
    const plain = await ask(model, image, "--layer", "body.conv", "--channel", String(CHANNEL));
    expect(whole.maps[0]?.response).toBeCloseTo(plain.maps[0]?.response ?? NaN, 4);
    expect(whole.maps[0]?.sum).toBeCloseTo(plain.maps[0]?.sum ?? NaN, 4);
    const picture = await decodeImage(readFileSync(png), png);
    // Two panels of at least 224 pixels, and pixels of colour in the second.
    expect(picture.width).toBeGreaterThan(2 * 224);
    const lines = readFileSync(csv, "utf8").trim().split("\n");
    expect(lines[0]).toBe("part,y,x,value");
    expect(lines).toHaveLength(1 + SIDE * SIDE);
    const sum = lines.slice(1).reduce((s, line) => s + Number(line.split(",")[3]), 0);
    expect(sum).toBeCloseTo(one.maps[0]?.sum ?? NaN, 9);
    const coloured = Array.from({ length: picture.width * picture.height }, (_, i) => picture.data.subarray(3 * i, 3 * i + 3)).filter(([r = 0, , b = 0]) => Math.abs(r - b) > 60).length; // prettier-ignore
    expect(coloured).toBeGreaterThan(500);
  });

  it("says class, label and completeness; explains a logit without a layer", async () => {
    const got = await ask(model, image, "--of", "logit", "--class", "boat", "--method", "integrated", "--steps", "40", "--baseline", "black"); // prettier-ignore
    expect(got).toMatchObject({ class: 1, label: "boat", layer: null, shape: [SIDE, SIDE] });
    const c = got.maps[0]?.completeness;
    expect(Math.abs(c?.gap ?? NaN)).toBeLessThan((c?.estimate ?? NaN) + 1e-5);
    expect(got.maps[0]?.sum).toBeCloseTo(c?.sum ?? NaN, 4);
    const best = await ask(model, image, ...body, "--channel", "0", "--of", "logit", "--at", "output");
    expect(CLASSES).toContain(best.label);
    // At the output the map is z g: it sums to the relevance.
    expect(best.maps[0]?.sum).toBeCloseTo(best.maps[0]?.response ?? NaN, 5);
    const inner = await ask(model, image, ...body, "--channel", "0", "--at", "input");
    expect(inner.shape).toEqual([SIDE, SIDE]);
  });

  it("prints a table, and its example in the help", async () => {
    const ran = await unbraid("explain", split, image, ...body, "--channel", `${CHANNEL}:all`, ...adapter);
    expect(ran.stdout).toMatch(/^channel 2 of body\.conv\npart +concept +response +sum of the map +strongest inputs\n/);
    expect(ran.stdout).toMatch(/parts against the whole: largest difference /);
    expect(ran.stderr).toMatch(/no map is written/);
    expect((await unbraid("explain", "--help")).stdout).toMatch(/Example\n {2}unbraid explain /);
  });

  it("refuses what makes no sense, with numbers and a remedy", async () => {
    const c = (channel: string, file = split) => fail(file, image, ...body, "--channel", channel);
    expect(await c("99")).toMatchObject({
      code: "CHANNEL_RANGE",
      message: 'layer "body.conv" has no channel 99: they go from 0 to 5',
    });
    expect(await c("2:3")).toMatchObject({
      code: "PART_UNKNOWN",
      message: 'channel 2 of "body.conv" has no part "3", but 1, 2, residual',
    });
    expect(await c("1:1")).toMatchObject({
      code: "PART_UNKNOWN",
      message: 'channel 1 of "body.conv" is not split: it has no part "1"',
      remedy: "Leave :1 away, or take a channel that is split here: 2.",
    });
    expect(await c("2:all", model)).toMatchObject({ code: "PART_UNKNOWN", remedy: expect.stringMatching(/unbraid split/) as string }); // prettier-ignore
    expect(await c("two")).toMatchObject({ code: "OPTION_VALUE", exit: 2 });
    expect(await fail(model, image, "--layer", "body.con", "--channel", "0")).toMatchObject({ code: "LAYER_UNKNOWN" });
    expect(await fail(model, image, ...body)).toMatchObject({ code: "OPTION_MISSING" });
    expect(await fail(model, image)).toMatchObject({ code: "OPTION_MISSING" });
    const zero = [...body, "--channel", "0"];
    for (const [options, code] of [
      [["--class", "1"], "OPTION_CONFLICT"],
      [["--of", "logit", "--class", "4"], "CLASS_UNKNOWN"],
      [["--of", "logit", "--class", "bot"], "CLASS_UNKNOWN"],
      [["--of", "neuron"], "OPTION_VALUE"],
      [["--method", "lime"], "OPTION_VALUE"],
      [["--steps", "5"], "OPTION_CONFLICT"],
      [["--method", "integrated", "--steps", "0"], "OPTION_VALUE"],
      [["--method", "integrated", "--baseline", "grey"], "OPTION_VALUE"],
      [["--method", "integrated", "--at", "input"], "OPTION_CONFLICT"],
      [["--out", at("no/folder.png")], "OUTPUT_UNWRITABLE"],
      [["--npy", image], "OUTPUT_IS_INPUT"],
      [["--out", at("a"), "--csv", at("a")], "OUTPUT_TWICE"],
    ] as const)
      expect(await fail(model, image, ...zero, ...options), options.join(" ")).toMatchObject({ code });
    expect(await fail(model, at("images"), ...zero)).toMatchObject({ code: "OPTION_VALUE" });
    expect(await fail(model, write(at("bad.png"), "no image"), ...zero)).toMatchObject({ code: "IMAGE_FORMAT" });
    expect(await fail(model, at("nothing.png"), ...zero)).toMatchObject({ exit: 3 });
    expect(existsSync(at("a"))).toBe(false);
  });

  it("maps a channel of a network that is no classifier; of its logits there are none", async () => {
    const parts = classifierParts();
    const dense = at("dense.onnx");
    write(
      dense,
      modelBytes({ ...parts, node: (parts.node ?? []).slice(0, 5), output: [valueInfo("d", ["n", 6, SIDE, SIDE])] }),
    );
    const zero = [...body, "--channel", "0", "--mean", "0.5,0.4,0.3", "--std", "0.25,0.2,0.3"];
    const got = await ask(dense, image, ...zero);
    expect(got.maps).toEqual((await ask(model, image, ...zero)).maps);
    expect(await fail(dense, image, ...zero, "--of", "logit")).toMatchObject({ code: "NOT_A_CLASSIFIER", exit: 3 });
  });

  it("does not believe a record that contradicts the model", async () => {
    writeSplit(model, at("lies.onnx"), [2, 60, 61]);
    expect(await fail(at("lies.onnx"), image, ...body, "--channel", "2:1")).toMatchObject({
      code: "SPLIT_RECORD",
      message: expect.stringContaining("rows [2,60,61]") as string,
    });
  });
});
