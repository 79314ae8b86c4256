/** The network as typed data: values by name, nodes in topological order, constants on the host. */

export type ElementType = "float32" | "int64" | "bool";

/** A tensor on the host. Integers and booleans are JavaScript numbers (exact to 2^53). */
export interface HostTensor {
  readonly type: ElementType;
  readonly shape: readonly number[];
  /** Float32Array for float32, Float64Array for int64 and bool. Row-major. */
  readonly data: Elements;
  /** Where `data` is read or computed when it is asked for (see lazyTensor): the same, and nothing keeps it. */
  readonly load?: () => Elements;
  /** Where a part can be had alone: `count` elements from `start` on. */
  readonly part?: (start: number, count: number) => Elements;
}

export type Elements = Float32Array | Float64Array;

/** The elements for one use, after which their memory may go. */
export const elementsOf = (tensor: HostTensor): Elements => tensor.load?.() ?? tensor.data;

export type AttributeValue = number | string | readonly number[] | readonly string[] | HostTensor;

export interface GraphNode {
  /** Unique; made from the op type and position where the file gives none. */
  readonly name: string;
  readonly opType: string;
  /** "" where an optional input is left out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: ReadonlyMap<string, AttributeValue>;
  /** Of an If, whose inputs are the condition and then all that its branches read from outside. */
  readonly branches?: Branches;
  /** Name of the If in whose branch the file has this node. */
  readonly inside?: string;
}

/** What an If stands for: nodes that end in its outputs. Names in them are those of no other values or nodes. */
export interface Branches {
  readonly then: readonly GraphNode[];
  readonly else: readonly GraphNode[];
}

export interface GraphInput {
  readonly name: string;
  readonly type: ElementType;
  /** null: any size (a symbol in the file). undefined: any rank. */
  readonly shape: readonly (number | null)[] | undefined;
}

/** A network whose nodes stand in topological order. Immutable: passes return new graphs. */
export interface Graph {
  readonly opset: number;
  readonly nodes: readonly GraphNode[];
  /** Those of branches too. */
  readonly constants: ReadonlyMap<string, HostTensor>;
  readonly inputs: readonly GraphInput[];
  readonly outputs: readonly string[];
}

/** What is known of a value: its type and shape, and its elements where they do not depend on the graph's inputs. */
export interface ValueInfo {
  readonly type: ElementType;
  readonly shape: readonly number[];
  readonly value?: HostTensor;
}

/** Every value of a graph whose input shapes are known. */
export interface ShapedGraph extends Graph {
  /** The constants that the file holds, before any was computed. */
  readonly stored: ReadonlyMap<string, HostTensor>;
  readonly values: ReadonlyMap<string, ValueInfo>;
}

/**
 * The rule of one operator that graph passes need. Kernels implement it; passes receive a table of them, so that this
 * folder knows no operator.
 * @returns one entry an output; with `value` where the operator could be computed on the host from constant inputs
 * @throws UnbraidError for wrong ranks, sizes, types or attributes, naming the node and the numbers
 */
export type InferRule = (node: GraphNode, inputs: readonly (ValueInfo | undefined)[], opset: number) => ValueInfo[];

export const sizeOf = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);
