/** A picture under ascent: three decorrelated planes of spectra, to RGB between 0 and 1, and gradients back. */
import type { Random } from "../random.ts";
import type { FourierPlane } from "./fourier.ts";

/**
 * Natural colours vary together: most in brightness, less from blue to yellow, least from green to magenta (Ruderman,
 * Cronin and Chiao, "Statistics of cone responses to natural images", JOSA A 15(8), 1998). Columns are these axes, of lengths
 * that fall as their standard deviations do; ascent along them finds colours as in photographs. Rows: red, green, blue.
 */
const AXES = [
  [0.577, 0.212, 0.061],
  [0.577, 0, -0.122],
  [0.577, -0.212, 0.061],
] as const;

/** Contrast at the start: standard deviation of the logits before they are squeezed into 0..1. */
const START = 0.05;

export class Canvas {
  readonly plane: FourierPlane;
  /** [3][2, size, size] */
  readonly parameters: Float64Array;
  /** [3, size, size] of the last `draw`, kept for `gradient`. */
  #rgb = new Float64Array(0);

  /** @param plane may be shared by canvases of one size */
  constructor(plane: FourierPlane, random: Random) {
    this.plane = plane;
    // The real part of a complex spectrum keeps half the power.
    this.parameters = Float64Array.from({ length: 3 * plane.parameters }, () => START * Math.SQRT2 * random.normal());
  }

  /** [3, size, size] red, green and blue planes, 0 to 1. */
  draw(): Float64Array {
    const n = this.plane.size ** 2;
    const each = this.plane.parameters;
    const axes = [0, 1, 2].map((a) => this.plane.pixels(this.parameters.subarray(a * each, (a + 1) * each)));
    const rgb = new Float64Array(3 * n);
    AXES.forEach((row, c) => {
      for (let k = 0; k < n; k++) {
        let sum = 0;
        for (let a = 0; a < 3; a++) sum += (row[a] ?? 0) * (axes[a]?.[k] ?? 0);
        // 1 / sd of brightness, so that START means what it says.
        rgb[c * n + k] = 1 / (1 + Math.exp(-sum * Math.sqrt(3)));
      }
    });
    this.#rgb = rgb;
    return rgb;
  }

  /** The gradient with regard to `parameters`. @param rgb [3, size, size] that with regard to what `draw` gave last */
  gradient(rgb: Float64Array): Float64Array {
    const n = this.plane.size ** 2;
    const each = this.plane.parameters;
    const logits = rgb.map((g, k) => {
      const v = this.#rgb[k] ?? 0;
      return g * v * (1 - v) * Math.sqrt(3);
    });
    const out = new Float64Array(3 * each);
    for (let a = 0; a < 3; a++) {
      const axis = new Float64Array(n);
      AXES.forEach((row, c) => {
        const weight = row[a] ?? 0;
        for (let k = 0; k < n; k++) axis[k] = (axis[k] ?? 0) + weight * (logits[c * n + k] ?? 0);
      });
      out.set(this.plane.gradient(axis), a * each);
    }
    return out;
  }
}
