/** Shapes and attributes of Conv and ConvTranspose: rows for the test of every variant. */
import type { ConvAttributes } from "../reference/conv.ts";

export interface Case {
  readonly title: string;
  readonly x: readonly number[];
  readonly w: readonly number[];
  readonly bias?: boolean;
  readonly attributes?: ConvAttributes;
}

export const convCases: readonly Case[] = [
  { title: "1x1, 16 to 16 channels", x: [1, 16, 5, 7], w: [16, 16, 1, 1], bias: true },
  { title: "1x1, stride 2, 15 to 31 channels", x: [2, 15, 7, 6], w: [31, 15, 1, 1], attributes: { strides: [2, 2] } },
  {
    title: "3x3, pad 1, 5 to 17 channels",
    x: [2, 5, 9, 7],
    w: [17, 5, 3, 3],
    bias: true,
    attributes: { pads: [1, 1, 1, 1] },
  },
  { title: "3x3, no padding, 4 to 8 channels, batch 5", x: [5, 4, 5, 6], w: [8, 4, 3, 3], bias: true },
  {
    title: "3x3/2, uneven pads, 8 to 9 channels",
    x: [1, 8, 8, 9],
    w: [9, 8, 3, 3],
    attributes: { strides: [2, 2], pads: [0, 1, 2, 1] },
  },
  {
    title: "5x5, strides 2 and 1, dilation 2, uneven pads",
    x: [1, 3, 13, 12],
    w: [20, 3, 5, 5],
    bias: true,
    attributes: { strides: [2, 1], dilations: [1, 2], pads: [3, 0, 1, 4] },
  },
  {
    title: "7x7/2, ResNet's stem in small",
    x: [2, 3, 15, 13],
    w: [16, 3, 7, 7],
    attributes: { strides: [2, 2], pads: [3, 3, 3, 3] },
  },
  {
    title: "2x2 and even strides that leave a rest",
    x: [1, 4, 9, 10],
    w: [12, 4, 2, 2],
    bias: true,
    attributes: { strides: [2, 3] },
  },
  {
    title: "3x1, dilations 2 and 3",
    x: [1, 6, 9, 5],
    w: [18, 6, 3, 1],
    attributes: { dilations: [2, 3], pads: [2, 0, 2, 0] },
  },
  {
    title: "stride larger than the kernel, dilated",
    x: [1, 5, 12, 11],
    w: [8, 5, 2, 2],
    bias: true,
    attributes: { strides: [4, 3], dilations: [2, 1], pads: [1, 0, 0, 1] },
  },
  { title: "kernel larger than the image", x: [2, 4, 2, 3], w: [8, 4, 5, 5], attributes: { pads: [2, 2, 2, 2] } },
  { title: "one input, one output channel", x: [2, 1, 6, 5], w: [1, 1, 3, 3], bias: true },
  { title: "few outputs, 7", x: [1, 9, 6, 5], w: [7, 9, 3, 3], bias: true, attributes: { pads: [1, 1, 1, 1] } },
  {
    title: "SAME_UPPER, 4x2/3",
    x: [1, 3, 7, 8],
    w: [8, 3, 4, 2],
    bias: true,
    attributes: { strides: [2, 3], auto_pad: "SAME_UPPER" },
  },
  {
    title: "SAME_LOWER, 4x2/3",
    x: [1, 3, 7, 8],
    w: [8, 3, 4, 2],
    attributes: { strides: [2, 3], auto_pad: "SAME_LOWER" },
  },
  {
    title: "SAME_LOWER, dilated",
    x: [1, 3, 7, 8],
    w: [8, 3, 2, 3],
    attributes: { dilations: [3, 2], auto_pad: "SAME_LOWER" },
  },
  { title: "VALID", x: [1, 3, 7, 8], w: [8, 3, 3, 3], attributes: { strides: [2, 1], auto_pad: "VALID" } },
  {
    title: "2 groups of 17 outputs",
    x: [2, 10, 6, 5],
    w: [34, 5, 3, 3],
    bias: true,
    attributes: { group: 2, pads: [1, 1, 1, 1] },
  },
  {
    title: "4 groups of 8 outputs, stride 2",
    x: [1, 16, 7, 6],
    w: [32, 4, 3, 3],
    attributes: { group: 4, strides: [2, 2], pads: [1, 1, 1, 1] },
  },
  {
    title: "3 groups of 2 outputs",
    x: [2, 9, 5, 6],
    w: [6, 3, 3, 2],
    bias: true,
    attributes: { group: 3, pads: [1, 0, 1, 1] },
  },
  {
    title: "depthwise, stride 2",
    x: [2, 9, 8, 7],
    w: [9, 1, 3, 3],
    bias: true,
    attributes: { group: 9, strides: [2, 2], pads: [1, 1, 1, 1] },
  },
  {
    title: "depthwise in fours, 3x3",
    x: [2, 12, 7, 9],
    w: [12, 1, 3, 3],
    bias: true,
    attributes: { group: 12, pads: [1, 1, 1, 1] },
  },
  {
    title: "depthwise in fours, 5x3/2, dilated, uneven pads",
    x: [1, 8, 11, 10],
    w: [8, 1, 5, 3],
    attributes: { group: 8, strides: [2, 2], dilations: [1, 2], pads: [2, 1, 0, 2] },
  },
  { title: "1x1, 24 to 100 channels, batch 2", x: [2, 24, 5, 7], w: [100, 24, 1, 1], bias: true },
  { title: "1x1, 8 to 3 channels, one pixel", x: [3, 8, 1, 1], w: [3, 8, 1, 1], bias: true },
  {
    title: "8 groups of 4 outputs, ResNeXt's",
    x: [2, 32, 6, 5],
    w: [32, 4, 3, 3],
    bias: true,
    attributes: { group: 8, pads: [1, 1, 1, 1] },
  },
  {
    title: "depthwise with 16 outputs a channel",
    x: [1, 3, 6, 7],
    w: [48, 1, 3, 3],
    bias: true,
    attributes: { group: 3, pads: [1, 1, 1, 1] },
  },
  {
    title: "1-D, 5 taps, stride 2",
    x: [5, 6, 19],
    w: [16, 6, 5],
    bias: true,
    attributes: { strides: [2], pads: [1, 3] },
  },
  {
    title: "1-D, grouped, dilated",
    x: [2, 8, 17],
    w: [20, 4, 3],
    attributes: { group: 2, dilations: [3], pads: [3, 3] },
  },
];

