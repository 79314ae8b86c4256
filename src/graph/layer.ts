/** A Conv node of a file as a layer that can be split: its sizes and its stored weights. */
import { UnbraidError } from "../errors.ts";
import type { DataTypeName, OnnxModel, OnnxNode, OnnxTensor } from "../onnx/model.ts";
import { ELEMENTS } from "./elements.ts";
import type { ElementType } from "./elements.ts";
import type { LayerSizes } from "./check-splits.ts";

/** A stored tensor that a node reads, maybe through Identity nodes or out of a Constant. */
export interface StoredInput {
  /** Initialiser's name; "" for a Constant node's tensor. */
  readonly name: string;
  readonly dataType: DataTypeName;
  readonly raw: Uint8Array;
  readonly dims: readonly number[];
  /** Indices of the nodes in between, the one nearest to the reader first. */
  readonly through: readonly number[];
}

export interface Layer extends LayerSizes {
  readonly index: number;
  /** How errors call it. */
  readonly label: string;
  /** What names of new nodes and new initialisers begin with. */
  readonly path: string;
  readonly stem: string;
  readonly input: string;
  readonly output: string;
  readonly kernel: readonly number[];
  readonly weight: StoredInput;
  readonly bias: StoredInput | undefined;
  /** The weights' bits: `channels` rows of `rowBytes`. */
  readonly rows: Uint8Array;
  readonly rowBytes: number;
  /** How the weights' numbers are stored. */
  readonly elements: ElementType;
}

const faulty = "Export the model again; onnx.checker explains what is wrong with it.";

/**
 * @throws UnbraidError kind "input": LAYER_NOT_CONV, LAYER_WEIGHT_COMPUTED; kind "model": LAYER_WEIGHT_SHAPE; kind
 * "unsupported": LAYER_WEIGHT_TYPE; and what reading the weights throws
 */
export function layerOf(model: OnnxModel, index: number): Layer {
  const node = model.nodes[index];
  if (node === undefined)
    throw new UnbraidError(
      "input",
      "LAYER_NOT_CONV",
      `the model has no node ${index}: it has ${model.nodes.length}`,
      "Choose a Conv node.",
    );
  const label = `the node "${node.name === "" ? `${node.opType} at position ${index}` : node.name}"`;
  if (node.opType !== "Conv" || node.domain !== "") {
    throw new UnbraidError(
      "input",
      "LAYER_NOT_CONV",
      `${label} is of type ${node.domain === "" ? "" : `${node.domain}.`}${node.opType}; only Conv layers can be split`,
      "Choose a Conv layer; `unbraid inspect` lists them.",
    );
  }
  const output = node.outputs[0] ?? "";
  if (output === "") throw new UnbraidError("model", "LAYER_WEIGHT_SHAPE", `${label} has no output`, faulty);
  const weight = storedInput(model, node.inputs[1] ?? "", label, "weight");
  const bias = (node.inputs[2] ?? "") === "" ? undefined : storedInput(model, node.inputs[2] ?? "", label, "bias");
  const type = ELEMENTS[weight.dataType];
  if (type === undefined) {
    throw new UnbraidError(
      "unsupported",
      "LAYER_WEIGHT_TYPE",
      `the weights of ${label} are of type ${weight.dataType}; float16, bfloat16, float32 and float64 can be split`,
      "Export the model with float weights.",
    );
  }
  const [channels = 0, groupInputs = 0, ...kernel] = weight.dims;
  const group = node.attributes.get("group");
  const groups = group?.type === "int" ? group.value : 1;
  const fits = kernel.length > 0 && channels > 0 && groupInputs > 0 && groups > 0 && channels % groups === 0;
  if (
    !fits ||
    (bias !== undefined && (bias.dims.length !== 1 || bias.dims[0] !== channels || bias.dataType !== weight.dataType))
  ) {
    const with_ = bias === undefined ? "" : `, bias ${bias.dataType} [${bias.dims.join(", ")}]`;
    throw new UnbraidError(
      "model",
      "LAYER_WEIGHT_SHAPE",
      `the weights of ${label} do not make a Conv: ${weight.dataType} [${weight.dims.join(", ")}]${with_}, ${groups} groups`,
      faulty,
    );
  }
  const taps = kernel.reduce((n, k) => n * k, 1);
  return {
    index,
    label,
    channels,
    groups,
    groupInputs,
    taps,
    path: node.name === "" ? output : node.name,
    stem: stemOf(node),
    input: node.inputs[0] ?? "",
    output,
    kernel,
    weight,
    bias,
    rows: weight.raw,
    rowBytes: groupInputs * taps * type.bytes,
    elements: type,
  };
}

/** The weight's name, as the node gives it, without ".weight": names of the new tensors then sort beside the old ones. */
const stemOf = (node: OnnxNode): string => (node.inputs[1] ?? "").replace(/(\.split)?\.weight(_\d+)?$/, "");

/** Follows Identity nodes from a node's input to the tensor that it stands for. */
function storedInput(model: OnnxModel, value: string, label: string, role: string): StoredInput {
  const through: number[] = [];
  let at = value;
  for (;;) {
    const initializer = model.initializers.get(at);
    if (initializer !== undefined) return stored(initializer, at, through);
    const node = model.nodes.find((n) => n.outputs.includes(at));
    const constant = node?.opType === "Constant" ? node.attributes.get("value") : undefined;
    if (node?.domain !== "" || through.includes(node.index)) break;
    through.push(node.index);
    if (constant?.type === "tensor") return stored(constant.value, "", through);
    if (node.opType !== "Identity") break;
    at = node.inputs[0] ?? "";
  }
  throw new UnbraidError(
    "input",
    "LAYER_WEIGHT_COMPUTED",
    `the ${role} of ${label} ("${value}") is computed while the network runs, not stored in the file`,
    "Export the model with constant folding, so that weights are stored as they are used.",
  );
}

function stored(tensor: OnnxTensor, name: string, through: readonly number[]): StoredInput {
  // raw() first: it refuses types that this version has no name for.
  const raw = tensor.raw();
  return { name, dataType: tensor.dataType as DataTypeName, raw, dims: tensor.dims, through };
}
