// Layers that stand for their kind, each as a small network through the real engine, beside onnxruntime on the processor.
// Nothing is timed before its outputs have been held against onnxruntime's in this very run.
import benny from "benny";
import onnxProto from "onnx-proto";
import * as ort from "onnxruntime-node";
import { buildGraph, decodeModel, Session } from "../dist/node.js";

const { onnx } = onnxProto;
const { INT, INTS } = onnx.AttributeProto.AttributeType;

/** Name, then channels in and out, side of the images, kernel, stride, groups; "gemm" instead of a kernel for Gemm. */
const LAYERS = [
  { name: "1x1, 256 to 64 at 56", from: 256, to: 64, side: 56, kernel: 1 },
  { name: "1x1, 512 to 2048 at 7", from: 512, to: 2048, side: 7, kernel: 1 },
  { name: "3x3 (Winograd), 64 to 64 at 56", from: 64, to: 64, side: 56, kernel: 3 },
  { name: "3x3 (Winograd), 512 to 512 at 7", from: 512, to: 512, side: 7, kernel: 3 },
  { name: "3x3/2, 128 to 128 at 56", from: 128, to: 128, side: 56, kernel: 3, stride: 2 },
  { name: "depthwise 3x3, 192 at 28", from: 192, to: 192, side: 28, kernel: 3, group: 192 },
  { name: "7x7/2, the stem, 3 to 64 at 224", from: 3, to: 64, side: 224, kernel: 7, stride: 2 },
  { name: "Gemm, 2048 to 1000", from: 2048, to: 1000, gemm: true },
];

function layerOf({ from, to, side = 1, kernel = 1, stride = 1, group = 1, gemm = false }) {
  const depth = (from / group) * kernel * kernel;
  const noise = (size, scale, seed) =>
    Float32Array.from({ length: size }, (_, k) => scale * Math.sin(seed + 12.9898 * k));
  const tensor = (name, dims, data) => ({ name, dims, dataType: 1, rawData: new Uint8Array(data.buffer) });
  const value = (name, dims) => ({
    name,
    type: { tensorType: { elemType: 1, shape: { dim: dims.map((dimValue) => ({ dimValue })) } } },
  });
  const out = Math.floor((side - 1) / stride) + 1;
  const shape = gemm ? [1, from] : [1, from, side, side];
  const pad = (kernel - 1) / 2;
  const ints = (name, list) => ({ name, type: INTS, ints: list });
  const attribute = gemm
    ? [{ name: "transB", type: INT, i: 1 }]
    : [
        ints("kernel_shape", [kernel, kernel]),
        ints("strides", [stride, stride]),
        ints("pads", [pad, pad, pad, pad]),
        { name: "group", type: INT, i: group },
      ];
  const bytes = onnx.ModelProto.encode({
    irVersion: 8,
    opsetImport: [{ domain: "", version: 17 }],
    graph: {
      name: "layer",
      node: [{ name: "layer", opType: gemm ? "Gemm" : "Conv", input: ["x", "w", "b"], output: ["y"], attribute }],
      input: [value("x", shape)],
      output: [value("y", gemm ? [1, to] : [1, to, out, out])],
      initializer: [
        tensor("w", gemm ? [to, from] : [to, from / group, kernel, kernel], noise(to * depth, Math.sqrt(2 / depth), 1)),
        tensor("b", [to], noise(to, 0.1, 2)),
      ],
    },
  }).finish();
  const data = noise(
    shape.reduce((a, b) => a * b, 1),
    1.5,
    3,
  );
  return {
    bytes,
    shape,
    data,
    depth,
    operations: 2 * depth * to * out * out,
    winograd: kernel === 3 && stride === 1 && group === 1,
  };
}

/** @returns one entry a layer: medians in milliseconds, and our rate in GFLOP/s of the direct way */
export async function kernels(gpu) {
  const rows = [];
  for (const wanted of LAYERS) {
    const { bytes, shape, data, depth, operations, winograd } = layerOf(wanted);
    const session = new Session(gpu, buildGraph(decodeModel(bytes)));
    const peer = await ort.InferenceSession.create(bytes);
    const inputs = new Map([["x", { type: "float32", shape, data }]]);
    const feed = { x: new ort.Tensor("float32", data, shape) };
    const ours = (await session.run(inputs)).get("y").data;
    const theirs = (await peer.run(feed)).y.data;
    const size = theirs.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
    const difference = theirs.reduce((m, v, i) => Math.max(m, Math.abs(v - ours[i])), 0);
    // Both round: u times the root of the sums' length; Winograd's transforms round some eight times more.
    const bound = 2 * 2 ** -24 * Math.sqrt(depth) * (winograd ? 8 : 2) * size;
    if (!(difference <= bound)) throw new Error(`${wanted.name}: outputs differ by ${difference}, more than ${bound}`);
    const { results } = await benny.suite(
      wanted.name,
      benny.add("ours", async () => {
        await session.run(inputs);
      }),
      benny.add("onnxruntime, processor", async () => {
        await peer.run(feed);
      }),
    );
    const [mine, other] = results.map((r) => 1000 * r.details.median);
    rows.push({
      layer: wanted.name,
      ours_ms: mine,
      onnxruntime_cpu_ms: other,
      gflops: operations / mine / 1e6,
      difference,
      bound,
    });
    session[Symbol.dispose]();
    await peer.release();
  }
  return rows;
}
