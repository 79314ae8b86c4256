/** Mutants of ONNX files: of their bytes, and of their structure (valid protobuf, but maybe not valid ONNX). Seeded. */
import type { onnx as Onnx } from "onnx-proto";
import { GRAPH, MODEL, TENSOR } from "../../../src/onnx/schema.ts";
import { wireFields, WIRE } from "../../../src/onnx/wire.ts";
import { onnx } from "../../support/onnx-proto.ts";
import type { Random } from "../../support/random.ts";
import { TYPE } from "../make.ts";

const T = onnx.AttributeProto.AttributeType;

/** Ranges of a file's bytes that are not the elements of its initialisers, and those that are. */
export interface Ranges {
  readonly structure: readonly (readonly [number, number])[];
  readonly payload: readonly (readonly [number, number])[];
}

export function rangesOf(bytes: Uint8Array): Ranges {
  const payload: [number, number][] = [];
  for (const top of wireFields(bytes)) {
    if (top.number !== MODEL.graph || top.wireType !== WIRE.bytes) continue;
    for (const field of wireFields(bytes, top.value, top.end)) {
      if (field.number !== GRAPH.initializer) continue;
      for (const part of wireFields(bytes, field.value, field.end))
        if (part.number === TENSOR.raw) payload.push([part.value, part.end]);
    }
  }
  const structure: [number, number][] = [];
  let from = 0;
  for (const [start, end] of payload) {
    structure.push([from, start]);
    from = end;
  }
  structure.push([from, bytes.length]);
  return { structure, payload };
}

function place(random: Random, ranges: readonly (readonly [number, number])[]): number {
  let at = random.below(ranges.reduce((n, [start, end]) => n + end - start, 0));
  for (const [start, end] of ranges) {
    if (at < end - start) return start + at;
    at -= end - start;
  }
  return 0;
}

const pick = <X>(random: Random, list: readonly X[]): X | undefined => list[random.below(list.length)];

/** One to three changes of bytes: set, one bit turned, dropped, doubled, or a long varint put in. */
export function byteMutant(random: Random, bytes: Uint8Array, ranges: Ranges): Uint8Array {
  let out = bytes.slice();
  for (let n = 1 + random.below(3); n > 0; n--) {
    // One in five falls on weights: half of those on an exponent, so that NaN and Infinity come up.
    const onWeights = ranges.payload.length > 0 && random.below(5) === 0;
    let at = Math.min(place(random, onWeights ? ranges.payload : ranges.structure), out.length - 1);
    const kind = onWeights ? random.below(2) : random.below(5);
    if (onWeights) {
      const start = ranges.payload.find(([s, e]) => at >= s && at < e)?.[0] ?? at;
      if (kind === 0) out.set([0x80, 0x7f], Math.min(at - ((at - start) % 4) + 2, out.length - 2));
      else out[at] = random.below(256);
    } else if (kind === 0) out[at] = random.below(256);
    else if (kind === 1) out[at] = (out[at] ?? 0) ^ (1 << random.below(8));
    else {
      at = Math.max(at, 0);
      const length = 1 + random.below(kind === 3 ? 40 : 4);
      const inner =
        kind === 2
          ? []
          : kind === 3
            ? [...out.subarray(at, at + length), ...out.subarray(at, at + length)]
            : [0xff, 0xff, 0xff, 0xff, 0xff, random.below(128)];
      const next = new Uint8Array(out.length - Math.min(length, out.length - at) + inner.length);
      next.set(out.subarray(0, at));
      next.set(inner, at);
      next.set(out.subarray(Math.min(at + length, out.length)), at + inner.length);
      out = next;
    }
  }
  return out;
}

/** Sizes that break arithmetic: around zero, around 32 bits, around what a double holds exactly, around 64 bits. */
const SIZES = [-1, 0, 1, 2, 3, 5, 7, 64, 1000, 65536, 2 ** 31 - 1, 2 ** 31, 2 ** 32 + 1, 2 ** 40, 2 ** 53, 2 ** 62];
const NEGATIVE = [-2, -3, -7, -1000, -(2 ** 31), -(2 ** 53), -(2 ** 63)];
const FLOATS = [0, -0, 1, -1, 1e-45, 3.4e38, -3.4e38, Infinity, -Infinity, NaN, 0.5];
const TEXTS = ["", "SAME_UPPER", "VALID", "reflect", "linear", "cubic", "nearest", "ceil", "align_corners", "\0", "é"];
const LOCATIONS = ["", "weights.bin", "../weights.bin", "../../etc/passwd", "/etc/passwd", "C:\\x", "a/../../b", "\0"];

