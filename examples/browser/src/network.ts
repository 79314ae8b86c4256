/** From files to a network: the ONNX file, the data files beside it, labels, preprocessing. */
import {
  batchShape,
  buildGraph,
  channelsFirst,
  classifierOf,
  convLayers,
  decodeModel,
  externalLocations,
  inferRule,
  inferShapes,
  mergePreprocess,
  parsePreprocess,
  UnbraidError,
  type Classifier,
  type ConvLayer,
  type ExternalReader,
  type Graph,
  type OnnxModel,
  type PreprocessSpec,
  type ShapedGraph,
} from "unbraid";
import type { NetworkInfo, OpenRequest } from "./protocol.ts";

export interface Network {
  readonly file: string;
  readonly model: OnnxModel;
  readonly graph: Graph;
  readonly classifier: Classifier;
  /** As `unbraid study` records it: of the file, or of a list of it and its data files. */
  readonly sha256: string;
  readonly spec: PreprocessSpec;
  readonly specGiven: boolean;
  readonly labels: readonly string[] | null;
  /** T */
  readonly classes: number;
  readonly layers: readonly ConvLayer[];
  /** Reads the data files, which are a split model's too. */
  readonly external: ExternalReader;
}

export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export const bytesOf = async (file: Blob): Promise<Uint8Array<ArrayBuffer>> => new Uint8Array(await file.arrayBuffer());

/** A side of images where neither the network nor the preprocessing says: ImageNet's. */
const USUAL_SIDE = 224;

export async function openNetwork({ model: file, beside, preprocess }: OpenRequest): Promise<Network> {
  const bytes = await bytesOf(file);
  // Which data files there are is known only from the model; it is read without them first.
  const locations = externalLocations(decodeModel(bytes, () => new Uint8Array(0)));
  const data = await readBeside(locations, beside);
  const external = readerOf(data);
  const model = decodeModel(bytes, external);
  const graph = channelsFirst(buildGraph(model));
  const classifier = classifierOf(graph);
  const sidecar = await besideText(beside, /\.preprocess\.json$/i);
  const spec = mergePreprocess(
    preprocess,
    sidecar === undefined ? undefined : parsePreprocess(sidecar.text, sidecar.name),
  );
  const shaped = shapedFor({ graph, classifier }, 1, usualShape(classifier, spec));
  const classes = logitCount(shaped, classifier.logits);
  const names = await besideText(beside, /(labels|classes)\.(json|txt)$/i);
  return {
    ...{ file: file.name, model, external, graph, classifier, spec, classes },
    sha256: await digestOf(bytes, data),
    specGiven: sidecar !== undefined || Object.keys(preprocess).length > 0,
    labels: names === undefined ? null : parseLabels(names.text, names.name, classes),
    layers: convLayers(shaped),
  };
}

/** What the page shows of it. */
export const describeNetwork = (n: Network): NetworkInfo => ({
  file: n.file,
  bytes: n.model.bytes.length,
  opset: n.model.opset,
  nodes: n.model.nodes.length,
  classes: n.classes,
  labels: n.labels,
  imageShape: n.classifier.imageShape,
  spec: n.spec,
  specGiven: n.specGiven,
  layers: n.layers.map((l) => ({
    name: l.name,
    kernel: l.kernel.join("x"),
    inputs: l.inChannels,
    outputs: l.outChannels,
    splittable: l.splittable,
    why: l.why,
  })),
});

/** Shapes for a batch of images. */
export function shapedFor(
  { graph, classifier }: Pick<Network, "graph" | "classifier">,
  batch: number,
  image: readonly number[],
): ShapedGraph {
  return inferShapes(graph, new Map([[classifier.input, batchShape(classifier, batch, image)]]), inferRule);
}

export function usualShape(c: Classifier, spec: PreprocessSpec): [number, number, number] {
  if (spec.crop !== undefined) return [3, spec.crop, spec.crop];
  const [channels, height, width] = c.imageShape;
  return [channels ?? 3, height ?? USUAL_SIDE, width ?? USUAL_SIDE];
}

function logitCount(shaped: ShapedGraph, logits: string): number {
  const shape = shaped.values.get(logits)?.shape ?? [];
  const [, count = 0, ...rest] = shape;
  if (count > 0 && rest.every((d) => d === 1)) return count;
  throw new UnbraidError(
    "input",
    "NOT_A_CLASSIFIER",
    `the network's output "${logits}" has shape ${shape.join("x") || "of a scalar"}; logits are [batch, classes]`,
    "This page takes networks that classify images.",
  );
}

type DataFiles = ReadonlyMap<string, Uint8Array<ArrayBuffer>>;

async function readBeside(locations: readonly string[], beside: readonly File[]): Promise<DataFiles> {
  const files = new Map(beside.map((file) => [file.name, file]));
  const found = new Map<string, Uint8Array<ArrayBuffer>>();
  const missing: string[] = [];
  for (const location of locations) {
    const file = files.get(location.split(/[\\/]/).at(-1) ?? location);
    if (file === undefined) missing.push(location);
    else found.set(location, await bytesOf(file));
  }
  if (missing.length === 0) return found;
  throw new UnbraidError(
    "model",
    "EXTERNAL_DATA",
    `the model keeps weights in ${missing.map((name) => `"${name}"`).join(", ")}, which ${missing.length === 1 ? "was" : "were"} not given`,
    "Drop the data files together with the ONNX file.",
  );
}

const readerOf =
  (data: DataFiles): ExternalReader =>
  (location, offset, length) => {
    const all = data.get(location);
    const end = length === undefined ? (all?.length ?? 0) : offset + length;
    if (all !== undefined && end <= all.length) return all.subarray(offset, end);
    throw new UnbraidError(
      "model",
      "EXTERNAL_DATA",
      `the model needs bytes ${offset} to ${end} of its data file "${location}", which has ${all?.length ?? 0}`,
      "Download or export the data file again.",
    );
  };

/** As `unbraid` does it, so that a study made here is of the same model there. */
async function digestOf(bytes: Uint8Array<ArrayBuffer>, data: DataFiles): Promise<string> {
  const own = await sha256(bytes);
  if (data.size === 0) return own;
  const lines = [`${own}  model\n`];
  for (const [location, content] of data) lines.push(`${await sha256(content)}  ${location}\n`);
  return sha256(new TextEncoder().encode(lines.join("")));
}

async function besideText(files: readonly File[], kind: RegExp): Promise<{ name: string; text: string } | undefined> {
  const file = files.find(({ name }) => kind.test(name));
  return file === undefined ? undefined : { name: file.name, text: await file.text() };
}

/** A JSON array of names, or one name a line, in the order of the logits. */
function parseLabels(text: string, name: string, classes: number): readonly string[] {
  let names: unknown = text.trim().split(/\r?\n/);
  if (text.trimStart().startsWith("["))
    try {
      names = JSON.parse(text);
    } catch {
      names = [];
    }
  const list = Array.isArray(names) ? names.filter((label): label is string => typeof label === "string") : [];
  if (list.length === classes) return list;
  throw new UnbraidError(
    "input",
    "IMAGES_CLASS_COUNT",
    `${name} names ${list.length} classes, the network has ${classes} logits`,
    "Give a name for each logit, in their order: a JSON array, or one a line.",
  );
}
