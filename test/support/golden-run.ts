/** A golden study made again by our engine, on any form of the model's file. */
import { ResponsePass } from "../../src/channels/responses.ts";
import { ROWS_AT_ONCE, type ClassImages } from "../../src/channels/split-run.ts";
import { Session } from "../../src/engine/session.ts";
import { must } from "../../src/errors.ts";
import { readModelFile } from "../../src/files.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { buildGraph } from "../../src/graph/build.ts";
import { findLayer, type ConvLayer } from "../../src/graph/conv-layers.ts";
import { sizeOf } from "../../src/graph/graph.ts";
import { inferShapes } from "../../src/graph/infer.ts";
import type { ImageItem } from "../../src/images/folder.ts";
import { batches } from "../../src/images/loader.ts";
import { PRESETS } from "../../src/images/presets.ts";
import { inferRule } from "../../src/kernels/table.ts";
import { RelevancePass } from "../../src/relevance/pass.ts";
import { studyLayer } from "../../src/relevance/study-layer.ts";
import { accumulate } from "../../src/relevance/accumulate.ts";
import { createStudy, type Study } from "../../src/relevance/study.ts";
import { goldenMeta, type GoldenMeta } from "../relevance/golden.ts";
import { sharedDir } from "./shared.ts";

const BATCH = 100;
/** The second pass runs over thirds of classes of 10 to 100 images. */
const PART = 20;
const IMAGE = [3, 32, 32];
const shared = sharedDir ?? "";

export interface GoldenRun extends Disposable {
  readonly meta: GoldenMeta;
  readonly study: Study;
  readonly session: Session;
  readonly layer: ConvLayer;
  /** [N, T] and [N, C]. */
  readonly logits: Float32Array;
  readonly relevance: Float32Array;
  readonly labels: readonly number[];
  /** u times the sum over layers of the root of their sums' lengths: see `epsilonOf`. */
  readonly epsilon: number;
  /** Inputs of ReLUs after the layer, an image. */
  readonly units: number;
  readonly images: ClassImages;
  openSecondPass(): Promise<ResponsePass>;
}

export async function runGolden(gpu: Gpu, name: string, form: string): Promise<GoldenRun> {
  const meta = goldenMeta(name);
  const dataset = meta.model.split("-")[0] ?? "";
  const spec = PRESETS[dataset === "cifar10" ? "cifar10" : "cifar100"];
  const root = `${shared}/images/${dataset}/train`;
  const items = meta.files.map((path): ImageItem => ({ path, label: meta.classes.indexOf(path.split("/")[0] ?? "") }));
  const graph = buildGraph(readModelFile(`${shared}/models/${meta.model.replace(".onnx", `${form}.onnx`)}`));
  const shaped = inferShapes(graph, new Map([["input", [BATCH, ...IMAGE]]]), inferRule);
  const layer = findLayer(shaped, meta.layer);
  const geometry = studyLayer(layer);
  const session = new Session(gpu, graph);
  const logitCount = meta.classes.length;
  const options = { layer, geometry, input: "input", logits: "logits", imageShape: IMAGE, batch: BATCH };
  const labels = items.map((i) => i.label);
  const study = createStudy({
    model: { file: meta.model, sha256: "00".repeat(32) },
    layer: geometry,
    classes: meta.classes,
    labels: meta.classes.map((_, t) => t),
    images: {
      digest: "00".repeat(32),
      length: items.length,
      perClass: meta.classes.map((_, t) => labels.filter((l) => l === t).length),
    },
    preprocess: dataset,
    taus: meta.taus,
    folds: 1,
    settings: {},
  });
  const logits = new Float32Array(items.length * logitCount);
  const relevance = new Float32Array(items.length * geometry.outChannels);
  using pass = await RelevancePass.open(session, {
    ...options,
    layers: [{ layer, geometry }],
    logitCount,
    taus: meta.taus,
  });
  let at = 0;
  for await (const batch of batches({ root, items, spec, batchSize: BATCH })) {
    const got = await pass.run(batch.tensor, batch.labels);
    const of = must(got.layers[0], "layer");
    accumulate(study, {
      range: [at, batch.next],
      labels: batch.labels,
      tapSums: of.tapSums,
      importance: { bits: of.bits },
    });
    logits.set(got.logits, at * logitCount);
    relevance.set(of.relevance, at * geometry.outChannels);
    at = batch.next;
  }
  const ofClass = (t: unknown) => items.filter((i) => i.label === t);
  return {
    ...{ meta, study, session, layer, logits, relevance, labels },
    epsilon: epsilonOf(shaped),
    units: unitsAfter(shaped, layer.output),
    images: {
      count: (t) => ofClass(t).length,
      paths: (t) => ofClass(t).map(({ path }) => path),
      batches: (t, positions) => {
        const all = ofClass(t);
        const some = positions === undefined ? all : positions.map((i) => must(all[i], "image"));
        return batches({ root, items: some, spec, batchSize: PART });
      },
    },
    openSecondPass: () => ResponsePass.open(session, { ...options, batch: PART, rows: ROWS_AT_ONCE }),
    [Symbol.dispose]: () => {
      session[Symbol.dispose]();
    },
  };
}

function unitsAfter(shaped: ReturnType<typeof inferShapes>, value: string): number {
  const after = new Set([value]);
  let units = 0;
  for (const node of shaped.nodes) {
    if (!node.inputs.some((name) => after.has(name))) continue;
    for (const name of node.outputs) after.add(name);
    if (node.opType === "Relu") units += sizeOf(shaped.values.get(node.inputs[0] ?? "")?.shape.slice(1) ?? []);
  }
  return units;
}

/**
 * Rounding of a whole network, relative to the size of its values. A sum of n products errs by u sqrt(n) times the root
 * mean square of what it adds up (Higham and Mary, "A New Approach to Probabilistic Rounding Error Analysis", 2019: the
 * worst case's n becomes sqrt(n) when roundings are independent); normalised layers keep the size of their values, so
 * that the relative errors of the layers add up: u times the sum over Conv and Gemm of sqrt(n).
 */
function epsilonOf(shaped: ReturnType<typeof inferShapes>): number {
  let sum = 0;
  for (const node of shaped.nodes) {
    const weight = shaped.values.get(node.inputs[1] ?? "")?.shape ?? [];
    if (node.opType === "Conv") sum += Math.sqrt(sizeOf(weight.slice(1)));
    if (node.opType === "Gemm") sum += Math.sqrt(Math.max(...weight));
  }
  return 2 ** -24 * sum;
}