const ATTRIBUTES = (
  "axis axes group kernel_shape strides pads dilations output_shape keepdims blocksize ceil_mode perm size p " +
  "num_groups output_padding"
).split(" ");

const number = (random: Random): number => pick(random, random.below(3) === 0 ? NEGATIVE : SIZES) ?? 0;

/** Everything in a graph that has a name. */
function names(graph: Onnx.IGraphProto): string[] {
  return [
    ...(graph.node ?? []).flatMap((n) => [...(n.input ?? []), ...(n.output ?? [])]),
    ...(graph.initializer ?? []).map((t) => t.name ?? ""),
    ...(graph.input ?? []).map((i) => i.name ?? ""),
    "",
    "nowhere",
  ];
}

type Change = (random: Random, model: Onnx.IModelProto, graph: Onnx.IGraphProto, operators: readonly string[]) => void;

function changeDims(random: Random, dims: number[]): void {
  const k = random.below(dims.length + 1);
  const kind = random.below(4);
  if (kind === 0) dims.splice(k, 0, number(random));
  else if (kind === 1) dims.splice(k, 1);
  else dims[Math.min(k, Math.max(dims.length - 1, 0))] = number(random);
}

const ofTensor =
  (change: (random: Random, tensor: Onnx.ITensorProto) => void): Change =>
  (random, _, graph) => {
    const inNodes = (graph.node ?? []).flatMap((n) => (n.attribute ?? []).flatMap((a) => (a.t ? [a.t] : [])));
    const tensor = pick(random, [...(graph.initializer ?? []), ...inNodes]);
    if (tensor) change(random, tensor);
  };

const ofNode =
  (change: (random: Random, node: Onnx.INodeProto, graph: Onnx.IGraphProto) => void): Change =>
  (random, _, graph) => {
    const node = pick(random, graph.node ?? []);
    if (node) change(random, node, graph);
  };

function changeAttribute(random: Random, a: Onnx.IAttributeProto): void {
  const kind = random.below(8);
  if (kind === 0) a.type = pick(random, Object.values(T)) as Onnx.AttributeProto.AttributeType;
  else if (kind === 1) a.name = pick(random, ["axis", "axes", "to", "group", "pads", "mode", "value", ""]) ?? "";
  else if (a.ints && a.ints.length > 0) {
    const ints: number[] = a.ints.map(Number);
    if (kind === 2) ints.splice(random.below(ints.length), 1);
    else if (kind === 3) ints.push(number(random));
    else ints[random.below(ints.length)] = number(random);
    a.ints = ints;
  } else if (a.type === T.INT) a.i = number(random);
  else if (a.type === T.FLOAT) a.f = pick(random, FLOATS) ?? 0;
  else if (a.type === T.STRING) a.s = new TextEncoder().encode(pick(random, TEXTS) ?? "");
}

