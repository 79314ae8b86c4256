/** What engine.test.ts runs inside the browser: the library as a page would use it. */
import {
  buildGraph,
  convLayers,
  decodeImageInBrowser,
  decodeModel,
  Gpu,
  inferRule,
  inferShapes,
  RelevancePass,
  Session,
  studyLayer,
} from "../../../src/index.ts";
import type { EnginePage } from "../engine-page.ts";

const bytesOf = (text: string): Uint8Array<ArrayBuffer> => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

function textOf(numbers: Float32Array | Uint8Array): string {
  const bytes = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}

const page: EnginePage = {
  async decode(file, name) {
    const { width, height, data } = await decodeImageInBrowser(bytesOf(file), name);
    return { width, height, data: textOf(data) };
  },

  async run(model, images, labels) {
    const adapter = await navigator.gpu.requestAdapter();
    if (adapter === null) throw new Error("no adapter");
    using gpu = await Gpu.open(adapter);
    const graph = buildGraph(decodeModel(bytesOf(model)));
    using session = new Session(gpu, graph);
    const batch = labels.length;
    const layer = convLayers(inferShapes(graph, new Map([["input", [batch, 3, 64, 64]]]), inferRule)).at(-1);
    if (layer === undefined) throw new Error("no layer");
    using pass = await RelevancePass.open(session, {
      layers: [{ layer, geometry: studyLayer(layer) }],
      ...{ input: "input", logits: "logits", imageShape: [3, 64, 64], logitCount: 100, batch, taus: [0.03] },
    });
    const { logits, layers } = await pass.run(new Float32Array(bytesOf(images).buffer), labels);
    const [first] = layers;
    if (first === undefined) throw new Error("no result");
    gpu.check();
    return { logits: textOf(logits), relevance: textOf(first.relevance), tapSums: textOf(first.tapSums) };
  },
};

Object.assign(globalThis, { engine: page });