export const transposeCases: readonly Case[] = [
  { title: "1x1", x: [1, 16, 4, 5], w: [16, 16, 1, 1], bias: true },
  { title: "3x3, 5 to 17 channels", x: [2, 5, 4, 3], w: [5, 17, 3, 3], bias: true },
  { title: "3x3, pad 1", x: [1, 8, 5, 4], w: [8, 9, 3, 3], attributes: { pads: [1, 1, 1, 1] } },
  {
    title: "U-Net's 2x2/2",
    x: [2, 12, 4, 3],
    w: [12, 8, 2, 2],
    bias: true,
    attributes: { strides: [2, 2] },
  },
  {
    title: "4x4/2, pad 1, DCGAN's",
    x: [1, 6, 4, 5],
    w: [6, 16, 4, 4],
    attributes: { strides: [2, 2], pads: [1, 1, 1, 1] },
  },
  {
    title: "3x3, strides 3 and 2, output_padding, uneven pads",
    x: [1, 4, 4, 5],
    w: [4, 10, 3, 3],
    bias: true,
    attributes: { strides: [3, 2], output_padding: [2, 1], pads: [1, 0, 0, 2] },
  },
  {
    title: "stride larger than the kernel: outputs that nothing reaches",
    x: [1, 3, 3, 3],
    w: [3, 9, 2, 2],
    bias: true,
    attributes: { strides: [4, 3] },
  },
  { title: "dilated", x: [2, 3, 4, 5], w: [3, 8, 3, 2], attributes: { dilations: [2, 3], strides: [1, 2] } },
  {
    title: "dilated, stride 1, padded",
    x: [1, 8, 5, 6],
    w: [8, 16, 3, 3],
    attributes: { dilations: [2, 1], pads: [2, 1, 1, 0] },
  },
  {
    title: "stride 1, pads larger than the kernel reaches",
    x: [1, 8, 7, 6],
    w: [8, 8, 2, 2],
    attributes: { pads: [2, 2, 1, 2] },
  },
  {
    title: "output_shape, odd rest",
    x: [1, 3, 4, 5],
    w: [3, 8, 4, 3],
    bias: true,
    attributes: { strides: [3, 2], output_shape: [12, 10] },
  },
  {
    title: "output_shape larger than what is reached",
    x: [1, 3, 3, 3],
    w: [3, 8, 3, 3],
    attributes: { strides: [3, 2], output_shape: [10, 8] },
  },
  {
    title: "SAME_UPPER",
    x: [1, 3, 4, 5],
    w: [3, 8, 4, 3],
    bias: true,
    attributes: { strides: [3, 2], auto_pad: "SAME_UPPER" },
  },
  { title: "SAME_LOWER", x: [1, 3, 4, 5], w: [3, 8, 4, 3], attributes: { strides: [3, 2], auto_pad: "SAME_LOWER" } },
  { title: "VALID", x: [1, 3, 4, 5], w: [3, 8, 4, 3], attributes: { strides: [3, 2], auto_pad: "VALID" } },
  {
    title: "2 groups of 16 outputs",
    x: [2, 6, 4, 3],
    w: [6, 16, 3, 3],
    bias: true,
    attributes: { group: 2, strides: [2, 2], pads: [1, 1, 1, 1] },
  },
  { title: "depthwise", x: [2, 5, 4, 3], w: [5, 1, 3, 3], bias: true, attributes: { group: 5, strides: [2, 1] } },
  {
    title: "1-D",
    x: [5, 6, 7],
    w: [6, 16, 4],
    bias: true,
    attributes: { strides: [2], pads: [1, 2], output_padding: [1] },
  },
  { title: "1-D, grouped", x: [1, 8, 6], w: [8, 8, 3], attributes: { group: 2, dilations: [2] } },
];
