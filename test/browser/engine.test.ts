/** The library in a real browser: pixels as in Node, logits and relevance as in Node to the rounding of both. */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import type { Browser, Page } from "playwright-core";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Session } from "../../src/engine/session.ts";
import { must } from "../../src/errors.ts";
import { buildGraph } from "../../src/graph/build.ts";
import { convLayers } from "../../src/graph/conv-layers.ts";
import { sizeOf, type ShapedGraph } from "../../src/graph/graph.ts";
import { inferShapes } from "../../src/graph/infer.ts";
import { decodeImage } from "../../src/images/decode.ts";
import { preprocess, type RgbImage } from "../../src/images/preprocess.ts";
import { parsePreprocess } from "../../src/images/presets.ts";
import { inferRule } from "../../src/kernels/table.ts";
import { decodeModel } from "../../src/onnx/decode.ts";
import { RelevancePass } from "../../src/relevance/pass.ts";
import { studyLayer } from "../../src/relevance/study-layer.ts";
import { U, uniform } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { testAdapters } from "../support/gpu.ts";
import type { EnginePage } from "./engine-page.ts";
import { chromiumPath, faultsOf, launch } from "./support.ts";
import { serve } from "../../examples/browser/serve.mjs";

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const MODELS = at("../../models");
const [WIDTH, HEIGHT] = [37, 29];

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
const floatsOf = (text: string): Float32Array => new Float32Array(Uint8Array.from(Buffer.from(text, "base64")).buffer);

let browser: Browser | undefined;
let server: Awaited<ReturnType<typeof serve>> | undefined;
let page: Page | undefined;
let faults: string[] = [];

beforeAll(async () => {
  if (chromiumPath === undefined) return;
  browser = await launch();
  // A page needs an origin for WebGPU; this one holds nothing.
  server = await serve(at("page"));
  page = await browser.newPage();
  faults = faultsOf(page);
  await page.route("**/*", (route) =>
    route.fulfill({ contentType: "text/html", body: "<!doctype html><title>test</title>" }),
  );
  await page.goto(server.url);
  const bundle = await build({
    entryPoints: [at("page/engine.ts")],
    ...{ bundle: true, write: false, format: "iife", platform: "browser", target: "es2022" },
  });
  await page.addScriptTag({ content: must(bundle.outputFiles[0], "bundle").text });
}, 120_000);

afterAll(async () => {
  await browser?.close();
  await server?.close();
});

interface InPage {
  readonly engine: EnginePage;
}

const opened = (): Page => must(page, "page");

/** The file as the browser decodes it. */
async function decodedThere(file: Buffer, name: string): Promise<RgbImage> {
  const got = await opened().evaluate(
    ([text = "", called = ""]) => (globalThis as unknown as InPage).engine.decode(text, called),
    [base64(file), name],
  );
  return { ...got, data: Uint8Array.from(Buffer.from(got.data, "base64")) };
}

function noise(channels: number, seed: number): Buffer {
  const next = uniform(seed);
  return Buffer.from(Array.from({ length: WIDTH * HEIGHT * channels }, () => Math.floor(256 * next())));
}

const raw = (channels: 1 | 2 | 3 | 4, seed: number) =>
  sharp(noise(channels, seed), { raw: { width: WIDTH, height: HEIGHT, channels } });

/** Files that store every pixel as it is. */
const LOSSLESS: readonly (readonly [string, () => Promise<Buffer>])[] = [
  ["an RGB PNG", () => raw(3, 1).png().toBuffer()],
  ["a partly transparent PNG", () => raw(4, 2).png().toBuffer()],
  ["a grey PNG", () => raw(1, 3).toColourspace("b-w").png().toBuffer()],
  ["a grey PNG with alpha", () => raw(2, 4).toColourspace("b-w").png().toBuffer()],
  ["a palette PNG", () => raw(3, 5).png({ palette: true, colours: 32 }).toBuffer()],
  ["a PNG with a colour profile", () => raw(3, 6).withIccProfile("p3").png().toBuffer()],
  ["a lossless WebP", () => raw(3, 7).webp({ lossless: true }).toBuffer()],
];