const changes: readonly Change[] = [
  ofTensor((random, t) => {
    const dims = (t.dims ?? []).map(Number);
    changeDims(random, dims);
    t.dims = dims;
  }),
  ofTensor((random, t) => {
    t.dataType = random.below(25);
  }),
  ofTensor((random, t) => {
    const raw = t.rawData ?? new Uint8Array();
    const longer = new Uint8Array(raw.length + 4);
    longer.set(raw);
    t.rawData = random.below(2) === 0 ? raw.slice(0, random.below(raw.length + 1)) : longer;
  }),
  ofTensor((random, t) => {
    if ((t.rawData?.length ?? 0) < 4 || t.dataType !== TYPE.float32) return;
    const raw = Uint8Array.from(t.rawData ?? []);
    const value = pick(random, FLOATS) ?? 0;
    new DataView(raw.buffer).setFloat32(4 * random.below(Math.floor(raw.length / 4)), value, true);
    t.rawData = raw;
  }),
  ofTensor((random, t) => {
    if (t.dataType !== TYPE.int64 || (t.rawData?.length ?? 0) < 8) return;
    const raw = Uint8Array.from(t.rawData ?? []);
    const value = BigInt.asIntN(64, BigInt(number(random)));
    new DataView(raw.buffer).setBigInt64(8 * random.below(Math.floor(raw.length / 8)), value, true);
    t.rawData = raw;
  }),
  ofTensor((random, t) => {
    t.dataLocation = onnx.TensorProto.DataLocation.EXTERNAL;
    t.externalData = [
      { key: "location", value: pick(random, LOCATIONS) ?? "" },
      { key: "offset", value: String(number(random)) },
      ...(random.below(2) === 0 ? [] : [{ key: "length", value: String(number(random)) }]),
    ];
  }),
  ofTensor((random, t) => {
    t.rawData = new Uint8Array();
    t.stringData = [new TextEncoder().encode("text")];
    if (random.below(2) === 0) t.dataType = TYPE.string;
  }),
  ofNode((random, n, graph) => {
    const input = [...(n.input ?? [])];
    input[random.below(input.length + 1)] = pick(random, names(graph)) ?? "";
    n.input = Array.from(input, (name: string | undefined) => name ?? "");
  }),
  ofNode((random, n) => {
    const input = [...(n.input ?? [])];
    input.splice(random.below(input.length + 1), 1);
    n.input = input;
  }),
  ofNode((random, n, graph) => {
    const output = [...(n.output ?? [])];
    output[random.below(output.length + 1)] = pick(random, names(graph)) ?? "";
    n.output = Array.from(output, (name: string | undefined) => name ?? "");
  }),
  ofNode((random, n, graph) => {
    n.opType = pick(random, graph.node ?? [])?.opType ?? "";
  }),
  (random, _, graph, operators) => {
    const node = pick(random, graph.node ?? []);
    if (node) node.opType = pick(random, operators) ?? "";
  },
  ofNode((random, n) => {
    const attribute = pick(random, n.attribute ?? []);
    if (attribute) changeAttribute(random, attribute);
  }),
  ofNode((random, n) => {
    const attribute = pick(random, n.attribute ?? []);
    if (attribute) changeAttribute(random, attribute);
  }),
  ofNode((random, n) => {
    const attributes = [...(n.attribute ?? [])];
    if (random.below(2) === 0) attributes.splice(random.below(attributes.length + 1), 1);
    else attributes.push({ name: pick(random, ATTRIBUTES) ?? "", i: number(random), type: T.INT });
    n.attribute = attributes;
  }),
  ofNode((random, n) => {
    n.attribute = [
      ...(n.attribute ?? []),
      {
        name: pick(random, ATTRIBUTES) ?? "",
        ints: Array.from({ length: random.below(5) }, () => number(random)),
        type: T.INTS,
      },
    ];
  }),
  ofNode((random, n, graph) => {
    const at = random.below((graph.node ?? []).length + 1);
    graph.node?.splice(at, 0, random.below(2) === 0 ? n : { ...n, output: (n.output ?? []).map((o) => `${o}_twice`) });
  }),
  ofNode((_, n, graph) => {
    graph.node?.splice(graph.node.indexOf(n), 1);
  }),
  ofNode((random, n) => {
    n.domain = pick(random, ["ai.onnx", "com.microsoft", "ai.onnx.ml", "é"]) ?? "";
  }),
  (random, model) => {
    model.opsetImport = Array.from({ length: random.below(4) }, () => ({
      domain: pick(random, ["", "", "ai.onnx", "com.microsoft"]) ?? "",
      version: pick(random, [...SIZES, 6, 7, 8, 9, 10, 11, 12, 14, 15, 16, 18, 19, 20, 22, 23, 99]) ?? 0,
    }));
  },
  (random, _, graph) => {
    const info = pick(random, [...(graph.input ?? []), ...(graph.output ?? [])]);
    if (!info) return;
    if (random.below(3) === 0) info.name = pick(random, names(graph)) ?? "";
    else if (random.below(3) === 0) info.type = pick(random, [{ sequenceType: {} }, { tensorType: {} }, {}]) ?? {};
    else if (info.type?.tensorType?.shape) {
      const dims = (info.type.tensorType.shape.dim ?? []).map((d) => Number(d.dimValue ?? 0));
      changeDims(random, dims);
      info.type.tensorType.shape.dim = dims.map((dimValue) => ({ dimValue }));
    } else if (info.type?.tensorType) info.type.tensorType.elemType = random.below(20);
  },
  (random, _, graph) => {
    const tensor = pick(random, graph.initializer ?? []);
    if (!tensor) return;
    if (random.below(2) === 0) {
      graph.sparseInitializer = [
        { values: tensor, indices: { dims: [1], dataType: TYPE.int64 }, dims: [number(random)] },
      ];
      graph.initializer?.splice(graph.initializer.indexOf(tensor), 1);
    } else graph.initializer?.push({ ...tensor, name: pick(random, names(graph)) ?? "" });
  },
];

/** One to three changes of the model's structure. `operators`: what a node may be turned into. */
export function structureMutant(random: Random, bytes: Uint8Array, operators: readonly string[]): Uint8Array {
  const model = onnx.ModelProto.decode(bytes) as Onnx.IModelProto;
  const graph = model.graph ?? {};
  for (let n = Math.max(1, random.below(4)); n > 0; n--) pick(random, changes)?.(random, model, graph, operators);
  return new Uint8Array(onnx.ModelProto.encode(model).finish());
}
