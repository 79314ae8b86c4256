/** The golden studies (made by the float64 oracle) as studies of ours, for any form of the model's file. */
import { readFileSync } from "node:fs";
import { decodeModel } from "../../src/onnx/decode.ts";
import type { OnnxModel, OnnxNode } from "../../src/onnx/model.ts";
import { accumulate } from "../../src/relevance/accumulate.ts";
import { createStudy } from "../../src/relevance/study.ts";
import type { Study, StudyLayer } from "../../src/relevance/study.ts";
import { readNpy } from "../support/npy.ts";
import type { Npy } from "../support/npy.ts";
import { sharedDir } from "../support/shared.ts";

export const GOLDEN = [
  "cifar10-resnet20-layer3.0.conv1",
  "cifar10-resnet20-layer3.2.conv2",
  "cifar100-bottleneck26-layer2.0.conv2",
  "cifar100-bottleneck26-layer3.2.conv3",
] as const;

export interface GoldenMeta {
  readonly model: string;
  readonly layer: string;
  readonly classes: readonly string[];
  readonly taus: readonly number[];
  readonly tau: number;
  readonly p: number;
  readonly gamma: number;
  readonly found: readonly { channel: number; class1: number; class2: number; cosine: number }[];
  readonly relevant: Readonly<Record<string, readonly number[]>>;
  readonly files: readonly string[];
}

export interface GoldenPair {
  readonly channel: number;
  readonly class1: number;
  readonly class2: number;
  readonly arv1: readonly number[];
  readonly arv2: readonly number[];
  readonly official: Readonly<Record<string, string>>;
  readonly symmetric: Readonly<Record<string, string>>;
  readonly scores: readonly number[];
  readonly best_rho: number;
}

const path = (name: string, file: string): string => `${sharedDir ?? ""}/golden/${name}/${file}`;
export const goldenMeta = (name: string): GoldenMeta =>
  JSON.parse(readFileSync(path(name, "meta.json"), "utf8")) as GoldenMeta;
export const goldenPairs = (name: string): GoldenPair[] =>
  JSON.parse(readFileSync(path(name, "pairs.json"), "utf8")) as GoldenPair[];
export const goldenArray = (name: string, file: string): Npy => readNpy(path(name, `${file}.npy`));

/** The forms of a model that have a Conv node of the module's path: as trained, folded, negated. */
export type Form = "" | "-folded" | "-negated";

/**
 * The golden study of a layer, as if it had run on another form of the file: relevance and tap sums are the same in
 * all of them, weights and signs are not.
 */
export function goldenStudy(name: string, form: Form = ""): Study {
  const meta = goldenMeta(name);
  const layer = goldenLayer(meta, form);
  const index = new Map(meta.classes.map((c, t) => [c, t]));
  const labels = meta.files.map((file) => index.get(file.split("/")[0] ?? "") ?? -1);
  const perClass = meta.classes.map((_, t) => labels.filter((l) => l === t).length);
  const study = createStudy({
    model: { file: meta.model, sha256: "00".repeat(32) },
    layer,
    classes: meta.classes,
    labels: meta.classes.map((_, t) => t),
    images: { digest: "00".repeat(32), length: labels.length, perClass },
    preprocess: "",
    taus: meta.taus,
    folds: 1,
    settings: {},
  });
  accumulate(study, {
    range: [0, labels.length],
    labels,
    tapSums: perImage(goldenArray(name, "tapsums"), labels),
    importance: { relevance: goldenArray(name, "relevance").data as Float32Array },
  });
  return study;
}

/**
 * Golden tap sums are float64 sums by class: they are given to the class's first three images as float32 numbers that
 * add up to them (24 bits each), and zeros to the others.
 */
function perImage({ data, shape }: Npy, labels: readonly number[]): Float32Array {
  const size = (shape[1] ?? 0) * (shape[2] ?? 0);
  const all = new Float32Array(labels.length * size);
  const left = Float64Array.from(data);
  const seen = new Map<number, number>();
  labels.forEach((t, j) => {
    const nth = seen.get(t) ?? 0;
    seen.set(t, nth + 1);
    if (nth >= 3) return;
    for (let i = 0; i < size; i++) {
      const part = Math.fround(left[t * size + i] ?? NaN);
      all[j * size + i] = part;
      left[t * size + i] = (left[t * size + i] ?? NaN) - part;
    }
  });
  return all;
}

function goldenLayer(meta: GoldenMeta, form: Form): StudyLayer {
  const file = `${sharedDir ?? ""}/models/${meta.model.replace(".onnx", `${form}.onnx`)}`;
  const model = decodeModel(readFileSync(file));
  // "layer3.2.conv2" is node "/layer3/layer3.2/conv2/Conv".
  const [stage = "", block = "", conv = ""] = meta.layer.split(".");
  const nodeName = `/${stage}/${stage}.${block}/${conv}/Conv`;
  const node = model.nodes.find((n) => n.name === nodeName);
  if (node === undefined) throw new Error(`${file} has no node ${nodeName}`);
  const weights = constant(model, node.inputs[1] ?? "");
  const [outChannels = 0, perGroup = 0, kh = 0, kw = 0] = weights.dims;
  const output = node.outputs[0] ?? "";
  const norm = model.nodes.find((n) => n.opType === "BatchNormalization" && n.inputs[0] === output);
  const scale = norm === undefined ? undefined : constant(model, norm.inputs[1] ?? "").numbers();
  const groups = ints(node, "group", [1])[0] ?? 1;
  const [sh = 1, sw = 1] = ints(node, "strides", [1, 1]);
  const [dh = 1, dw = 1] = ints(node, "dilations", [1, 1]);
  const [top = 0, left = 0, bottom = 0, right = 0] = ints(node, "pads", [0, 0, 0, 0]);
  return {
    name: meta.layer,
    nodeName,
    output,
    kernel: [kh, kw],
    strides: [sh, sw],
    dilations: [dh, dw],
    pads: [top, left, bottom, right],
    groups,
    inChannels: perGroup * groups,
    outChannels,
    hasBias: node.inputs.length > 2,
    weights: Float32Array.from(weights.numbers()),
    sign: Int8Array.from({ length: outChannels }, (_, c) => ((scale?.[c] ?? 1) < 0 ? -1 : 1)),
  };
}

/** Exporters store equal tensors once, with Identity nodes for the rest. */
function constant(model: OnnxModel, name: string) {
  let at = name;
  for (;;) {
    const tensor = model.initializers.get(at);
    if (tensor !== undefined) return tensor;
    const identity = model.nodes.find((n) => n.opType === "Identity" && n.outputs[0] === at);
    if (identity === undefined) throw new Error(`${name} is not constant`);
    at = identity.inputs[0] ?? "";
  }
}

function ints(node: OnnxNode, name: string, absent: readonly number[]): readonly number[] {
  const attribute = node.attributes.get(name);
  if (attribute?.type === "ints") return attribute.value;
  return attribute?.type === "int" ? [attribute.value] : absent;
}