describe.skipIf(chromiumPath === undefined)("images in a browser (skipped without Chromium)", () => {
  it.each(LOSSLESS)("%s: every pixel as in Node", async (name, make) => {
    const file = await make();
    const [there, here] = [await decodedThere(file, name), await decodeImage(file, name)];
    expect([there.width, there.height]).toEqual([WIDTH, HEIGHT]);
    expect(Buffer.compare(there.data, here.data)).toBe(0);
    expect(faults).toEqual([]);
  });

  it("JPEGs of the demo: as in Node, to what two decoders may differ by", async () => {
    const folder = `${MODELS}/images/val/fox`;
    let [equal, all] = [0, 0];
    for (const name of readdirSync(folder)) {
      const file = readFileSync(`${folder}/${name}`);
      const [there, here] = [await decodedThere(file, name), await decodeImage(file, name)];
      expect(there.data.length).toBe(here.data.length);
      // T.83 lets an inverse DCT err by 1; a step of chroma is up to 1.8 steps of a colour, and a rounding.
      there.data.forEach((v, i) => {
        const off = Math.abs(v - (here.data[i] ?? NaN));
        if (off > 4) expect.fail(`${name}: byte ${i} is ${v}, in Node ${here.data[i] ?? NaN}`);
        equal += off === 0 ? 1 : 0;
      });
      all += there.data.length;
    }
    process.stderr.write(`note: ${equal} of ${all} bytes of JPEG pixels are equal in Node and in Chromium\n`);
    expect(equal / all).toBeGreaterThan(0.5);
  });

  it("a JPEG that asks to be turned is not", async () => {
    const file = await raw(3, 8)
      .jpeg({ quality: 95, chromaSubsampling: "4:4:4" })
      .withMetadata({ orientation: 6 })
      .toBuffer();
    const [there, here] = [await decodedThere(file, "turned"), await decodeImage(file, "turned")];
    expect([there.width, there.height]).toEqual([here.width, here.height]);
    expect(here.width).toBe(WIDTH);
  });

  it("what is no image is refused by name", async () => {
    await expect(decodedThere(Buffer.from("no image"), "bad.png")).rejects.toThrow(/bad\.png is damaged/);
  });
});

/**
 * Rounding of the network forward, relative to the size of its values: u times the sum over Conv and Gemm of the root of
 * their sums' lengths (the derivation is in test/support/golden-run.ts). Two engines round, so numbers may differ by twice that.
 */
function epsilonOf(shaped: ShapedGraph): number {
  let sum = 0;
  for (const node of shaped.nodes) {
    const weight = shaped.values.get(node.inputs[1] ?? "")?.shape ?? [];
    if (node.opType === "Conv") sum += Math.sqrt(sizeOf(weight.slice(1)));
    if (node.opType === "Gemm") sum += Math.sqrt(Math.max(...weight));
  }
  return U * sum;
}

const LABELS = Array.from({ length: 24 }, (_, n) => 4 * n);

async function demoImages(): Promise<Float32Array> {
  const spec = parsePreprocess(readFileSync(`${MODELS}/demo.preprocess.json`, "utf8"), "demo");
  const classes = readdirSync(`${MODELS}/images/val`).sort();
  const all = new Float32Array(LABELS.length * 3 * 64 * 64);
  for (const [n, label] of LABELS.entries()) {
    const folder = `${MODELS}/images/val/${classes[label] ?? ""}`;
    const [name = ""] = readdirSync(folder).sort();
    all.set(preprocess(await decodeImage(readFileSync(`${folder}/${name}`), name), spec), n * 3 * 64 * 64);
  }
  return all;
}

if (chromiumPath !== undefined)
  onAdapters(
    "the demo network in a browser and in Node",
    (gpu) => {
      it("gives the same logits, relevance and tap sums", async () => {
        const images = await demoImages();
        const bytes = readFileSync(`${MODELS}/demo.onnx`);
        const there = await opened().evaluate(
          ([model, pictures, labels]) => (globalThis as unknown as InPage).engine.run(model, pictures, labels),
          [base64(bytes), base64(new Uint8Array(images.buffer)), LABELS] as const,
        );
        expect(faults).toEqual([]);

        const graph = buildGraph(decodeModel(bytes));
        const batch = LABELS.length;
        const shaped = inferShapes(graph, new Map([["input", [batch, 3, 64, 64]]]), inferRule);
        const layer = must(convLayers(shaped).at(-1), "layer");
        using session = new Session(gpu(), graph);
        using pass = await RelevancePass.open(session, {
          layers: [{ layer, geometry: studyLayer(layer) }],
          ...{ input: "input", logits: "logits", imageShape: [3, 64, 64], logitCount: 100, batch, taus: [0.03] },
        });
        const here = await pass.run(images, LABELS);
        const [first] = here.layers;
        const epsilon = epsilonOf(shaped);
        // The layer is the last but one: its relevance is an output times a gradient through one Gemm, summed over 16 positions.
        const pairs = { logits: here.logits, relevance: first?.relevance, tapSums: first?.tapSums };
        for (const [what, mine] of Object.entries(pairs)) {
          const theirs = floatsOf(there[what as keyof typeof there]);
          const ours = must(mine, what);
          expect(theirs.length).toBe(ours.length);
          const largest = ours.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
          const worst = ours.reduce((m, v, i) => Math.max(m, Math.abs(v - (theirs[i] ?? NaN))), 0);
          expect(largest).toBeGreaterThan(0.01);
          expect(worst / largest, what).toBeLessThanOrEqual(2 * epsilon);
        }
      });
    },
    testAdapters.slice(0, 1),
  );
