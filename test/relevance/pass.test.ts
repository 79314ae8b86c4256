/** One batch of a study on the GPU: relevance, importance, tap sums, against float64 and the host's own float16. */
import { describe, expect, test } from "vitest";
import { Executable } from "../../src/engine/executable.ts";
import { makePlan, type Extension } from "../../src/engine/plan.ts";
import { Session } from "../../src/engine/session.ts";
import { WeightStore } from "../../src/engine/weights.ts";
import { must, UnbraidError } from "../../src/errors.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { convLayers, findLayer } from "../../src/graph/conv-layers.ts";
import { inferShapes } from "../../src/graph/infer.ts";
import { inferRule } from "../../src/kernels/table.ts";
import { roundToHalf } from "../../src/onnx/half.ts";
import { addImportanceBits, countImportant, importanceWords } from "../../src/relevance/importance.ts";
import { RelevancePass } from "../../src/relevance/pass.ts";
import { markImportant, MAX_TAUS } from "../../src/relevance/relevance.ts";
import { tapSums } from "../../src/relevance/tap-sums.ts";
import { studyLayer } from "../../src/relevance/study-layer.ts";
import type { StudyLayer } from "../../src/relevance/study.ts";
import { exactNumbers, graphOf, IMAGE, LOGITS, residualNetwork } from "../engine/network.ts";
import { convTerms } from "../reference/conv.ts";
import { interpret } from "../reference/interpret.ts";
import { expectWithin, randomTensor, U } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { Random } from "../support/random.ts";

/** Dispatches beside an empty network: the shaders of a pass with inputs of the test's choice. */
async function runBeside(
  gpu: Gpu,
  extend: (x: Extension) => void,
  inputs: Readonly<Record<string, Float32Array | Uint32Array>>,
  results: readonly string[],
  subgroups = gpu.subgroups,
): Promise<Map<string, Float32Array>> {
  using weights = new WeightStore(gpu);
  const empty = { ...graphOf([], [], []), inputs: [] };
  const plan = makePlan(empty, { inputs: new Map(), outputs: [], extend }, { subgroups, workgroupBytes: 16384 });
  using executable = await Executable.make(gpu, plan, weights);
  executable.fill(-987654321);
  executable.run(new Map(Object.entries(inputs)));
  return await executable.read(results);
}

interface ImportanceCase {
  readonly relevance: Float32Array;
  readonly channels: number;
  readonly taus: readonly number[];
  readonly classes: readonly number[];
  /** As of an adapter with such: workgroups are wider where subgroups are. */
  readonly subgroups?: number;
}

/** What shaders/importance.wgsl finds, added up by class as a study does it; classes are numbered from 0. */
async function importance(gpu: Gpu, { relevance, channels, taus, classes, subgroups }: ImportanceCase) {
  const batch = relevance.length / channels;
  const words = importanceWords(taus.length, channels);
  const got = await runBeside(
    gpu,
    (x) => {
      const [input, bits, totals] = [
        x.input("relevance", [batch, channels]),
        x.result("bits", [batch, words]),
        x.result("totals", [batch, 2]),
      ];
      markImportant(x, input, bits, taus, totals.slot);
    },
    { relevance },
    ["totals", "bits"],
    subgroups,
  );
  const bits = new Uint32Array(must(got.get("bits"), "bits").buffer);
  const cells = 2 * taus.length * channels;
  const hits = new Uint32Array(cells * (Math.max(...classes) + 1));
  classes.forEach((t, n) => {
    const counts = hits.subarray(t * cells, (t + 1) * cells);
    addImportanceBits(bits.subarray(n * words, (n + 1) * words), channels, counts);
  });
  return { totals: must(got.get("totals"), "totals"), hits };
}

