/**
 * What the tfjs peer uses of @tensorflow/tfjs-core 4.22. The package is not among ours: who wants the comparison installs
 * it, and nothing else may need its types.
 */
export const TFJS_CORE = "@tensorflow/tfjs-core";
export const TFJS_WEBGPU = "@tensorflow/tfjs-backend-webgpu";
export const TFJS_INSTALL = `npm install --no-save ${TFJS_CORE}@4.22.0 ${TFJS_WEBGPU}@4.22.0`;

export interface Tensor {
  readonly shape: readonly number[];
  data(): Promise<Float32Array>;
  dispose(): void;
}

/** Begin and end of each axis of [N, H, W, C]. */
export type Padding = readonly (readonly [number, number])[];

export type Pair = readonly [number, number];

export type Activation = "relu" | "relu6";

export interface ConvOptions {
  readonly x: Tensor;
  readonly filter: Tensor;
  readonly strides: Pair;
  readonly pad: Padding;
  readonly dilations: Pair;
  readonly bias?: Tensor | undefined;
  readonly activation?: Activation | undefined;
}

type Pool = (x: Tensor, kernel: Pair, strides: Pair, pad: Padding) => Tensor;
type Unary = (x: Tensor) => Tensor;
type Binary = (a: Tensor, b: Tensor) => Tensor;

export interface Tf {
  setBackend(name: string): Promise<boolean>;
  tidy<T extends Tensor | readonly Tensor[]>(compute: () => T): T;
  tensor(values: Float32Array, shape: readonly number[]): Tensor;
  readonly add: Binary;
  readonly avgPool: Pool;
  batchNorm(x: Tensor, mean: Tensor, variance: Tensor, offset: Tensor, scale: Tensor, epsilon: number): Tensor;
  clipByValue(x: Tensor, low: number, high: number): Tensor;
  readonly clone: Unary;
  concat(parts: readonly Tensor[], axis: number): Tensor;
  readonly maxPool: Pool;
  mean(x: Tensor, axes: readonly number[], keepDims: boolean): Tensor;
  readonly mul: Binary;
  readonly relu: Unary;
  readonly relu6: Unary;
  reshape(x: Tensor, shape: readonly number[]): Tensor;
  readonly sigmoid: Unary;
  transpose(x: Tensor, axes: readonly number[]): Tensor;
  readonly fused: {
    readonly conv2d: (options: ConvOptions) => Tensor;
    readonly depthwiseConv2d: (options: ConvOptions) => Tensor;
    matMul(options: {
      readonly a: Tensor;
      readonly b: Tensor;
      readonly bias?: Tensor | undefined;
      readonly activation?: Activation | undefined;
    }): Tensor;
  };
}
