/**
 * What ascent climbs, as a gradient at the layer's input. A part's response is linear in that input, so its gradient there
 * is known beforehand, for any row of weights, whether or not the network has it.
 */
import { tapsOf, type StudyLayer } from "../../relevance/study.ts";

/** Two spatial sizes. */
type Plane = readonly [number, number];

/**
 * The gradient of a row's mean response over output positions with regard to the layer's input.
 * @param row [I, K] weights over all input channels of the layer
 * @returns [I, height, width]
 */
export function responseGradient(row: Float32Array, g: StudyLayer, input: Plane, output: Plane): Float64Array {
  const taps = tapsOf(g);
  const plane = input[0] * input[1];
  const out = new Float64Array(g.inChannels * plane);
  const positions = output[0] * output[1];
  eachRead(g, input, output, (k, at) => {
    for (let i = 0; i < g.inChannels; i++)
      out[i * plane + at] = (out[i * plane + at] ?? 0) + (row[i * taps + k] ?? 0) / positions;
  });
  return out;
}

/**
 * What each weight reads, in the mean over output positions: the mean response of any row of weights is its product with it.
 * @param x [I, height, width] the layer's input
 * @returns [I, K]
 */
export function meanPatch(x: Float32Array, g: StudyLayer, input: Plane, output: Plane): Float64Array {
  const taps = tapsOf(g);
  const plane = input[0] * input[1];
  const out = new Float64Array(g.inChannels * taps);
  const positions = output[0] * output[1];
  eachRead(g, input, output, (k, at) => {
    for (let i = 0; i < g.inChannels; i++)
      out[i * taps + k] = (out[i * taps + k] ?? 0) + (x[i * plane + at] ?? 0) / positions;
  });
  return out;
}

/** Every input position that some output position reads, and with which tap. */
function eachRead(g: StudyLayer, input: Plane, output: Plane, visit: (tap: number, at: number) => void): void {
  const [height, width] = input;
  for (let k = 0; k < tapsOf(g); k++) {
    const [ky, kx] = [Math.floor(k / g.kernel[1]), k % g.kernel[1]];
    for (let oy = 0; oy < output[0]; oy++) {
      const y = oy * g.strides[0] + ky * g.dilations[0] - g.pads[0];
      if (y < 0 || y >= height) continue;
      for (let ox = 0; ox < output[1]; ox++) {
        const x = ox * g.strides[1] + kx * g.dilations[1] - g.pads[1];
        if (x >= 0 && x < width) visit(k, y * width + x);
      }
    }
  }
}

/**
 * The gradient of how alike several pictures are to the network: the sum over pairs of the cosine of their Gram matrices
 * G = X X^T (X the layer's input, channels by positions; Gatys, Ecker and Bethge 2016 compare textures so).
 * @param inputs [pictures][I, positions]
 * @returns [pictures][I, positions]; zeros for a picture without activity
 */
export function likenessGradients(inputs: readonly Float32Array[], channels: number): Float64Array[] {
  const grams = inputs.map((x) => gram(x, channels));
  const norms = grams.map((g) => Math.sqrt(g.reduce((sum, v) => sum + v * v, 0)));
  return inputs.map((x, n) => {
    const own = norms[n] ?? 0;
    const gradient = new Float64Array(channels * channels);
    grams.forEach((other, m) => {
      const norm = norms[m] ?? 0;
      if (m === n || own === 0 || norm === 0) return;
      const g = grams[n] ?? other;
      const cosine = g.reduce((sum, v, k) => sum + v * (other[k] ?? 0), 0) / (own * norm);
      for (let k = 0; k < gradient.length; k++)
        gradient[k] = (gradient[k] ?? 0) + ((other[k] ?? 0) / norm - (cosine * (g[k] ?? 0)) / own) / own;
    });
    return times(gradient, x, channels);
  });
}

/** X X^T */
function gram(x: Float32Array, channels: number): Float64Array {
  const positions = x.length / channels;
  const out = new Float64Array(channels * channels);
  for (let a = 0; a < channels; a++)
    for (let b = a; b < channels; b++) {
      let sum = 0;
      for (let p = 0; p < positions; p++) sum += (x[a * positions + p] ?? 0) * (x[b * positions + p] ?? 0);
      out[a * channels + b] = sum;
      out[b * channels + a] = sum;
    }
  return out;
}

/** 2 D X: what a gradient D with regard to X X^T is with regard to X. */
function times(d: Float64Array, x: Float32Array, channels: number): Float64Array {
  const positions = x.length / channels;
  const out = new Float64Array(x.length);
  for (let a = 0; a < channels; a++)
    for (let b = 0; b < channels; b++) {
      const w = 2 * (d[a * channels + b] ?? 0);
      if (w === 0) continue;
      for (let p = 0; p < positions; p++) {
        const at = a * positions + p;
        out[at] = (out[at] ?? 0) + w * (x[b * positions + p] ?? 0);
      }
    }
  return out;
}
