/** A small layer whose patches are drawn at random: moments as they are summed, and the patches themselves. */
import { MomentSums, type GroupMoments } from "../../src/channels/moments.ts";
import type { StudyLayer } from "../../src/relevance/study.ts";
import { Random } from "../support/random.ts";

export const TAPS = 2;
export const INPUTS = 4;
export const SIZE = TAPS * INPUTS;
export const CHANNELS = 7;
export const POSITIONS = 3;
/** Images of each of four classes. */
export const COUNTS = [9, 7, 8, 6];

export interface AdditiveCase {
  readonly layer: StudyLayer;
  readonly moments: GroupMoments;
  /** [C][D] */
  readonly filters: readonly Float64Array[];
  /** [T][images][P][D] */
  readonly patches: readonly (readonly (readonly number[])[])[][];
}

export function additiveCase(seed = 5, kept: readonly number[] = [0, 1, 2, 3]): AdditiveCase {
  const random = new Random(seed);
  const filters = Array.from({ length: CHANNELS }, () => Float64Array.from({ length: SIZE }, () => random.normal()));
  const means = COUNTS.map(() => Array.from({ length: SIZE }, () => 2 * random.normal()));
  // Patches are float32 as the GPU would give them; their sums here are of few terms, and exact enough for 1e-5.
  const patches = COUNTS.map((n, t) =>
    Array.from({ length: n }, () => {
      const image = Array.from({ length: SIZE }, () => random.normal());
      return Array.from({ length: POSITIONS }, () =>
        Array.from({ length: SIZE }, (_, j) => Math.fround((means[t]?.[j] ?? 0) + (image[j] ?? 0) + random.normal())),
      );
    }),
  );
  const layer: StudyLayer = {
    ...{ name: "layer", nodeName: "conv", output: "z", kernel: [1, TAPS], strides: [1, 1], dilations: [1, 1] },
    ...{ pads: [0, 0, 0, 0], groups: 1, inChannels: INPUTS, outChannels: CHANNELS, hasBias: false },
    weights: Float32Array.from(filters.flatMap((f) => Array.from(f))),
    sign: new Int8Array(CHANNELS).fill(1),
  };
  const sums = new MomentSums({ layer, positions: POSITIONS, classes: COUNTS.length, kept });
  patches.forEach((images, t) => {
    const tapSums = images.map((p) => Array.from({ length: SIZE }, (_, j) => p.reduce((s, x) => s + (x[j] ?? 0), 0)));
    const second = (rows: readonly (readonly number[])[]): Float32Array =>
      Float32Array.from({ length: SIZE * SIZE }, (_, at) =>
        rows.reduce((s, x) => s + (x[Math.floor(at / SIZE)] ?? 0) * (x[at % SIZE] ?? 0), 0),
      );
    sums.add(t, {
      images: images.length,
      tapSums: Float32Array.from(tapSums.flat()),
      groups: [{ patches: second(images.flat()), images: second(tapSums) }],
    });
  });
  return { layer, moments: sums.group(0), filters, patches };
}
