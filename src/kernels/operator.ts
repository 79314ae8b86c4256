/** The contract of an operator: attributes, shape rule, forward and gradient stand together in one module. */
import type { GraphNode, HostTensor, InferRule, ValueInfo } from "../graph/graph.ts";
import type { ShaderName } from "../shaders.generated.ts";
import type { Epilogue } from "./conv-fours.ts";
import type { TileChoices } from "./tile-table.ts";
import type { FoursTensor } from "./fours.ts";

/**
 * A buffer that a plan will own: float32 elements, row-major. Which memory it gets is decided after the lifetimes of
 * all slots are known.
 */
export interface Slot {
  readonly id: number;
  readonly bytes: number;
}

/** A tensor on the device: its slot and its shape. */
export interface DeviceTensor {
  readonly slot: Slot;
  readonly shape: readonly number[];
}

/** A shader made by a generator; its name stands for its code. */
export interface GeneratedShader {
  readonly name: string;
  readonly code: string;
}

/** One dispatch of one entry point. */
export interface KernelCall {
  readonly shader: ShaderName | GeneratedShader;
  /** Entry point; "main" unless told. */
  readonly entry?: string;
  /** Values of the shader's `override` constants: each set of them is one pipeline, so keep them few. */
  readonly constants?: Readonly<Record<string, number>>;
  /**
   * The uniform block at binding 0, member by member: integers, and `f32(x)` where the shader's struct has an f32. Gaps
   * that alignment leaves are zeros; nothing follows the last member. Planning a dispatch checks it (engine/uniforms.ts).
   */
  readonly params: readonly Param[];
  /** Bindings 1, 2, ...: first those that are read, then those that are written. */
  readonly reads: readonly Slot[];
  readonly writes: readonly Slot[];
  readonly workgroups: readonly [number, number, number];
  /** What the profile shows: node name and step. */
  readonly label: string;
}

export type Param = number | { readonly f32: number };
export const f32 = (x: number): Param => ({ f32: x });

/** What every WebGPU adapter can bind at once (the least maxStorageBufferBindingSize). */
export const BINDING_BYTES = 2 ** 27;

/** What kernels can count on of an adapter. */
export interface Capabilities {
  /** Lanes of the narrowest subgroup; 0 where kernels cannot use subgroups. */
  readonly subgroups: number;
  /** Bytes of memory that a workgroup shares. */
  readonly workgroupBytes: number;
  /** Tiles of convolutions that were measured; the cost model chooses the others. */
  readonly tiles?: TileChoices | undefined;
}

/** What an operator may ask for while it is lowered to dispatches. */
export interface Lowering extends Capabilities {
  readonly node: GraphNode;
  readonly opset: number;
  /** Input k on the device. Constants are uploaded on first use. undefined where it is left out. */
  input(k: number): DeviceTensor | undefined;
  /** Whether convolutions may use Winograd's algorithm, which rounds more. */
  readonly winograd: boolean;
  /** Known shape and type, and elements of an input that is constant. */
  info(k: number): ValueInfo | undefined;
  /** Output k: its memory is reserved by the first call. */
  output(k: number): DeviceTensor;
  /** Input k in fours: converted where it stands in rows only. It must be there, and an image (canBeInFours). */
  inputFours(k: number): FoursTensor;
  /** Whether input k stands in fours, so that taking it in rows would cost a conversion. */
  standsInFours(k: number): boolean;
  /** Output k, to be written in fours: new memory. Not together with `output(k)`. */
  outputFours(k: number): FoursTensor;
  /**
   * What follows this node and is done as its output is written: the output is then that of the last node so fused.
   * Empty unless the operator says that it `fuses`.
   */
  readonly epilogue: Epilogue;
  /** Makes output k the same memory as input `from` (Reshape, Identity, ...). */
  alias(k: number, from: number): void;
  /** Memory from the first of the dispatches that use it to the last. */
  scratch(elements: number): Slot;
  /** Keeps what the forward pass noted for the node's gradient, as its `noted`. Only there where a gradient will pass. */
  readonly note?: ((slot: Slot) => void) | undefined;
  /**
   * A constant made from constants (packed or transformed weights), uploaded once for all plans under this key. The key
   * must say all that the data depends on; `tensorKey` (graph/identity.ts) stands for a tensor. It begins with a word of
   * the operator's own.
   * @param weights whether a plan in half precision may round it to float16
   */
  constant(key: string, make: () => HostTensor, weights?: boolean): DeviceTensor;
  dispatch(call: KernelCall): void;
}

/** What an operator may ask for while its gradient is lowered. Forward inputs and outputs keep their values. */
export interface GradientLowering extends Lowering {
  /** d scalar / d output k; undefined where the scalar does not depend on it. */
  outputGradient(k: number): DeviceTensor | undefined;
  /** Whether the scalar depends on output k, without a conversion. */
  hasOutputGradient(k: number): boolean;
  /** `outputGradient` in fours. */
  outputGradientFours(k: number): FoursTensor | undefined;
  /** Whether the gradient of output k stands in fours. */
  gradientStandsInFours(k: number): boolean;
  /** What the forward pass noted. */
  readonly noted: Slot | undefined;
  /** Output k of the forward pass in fours. */
  resultFours(k: number): FoursTensor;
  /** Whether the gradient with regard to input k is wanted. */
  wants(k: number): boolean;
  /** New memory, shaped like input k, that must be wholly written with this node's contribution. */
  inputGradient(k: number): DeviceTensor;
  /** The same in fours. Not together with `inputGradient(k)`. */
  inputGradientFours(k: number): FoursTensor;
  /**
   * The same in fours, for an operator that does all of the epilogue as it writes: what other nodes have added to the
   * gradient of input k so far, where this is the last of them, and the step back through a Relu before it.
   */
  inputGradientFused(k: number): { readonly output: FoursTensor; readonly epilogue: Epilogue };
  /** Says that the gradient of input k is that of output `from`, reinterpreted in input k's shape. */
  passGradient(k: number, from: number): void;
}

/** What is known of a node when it is asked what can be fused with it. */
export type FusionQuestion = Pick<Lowering, "node" | "opset" | "info" | "winograd">;

/** An ONNX operator (domain ai.onnx). */
export interface Operator {
  /** Shape rule, and the value where all that it needs is constant. */
  readonly infer: InferRule;
  /** Whether this node, lowered, does all of an epilogue (Add, Relu, Clip behind it) as it writes its output. */
  readonly fuses?: (l: FusionQuestion) => boolean;
  /** Whether it then also writes `epilogue.sums`, so that its own output can be seen. */
  readonly writesSums?: boolean;
  /** Where the operator only clamps its input 0: the limits. undefined where they are not known when planning. */
  readonly clamp?: (l: FusionQuestion) => readonly [lowest: number, highest: number] | undefined;
  /** Whether the gradient reads the node's outputs, and none of its inputs: they need no memory then. */
  readonly gradientOfOutput?: boolean;
  /** Absent for operators that only ever run on the host (shapes and integers). */
  readonly forward?: (l: Lowering) => void;
  /** Absent where the operator has no gradient here; asking for one is then an error that names it. */
  readonly gradient?: (l: GradientLowering) => void;
}

/** Splits n workgroups over x, y and z where n exceeds 65535, the limit of one dimension that WebGPU guarantees. */
export function spread(n: number): readonly [number, number, number] {
  const limit = 65535;
  if (n <= limit) return [Math.max(n, 1), 1, 1];
  const y = Math.ceil(n / limit);
  return [Math.ceil(n / y), y, 1];
}
