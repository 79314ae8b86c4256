/** Small random movements of a picture before each step: what survives them is no trick of single pixels. */
import type { Random } from "../random.ts";

/** From a position in the view, relative to its centre, to one in the canvas, relative to its own. */
export interface Movement {
  readonly cos: number;
  readonly sin: number;
  readonly dx: number;
  readonly dy: number;
}

export interface MovementLimits {
  /** Shift in pixels, either way. */
  readonly jitter: number;
  /** Share, either way. */
  readonly scale: number;
  /** Degrees, either way. */
  readonly rotate: number;
}

export const STILL: Movement = { cos: 1, sin: 0, dx: 0, dy: 0 };

export function randomMovement(random: Random, { jitter, scale, rotate }: MovementLimits): Movement {
  const either = (most: number): number => (2 * random.uniform() - 1) * most;
  const angle = (either(rotate) * Math.PI) / 180;
  const zoom = 1 + either(scale);
  return { cos: Math.cos(angle) * zoom, sin: Math.sin(angle) * zoom, dx: either(jitter), dy: either(jitter) };
}

interface View {
  readonly height: number;
  readonly width: number;
}

/** The four canvas pixels of each view pixel, and their weights. Beyond its edges the canvas repeats, as its spectrum has it. */
interface Reads {
  /** [height * width, 4] */
  readonly sources: Uint32Array;
  readonly weights: Float64Array;
}

function readsOf(m: Movement, size: number, { height, width }: View): Reads {
  const sources = new Uint32Array(4 * height * width);
  const weights = new Float64Array(4 * height * width);
  const wrapped = (i: number): number => ((i % size) + size) % size;
  let at = 0;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++, at += 4) {
      const u = x - (width - 1) / 2;
      const v = y - (height - 1) / 2;
      const sx = m.cos * u - m.sin * v + m.dx + (size - 1) / 2;
      const sy = m.sin * u + m.cos * v + m.dy + (size - 1) / 2;
      const x0 = Math.floor(sx);
      const y0 = Math.floor(sy);
      const fx = sx - x0;
      const fy = sy - y0;
      const [left, right] = [wrapped(x0), wrapped(x0 + 1)];
      const [above, below] = [wrapped(y0) * size, wrapped(y0 + 1) * size];
      sources[at] = above + left;
      sources[at + 1] = above + right;
      sources[at + 2] = below + left;
      sources[at + 3] = below + right;
      weights[at] = (1 - fx) * (1 - fy);
      weights[at + 1] = fx * (1 - fy);
      weights[at + 2] = (1 - fx) * fy;
      weights[at + 3] = fx * fy;
    }
  return { sources, weights };
}

/** @param canvas [3, size, size] @returns [3, height, width], bilinear */
export function sample(canvas: Float64Array, size: number, movement: Movement, view: View): Float64Array {
  const { sources, weights } = readsOf(movement, size, view);
  const [n, area] = [size * size, view.height * view.width];
  const out = new Float64Array(3 * area);
  for (let c = 0; c < 3; c++)
    for (let p = 0; p < area; p++) {
      let sum = 0;
      for (let j = 4 * p; j < 4 * p + 4; j++) sum += (weights[j] ?? 0) * (canvas[c * n + (sources[j] ?? 0)] ?? 0);
      out[c * area + p] = sum;
    }
  return out;
}

/** The transpose of `sample`. @param gradient [3, height, width] @returns [3, size, size] */
export function sampleGradient(gradient: Float64Array, size: number, movement: Movement, view: View): Float64Array {
  const { sources, weights } = readsOf(movement, size, view);
  const [n, area] = [size * size, view.height * view.width];
  const out = new Float64Array(3 * n);
  for (let c = 0; c < 3; c++)
    for (let p = 0; p < area; p++) {
      const g = gradient[c * area + p] ?? 0;
      for (let j = 4 * p; j < 4 * p + 4; j++) {
        const at = c * n + (sources[j] ?? 0);
        out[at] = (out[at] ?? 0) + (weights[j] ?? 0) * g;
      }
    }
  return out;
}
