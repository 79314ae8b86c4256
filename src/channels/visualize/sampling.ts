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

/** Visits the four canvas pixels and weights of each view pixel. Beyond its edges the canvas repeats, as its spectrum has it. */
function each(
  m: Movement,
  size: number,
  view: { readonly height: number; readonly width: number },
  visit: (target: number, source: number, weight: number) => void,
): void {
  for (let y = 0; y < view.height; y++)
    for (let x = 0; x < view.width; x++) {
      const [u, v] = [x - (view.width - 1) / 2, y - (view.height - 1) / 2];
      const sx = m.cos * u - m.sin * v + m.dx + (size - 1) / 2;
      const sy = m.sin * u + m.cos * v + m.dy + (size - 1) / 2;
      const [x0, y0] = [Math.floor(sx), Math.floor(sy)];
      const [fx, fy] = [sx - x0, sy - y0];
      const at = (i: number, j: number): number => (((j % size) + size) % size) * size + (((i % size) + size) % size);
      const target = y * view.width + x;
      visit(target, at(x0, y0), (1 - fx) * (1 - fy));
      visit(target, at(x0 + 1, y0), fx * (1 - fy));
      visit(target, at(x0, y0 + 1), (1 - fx) * fy);
      visit(target, at(x0 + 1, y0 + 1), fx * fy);
    }
}

/** @param canvas [3, size, size] @returns [3, height, width], bilinear */
export function sample(
  canvas: Float64Array,
  size: number,
  movement: Movement,
  view: { readonly height: number; readonly width: number },
): Float64Array {
  const [n, area] = [size * size, view.height * view.width];
  const out = new Float64Array(3 * area);
  each(movement, size, view, (target, source, weight) => {
    for (let c = 0; c < 3; c++)
      out[c * area + target] = (out[c * area + target] ?? 0) + weight * (canvas[c * n + source] ?? 0);
  });
  return out;
}

/** The transpose of `sample`. @param view gradient [3, height, width] @returns [3, size, size] */
export function sampleGradient(
  gradient: Float64Array,
  size: number,
  movement: Movement,
  view: { readonly height: number; readonly width: number },
): Float64Array {
  const [n, area] = [size * size, view.height * view.width];
  const out = new Float64Array(3 * n);
  each(movement, size, view, (target, source, weight) => {
    for (let c = 0; c < 3; c++)
      out[c * n + source] = (out[c * n + source] ?? 0) + weight * (gradient[c * area + target] ?? 0);
  });
  return out;
}
