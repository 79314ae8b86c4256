/**
 * What examples may take as given, where the text has it (`<!-- example: given NAME, ... -->` above them): all on the demo
 * network. It is compiled against the package's entries, as the examples are.
 */
import { readFileSync } from "node:fs";
import {
  batchShape,
  buildGraph,
  classifierOf,
  decodeImage,
  findLayer,
  Gpu,
  inferRule,
  inferShapes,
  openAdapter,
  preprocess,
  readModelFile,
  readSidecar,
  Session,
  studyLayer,
  type AttributionMethod,
  type HostTensor,
} from "unbraid/node";

export const adapter = await openAdapter();
export const gpu = await Gpu.open(adapter.adapter);
export const graph = buildGraph(readModelFile("models/demo.onnx"));
export const session = new Session(gpu, graph);
export const imageShape = [3, 64, 64];
export const shaped = inferShapes(
  graph,
  new Map([["input", batchShape(classifierOf(graph), 1, imageShape)]]),
  inferRule,
);

const spec = (await readSidecar("models/demo.onnx"))?.spec;
if (spec === undefined) throw new Error("no preprocessing beside the demo network");
const picture = await decodeImage(readFileSync("models/images/val/panda/tw-3.jpg"), "panda/tw-3.jpg");
/** One image of a panda. */
export const images: HostTensor = { type: "float32", shape: [1, ...imageShape], data: preprocess(picture, spec) };
export const inputs = new Map([["input", images]]);
export const of = "logits";
export const seed = Float32Array.from({ length: 100 }, (_, t) => (t === 64 ? 1 : 0));
export const wrt = ["input"];

/** A channel of the last layer, and half of its weights. */
export const channel = 262;
const layer = studyLayer(findLayer(shaped, "last"));
const each = layer.weights.length / layer.outChannels;
export const weights = layer.weights.slice(channel * each, (channel + 1) * each).map((w) => w / 2);
export const method: AttributionMethod = "gradient-x-input";

export function close(): void {
  session[Symbol.dispose]();
  gpu[Symbol.dispose]();
  adapter.close();
}