/** Where float16 is hard: every power of two with its neighbours, ties, subnormals, overflow, and numbers at random. */
function hardForHalf(): Float32Array {
  const list: number[] = [0, 2 ** -149, 2 ** -126, 1e-30, 65504, 65519.99, 65520, 65536, 1e6, 3e38];
  const random = new Random(9);
  for (let exponent = -26; exponent < 16; exponent++) {
    const spacing = 2 ** Math.max(exponent - 10, -24);
    for (const step of [0, 1, 2, 511, 512, 1021, 1022, 1023, random.below(1024), random.below(1024)]) {
      const value = 2 ** exponent + step * spacing;
      const tie = value + spacing / 2;
      const ulp = 2 ** (Math.floor(Math.log2(tie)) - 23);
      list.push(value, tie, tie - ulp, tie + ulp, value + spacing / 4);
    }
  }
  const bits = Uint32Array.from({ length: 2000 }, () => random.uint32() & 0x7fffffff);
  return Float32Array.from([...list, ...new Float32Array(bits.buffer).filter((v) => Number.isFinite(v))]);
}

const STUDIED = { image: "image", logits: "logits" };
const draw = exactNumbers(3);
const network = residualNetwork(draw.weights, draw.fine, draw.scales);

onAdapters("the pass of a study", (gpu) => {
  test("float16 on the GPU rounds as on the host: ties, subnormals, overflow", async () => {
    const values = hardForHalf();
    // With one channel the second total is that channel's relevance, rounded.
    const classes = new Array<number>(values.length).fill(0);
    const { totals } = await importance(gpu(), { relevance: values, channels: 1, taus: [0.5], classes });
    const got = Array.from(values, (_, i) => totals[2 * i + 1]);
    const overflow = Math.fround(3e38); // the shader's stand-in for infinity
    expect(got).toEqual(Array.from(values, (v) => Math.min(roundToHalf(v), overflow)));
    // WGSL lets float32's own subnormals become 0 (section 15.7.2).
    const flushed = (v: number | undefined) => (v !== undefined && v < 2 ** -126 ? 0 : v);
    expect(Array.from(values, (_, i) => flushed(totals[2 * i]))).toEqual(Array.from(values, flushed));
  });

  test("counts by class are the host's, for several classes, many channels, ties and images without relevance", async () => {
    const channels = 70; // two blocks of 64
    const taus = [0.01, 0.03, 0.0625, 0.25, 0.5, 1];
    const random = new Random(4);
    // Multiples of 1/64 below 8: every sum is exact in float32, so that only rounding to float16 and tau are tested.
    const row = (low: number, high: number) =>
      Array.from({ length: channels }, () => (low + random.below(high - low + 1)) / 64);
    const single = (value: number) => Array.from({ length: channels }, (_, c) => (c === 3 ? value : -1));
    // Four of 2 and nothing else positive: each is exactly a quarter of the total.
    const tie = Array.from({ length: channels }, (_, c) => (c < 4 ? 2 : -3));
    const rows = [
      row(-500, 500),
      row(-500, 20),
      row(-100, 4000),
      row(-500, 0), // nothing positive: variant 0 counts none, variant 1 those that round to 0
      new Array<number>(channels).fill(0),
      new Array<number>(channels).fill(-(2 ** -26)), // rounds to -0
      single(4),
      tie,
      row(-3, 3),
    ];
    const classes = [2, 0, 2, 1, 1, 1, 0, 2, 3];
    const relevance = Float32Array.from(rows.flat());
    const { hits } = await importance(gpu(), { relevance, channels, taus, classes });
    const wide = await importance(gpu(), { relevance, channels, taus, classes, subgroups: 32 });
    expect(wide.hits).toEqual(hits);
    const cells = 2 * taus.length * channels;
    for (const cls of [0, 1, 2, 3]) {
      const expected = new Uint32Array(cells);
      rows.forEach((r, n) => {
        if (classes[n] === cls) countImportant(Float32Array.from(r), taus, expected);
      });
      expect(Array.from(hits.subarray(cls * cells, (cls + 1) * cells)), `class ${cls}`).toEqual(Array.from(expected));
      expect(expected.some((n) => n > 0)).toBe(true);
    }
  });

  test("overflow of float16: what is infinite there reaches the threshold, the rest does not", async () => {
    const relevance = Float32Array.of(70000, 60000, 1e5, -1e5, 30000, 30000, 30000, 1);
    const { hits } = await importance(gpu(), { relevance, channels: 4, taus: [0.25, 0.5], classes: [0, 1] });
    const expected = [new Uint32Array(16), new Uint32Array(16)];
    expected.forEach((counts, n) => {
      countImportant(relevance.subarray(4 * n, 4 * n + 4), [0.25, 0.5], counts);
    });
    expect(Array.from(hits)).toEqual(expected.flatMap((c) => Array.from(c)));
    expect(Array.from(expected[0] ?? []).slice(8)).toEqual([1, 0, 1, 0, 1, 0, 1, 0]);
  });

  const layers: readonly { title: string; x: readonly number[]; o: readonly number[]; g: Partial<StudyLayer> }[] = [
    { title: "1x1", x: [2, 5, 7, 6], o: [7, 6], g: {} },
    { title: "3x3, pad 1", x: [2, 3, 6, 5], o: [6, 5], g: { kernel: [3, 3], pads: [1, 1, 1, 1] } },
    {
      title: "3x2, strided, dilated, uneven pads",
      x: [3, 4, 9, 11],
      o: [3, 3],
      g: { kernel: [3, 2], strides: [2, 4], dilations: [2, 3], pads: [0, 1, 1, 1] },
    },
    { title: "1x1, stride 2", x: [1, 6, 7, 7], o: [4, 4], g: { strides: [2, 2] } },
    { title: "1x1, stride 4, padded", x: [2, 3, 6, 11], o: [3, 4], g: { strides: [4, 4], pads: [3, 1, 1, 1] } },
    { title: "1x1, a plane of many blocks", x: [1, 2, 13, 29], o: [13, 29], g: {} },
    { title: "1x1, stride 3", x: [1, 2, 7, 8], o: [3, 3], g: { strides: [3, 3] } },
    {
      title: "3x3, stride 2, pad 1",
      x: [2, 3, 9, 10],
      o: [5, 5],
      g: { kernel: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] },
    },
    {
      title: "3x3, dilated",
      x: [1, 3, 8, 12],
      o: [6, 4],
      g: { kernel: [3, 3], dilations: [2, 4], pads: [1, 0, 1, 0] },
    },
    { title: "1x3", x: [2, 2, 5, 8], o: [5, 8], g: { kernel: [1, 3], pads: [0, 1, 0, 1] } },
    { title: "5x4", x: [2, 2, 7, 9], o: [7, 9], g: { kernel: [5, 4], pads: [2, 1, 2, 2] } },
    { title: "1-D, three taps", x: [2, 3, 13], o: [1, 7], g: { kernel: [1, 3], strides: [1, 2], pads: [0, 1, 0, 1] } },
    { title: "1-D", x: [2, 3, 13], o: [1, 6], g: { kernel: [1, 4], strides: [1, 2], pads: [0, 1, 0, 0] } },
    {
      title: "kernel that never reaches inside",
      x: [1, 2, 2, 2],
      o: [2, 2],
      g: { kernel: [3, 3], pads: [1, 1, 1, 1] },
    },
  ];
  test.each(layers)("tap sums, $title", async ({ x: shape, o, g }) => {
    const x = randomTensor(shape, 7);
    const layer: StudyLayer = {
      ...{
        name: "l",
        nodeName: "l",
        output: "z",
        kernel: [1, 1],
        strides: [1, 1],
        dilations: [1, 1],
        pads: [0, 0, 0, 0],
      },
      ...{ groups: 1, inChannels: shape[1] ?? 0, outChannels: 1, hasBias: false, weights: new Float32Array(0) },
      sign: Int8Array.of(1),
      ...g,
    };
    const [n = 0, channels = 0] = shape;
    const taps = layer.kernel[0] * layer.kernel[1];
    const output = shape.length === 3 ? o.slice(1) : o;
    const summed = (subgroups: number) =>
      runBeside(
        gpu(),
        (e) => {
          const target = e.result("sums", [n, channels, taps]);
          tapSums(e, e.input("x", shape), target, layer, [n, 1, ...output]);
        },
        { x: Float32Array.from(x.data) },
        ["sums"],
        subgroups,
      );
    const got = await summed(gpu().subgroups);
    expect(await summed(32)).toEqual(got);
    // With one output channel each weight of a Conv meets just the elements that its tap sums.
    const square = shape.length === 3 ? [n, channels, 1, shape[2] ?? 0] : shape;
    const terms = convTerms(square, [1, channels, ...layer.kernel], { ...layer, strides: layer.strides });
    expect(terms.shape.slice(2)).toEqual(o);
    const each = channels * taps;
    const sums = new Float64Array(n * each);
    const sizes = new Float64Array(n * each);
    const plane = square.slice(1).reduce((a, b) => a * b, 1);
    terms.each((input, weight) => {
      const at = Math.floor(input / plane) * each + weight;
      sums[at] = (sums[at] ?? 0) + (x.data[input] ?? NaN);
      sizes[at] = (sizes[at] ?? 0) + Math.abs(x.data[input] ?? NaN);
    });
    // At most one rounding an addition. Rows, then their sums; or four positions at a time, in blocks of 64.
    const [rows = 0, columns = 0] = o;
    const roundings = Math.max(rows + columns, 16 + Math.ceil((rows * columns) / 64) + 3);
    const bound = (i: number) => 1.01 * roundings * U * (sizes[i] ?? 0);
    expectWithin(got.get("sums") ?? [], sums, bound, "tap sums");
  });

  describe("a whole pass", () => {
    const shaped = inferShapes(network, new Map([["image", [4, ...IMAGE]]]), inferRule);
    const images = draw.images([4, ...IMAGE]);
    const pixels = IMAGE.reduce((a, b) => a * b, 1);
    const labels = [4, 1, 4, 0];
    const taus = [0.03, 0.1, 0.5];
    const values = interpret(
      network,
      new Map([["image", { shape: images.shape, data: Float64Array.from(images.data) }]]),
    );
    const open = (session: Session, names: readonly string[], batch: number) => {
      const layers = names.map((name) => ({
        layer: findLayer(shaped, name),
        geometry: studyLayer(findLayer(shaped, name)),
      }));
      const options = { layers, imageShape: IMAGE, logitCount: LOGITS, batch, taus };
      return RelevancePass.open(session, { ...options, input: STUDIED.image, logits: STUDIED.logits });
    };
    const runAlone = async (session: Session, name: string) => {
      using pass = await open(session, [name], 4);
      const { logits, layers } = await pass.run(Float32Array.from(images.data), labels);
      return { logits, ...must(layers[0], name) };
    };

    test.each(["z1", "z2", "z3"])("at layer %s: relevance without its bias, tap sums, logits, hits", async (name) => {
      using session = new Session(gpu(), network);
      const got = await runAlone(session, name);
      // Values and gradients are exact in this network (test/engine/gradient.test.ts): only the pass itself rounds.
      const seed = new Float32Array(4 * LOGITS);
      labels.forEach((label, i) => (seed[i * LOGITS + label] = 1));
      const slopes = await session.gradient(new Map([["image", images]]), { of: "logits", seed, wrt: [name] });
      const g = must(slopes.get(name), name).data;
      const z = must(values.get(name), name);
      const layer = findLayer(shaped, name);
      const [, channels = 0] = z.shape;
      const positions = z.data.length / (4 * channels);
      const sums = new Float64Array(4 * channels);
      const sizes = new Float64Array(4 * channels);
      z.data.forEach((v, i) => {
        const at = Math.floor(i / positions);
        const term = (v - (layer.bias?.data[at % channels] ?? 0)) * (g[i] ?? NaN);
        sums[at] = (sums[at] ?? 0) + term;
        sizes[at] = (sizes[at] ?? 0) + Math.abs(term);
      });
      // z - b, the product, and an addition a position are rounded at most.
      const bound = (i: number) => 1.01 * (positions + 2) * U * (sizes[i] ?? 0);
      expectWithin(got.relevance, sums, bound, "relevance");
      expect(sums.some((s) => s !== 0)).toBe(true);
      expectWithin(got.logits, must(values.get("logits"), "logits").data, () => 0, "logits");
      const words = importanceWords(taus.length, channels);
      labels.forEach((_, i) => {
        const [counts, expected] = [
          new Uint32Array(2 * taus.length * channels),
          new Uint32Array(2 * taus.length * channels),
        ];
        addImportanceBits(got.bits.subarray(i * words, (i + 1) * words), channels, counts);
        countImportant(got.relevance.subarray(i * channels, (i + 1) * channels), taus, expected);
        expect(counts, `image ${i}`).toEqual(expected);
        expect(expected.some((n) => n > 0)).toBe(true);
      });
      // r_n[i] = sum over taps of w S (METHOD.md B): the sums of z without bias follow from the tap sums.
      const size = got.tapSums.length / 4;
      const w = must(layer.weights, "weights").data;
      const fromTaps = new Float64Array(4 * channels);
      const plain = new Float64Array(4 * channels);
      fromTaps.forEach((_, at) => {
        const [n, c] = [Math.floor(at / channels), at % channels];
        for (let k = 0; k < size; k++) {
          fromTaps[at] = (fromTaps[at] ?? 0) + (w[c * size + k] ?? NaN) * (got.tapSums[n * size + k] ?? NaN);
        }
      });
      z.data.forEach((v, i) => {
        const at = Math.floor(i / positions);
        plain[at] = (plain[at] ?? 0) + v - (layer.bias?.data[at % channels] ?? 0);
      });
      // Multiples of 2^-12 below 2^10: tap sums are exact too.
      expectWithin(fromTaps, plain, () => 0, "tap sums");
    });

    test("several layers at once give what each gives alone, bit for bit", async () => {
      using session = new Session(gpu(), network);
      const names = convLayers(shaped).map((layer) => layer.name);
      using pass = await open(session, names, 4);
      const { layers, logits } = await pass.run(Float32Array.from(images.data), labels);
      expect(names.length).toBeGreaterThan(2);
      for (const [k, name] of names.entries()) {
        const alone = await runAlone(session, name);
        expect({ logits, ...layers[k] }, name).toEqual(alone);
      }
    });

    test("a short last batch gives the same bits as a full one, and marks only its own images", async () => {
      using session = new Session(gpu(), network);
      using pass = await open(session, ["z2"], 4);
      const run = async (n: number) => {
        const { logits, layers } = await pass.run(
          Float32Array.from(images.data.subarray(0, n * pixels)),
          labels.slice(0, n),
        );
        return { logits, ...must(layers[0], "layer") };
      };
      const [all, short, none] = [await run(4), await run(3), await run(0)];
      for (const key of ["relevance", "tapSums", "logits", "bits"] as const) {
        expect(short[key].length).toBe((3 * all[key].length) / 4);
        expect(short[key], key).toEqual(all[key].slice(0, short[key].length));
        expect(none[key].length).toBe(0);
      }
    });

    test("taus that the shader cannot take are refused; disposing frees the pass", async () => {
      using session = new Session(gpu(), network);
      const layer = findLayer(shaped, "z2");
      const layers = [{ layer, geometry: studyLayer(layer) }];
      const options = { layers, imageShape: IMAGE, logitCount: LOGITS, batch: 1 };
      for (const wrong of [[], [0.5, 0.1], Array.from({ length: MAX_TAUS + 1 }, (_, k) => (k + 1) / 100)]) {
        const work = RelevancePass.open(session, { ...options, taus: wrong, input: "image", logits: "logits" });
        await expect(work).rejects.toThrow(UnbraidError);
      }
      const held = gpu().allocatedBytes;
      (await open(session, ["z2"], 2))[Symbol.dispose]();
      const weights = gpu().allocatedBytes; // weights stay with the session
      (await open(session, ["z2"], 2))[Symbol.dispose]();
      expect(gpu().allocatedBytes).toBe(weights);
      expect(weights).toBeGreaterThan(held);
    });
  });
});
