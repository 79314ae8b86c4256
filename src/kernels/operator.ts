/** The contract of an operator: attributes, shape rule, forward and gradient stand together in one module. */
import type { GraphNode, HostTensor, InferRule, ValueInfo } from "../graph/graph.ts";
import type { ShaderName } from "../shaders.generated.ts";

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

/** One dispatch of one entry point. */
export interface KernelCall {
  readonly shader: ShaderName;
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

/** What an operator may ask for while it is lowered to dispatches. */
export interface Lowering {
  readonly node: GraphNode;
  readonly opset: number;
  /** Lanes of the adapter's narrowest subgroup; 0 where kernels cannot use subgroups. */
  readonly subgroups: number;
  /** Input k on the device. Constants are uploaded on first use. undefined where it is left out. */
  input(k: number): DeviceTensor | undefined;
  /** Known shape and type, and elements of an input that is constant. */
  info(k: number): ValueInfo | undefined;
  /** Output k: its memory is reserved by the first call. */
  output(k: number): DeviceTensor;
  /** Makes output k the same memory as input `from` (Reshape, Identity, ...). */
  alias(k: number, from: number): void;
  /** Memory for the length of this node. */
  scratch(elements: number): Slot;
  /**
   * A constant made from constants (packed or transformed weights), uploaded once for all plans under this key. The key
   * must say all that the data depends on; `tensorKey` (graph/identity.ts) stands for a tensor. It begins with a word of
   * the operator's own.
   */
  constant(key: string, make: () => HostTensor): DeviceTensor;
  dispatch(call: KernelCall): void;
}

/** What an operator may ask for while its gradient is lowered. Forward inputs and outputs keep their values. */
export interface GradientLowering extends Lowering {
  /** d scalar / d output k; undefined where the scalar does not depend on it. */
  outputGradient(k: number): DeviceTensor | undefined;
  /** Whether the gradient with regard to input k is wanted. */
  wants(k: number): boolean;
  /** New memory, shaped like input k, that must be wholly written with this node's contribution. */
  inputGradient(k: number): DeviceTensor;
  /** Says that the gradient of input k is that of output `from`, reinterpreted in input k's shape. */
  passGradient(k: number, from: number): void;
}

/** An ONNX operator (domain ai.onnx). */
export interface Operator {
  /** Shape rule, and the value where all that it needs is constant. */
  readonly infer: InferRule;
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
