/** What the tfjs peer knows of a node before it runs, and how its constants, windows and layouts become those of tfjs. */
import { elementsOf, type GraphNode, type HostTensor } from "../../graph/graph.ts";
import { intAttr, nodeLabel } from "../../kernels/attributes.ts";
import { extent, resolveSpatial } from "../../kernels/spatial.ts";
import type { Activation, Padding, Pair, Tensor, Tf } from "./tfjs-api.ts";

export interface Site {
  readonly tf: Tf;
  readonly node: GraphNode;
  /** What is done to its output at once. */
  readonly activation?: Activation | undefined;
  /** ONNX's shape of input k. */
  shape(k: number): readonly number[];
  /** Input k where it does not depend on the network's inputs. */
  constant(k: number): HostTensor | undefined;
  readonly output: readonly number[];
}

export const TO_LAST = [0, 2, 3, 1];
const TO_FIRST = [0, 3, 1, 2];

export const channelsFirst = (tf: Tf, x: Tensor): Tensor => (x.shape.length === 4 ? tf.transpose(x, TO_FIRST) : x);

export const refusal = ({ node }: Site, why: string): Error =>
  new Error(`the tfjs peer has no ${nodeLabel(node)}: ${why}`);

/** @param arrange what is done to it once, before any run */
export function upload(at: Site, value: HostTensor, arrange: (x: Tensor) => Tensor = (x) => x): Tensor {
  const data = elementsOf(value);
  if (!(data instanceof Float32Array)) throw refusal(at, `its constant holds ${value.type} numbers`);
  return at.tf.tidy(() => arrange(at.tf.tensor(data, value.shape)));
}

export function constant(at: Site, k: number): HostTensor {
  const value = at.constant(k);
  if (value === undefined) throw refusal(at, `input ${k} is not constant`);
  return value;
}

/** An operand that is constant, laid out for the output's rank; undefined for one that is computed. */
export function operand(at: Site, k: number): Tensor | undefined {
  const value = at.constant(k);
  const rank = at.output.length;
  if (value === undefined) {
    if (at.shape(k).length !== rank) throw refusal(at, `input ${k} has another rank than the output`);
    return undefined;
  }
  const { shape } = value;
  if (rank !== 4 || shape.length === 0) return upload(at, value);
  const whole = [...new Array<number>(4 - shape.length).fill(1), ...shape];
  return upload(at, value, (x) => at.tf.transpose(at.tf.reshape(x, whole), TO_LAST));
}

interface Window {
  readonly kernel: Pair;
  readonly strides: Pair;
  readonly dilations: Pair;
  readonly pad: Padding;
}

const pair = ([a = 1, b = 1]: readonly number[]): Pair => [a, b];

/** tfjs takes uneven pads, and rounds sizes down: for ceil_mode the end is padded by what the last window lacks. */
export function windowOf(at: Site, kernel: readonly number[]): Window {
  const spatial = at.shape(0).slice(2);
  if (spatial.length !== 2) throw refusal(at, `it has ${spatial.length} spatial axes, and only 2 are mapped`);
  const ceilMode = intAttr(at.node, "ceil_mode", 0) !== 0;
  const { strides, dilations, padsBegin, padsEnd, output } = resolveSpatial(at.node, spatial, kernel, { ceilMode });
  const ends = spatial.map((size, k): Pair => {
    const begin = padsBegin[k] ?? 0;
    const span = extent(kernel[k] ?? 1, dilations[k] ?? 1);
    const reached = ((output[k] ?? 1) - 1) * (strides[k] ?? 1) + span - size - begin;
    return [begin, Math.max(padsEnd[k] ?? 0, reached)];
  });
  const pad: Padding = [[0, 0], ...ends, [0, 0]];
  return { kernel: pair(kernel), strides: pair(strides), dilations: pair(dilations), pad };
}
