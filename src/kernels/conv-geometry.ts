/** What the variants of convolution share: the geometry they compute, and what they are given. */
import type { DeviceTensor, Lowering } from "./operator.ts";

/** Geometry of one convolution as the kernels see it: always two spatial axes, groups explicit. */
export interface ConvGeometry {
  readonly batch: number;
  readonly groups: number;
  /** Input channels of one group. */
  readonly channels: number;
  /** Output channels of one group. */
  readonly outputs: number;
  readonly input: readonly [number, number];
  readonly output: readonly [number, number];
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  readonly dilations: readonly [number, number];
  /** Top and left. */
  readonly pads: readonly [number, number];
  /** Gathers where input = (output + pad - d k) / s is whole: Conv's input gradient, ConvTranspose's forward. */
  readonly transposed: boolean;
}

/** Output channels and pixels that a lane computes, and lanes a workgroup, in conv.wgsl. */
export const TILE = 16;
export const PIXELS = 4;
/** One subgroup on lavapipe; larger groups gain nothing on software adapters. */
export const WORKGROUP = 8;

/** Output channels of one group, padded to whole tiles. */
export const paddedOutputs = (g: ConvGeometry): number => Math.ceil(g.outputs / TILE) * TILE;

/** What convolutions need of a lowering. */
export type ConvTarget = Pick<Lowering, "dispatch" | "scratch" | "subgroups" | "workgroupBytes">;

export interface ConvOperands {
  readonly input: DeviceTensor;
  readonly bias?: DeviceTensor | undefined;
  readonly output: DeviceTensor;
  readonly label: string;
}
