/** What the page computes, free of the DOM: sets, parts and their responses for any rho, from embedded contributions. */
import { sourceSets, type SourceSets } from "../../channels/sets.ts";
import type { Interactive } from "../data.ts";

export interface PartResponses {
  /** [n] sum over positions of the channel's output, before bias. */
  readonly whole: Float64Array;
  /** [K][n] the same of each part. */
  readonly parts: readonly Float64Array[];
  /** [n] what the parts hold too often. */
  readonly residual: Float64Array;
}

/** A source channel that the network figure shows. */
export interface Source {
  readonly input: number;
  /** The concept that it serves alone, or "shared". */
  readonly serves: number | "shared";
}

/** Little-endian float32 out of base64. */
export function decodeFloats(base64: string): Float32Array {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length >> 2 }, (_, k) => view.getFloat32(4 * k, true));
}

export class ChannelModel {
  readonly data: Interactive;
  /** [K][inputs] */
  readonly arvs: readonly Float64Array[];
  readonly #contributions: Float32Array;

  constructor(data: Interactive) {
    this.data = data;
    const flat = decodeFloats(data.arvs);
    this.arvs = data.concepts.map((_, k) => Float64Array.from(flat.subarray(k * data.inputs, (k + 1) * data.inputs)));
    this.#contributions = decodeFloats(data.contributions);
  }

  get images(): number {
    return this.data.concept.length;
  }

  /** [inputs] what each input channel adds to the channel's output on an image. */
  contributions(image: number): Float32Array {
    return this.#contributions.subarray(image * this.data.inputs, (image + 1) * this.data.inputs);
  }

  sets(rho: number): SourceSets {
    return sourceSets(this.arvs, rho, "symmetric");
  }

  responses(sets: SourceSets): PartResponses {
    const concepts = this.data.concepts.length;
    const whole = new Float64Array(this.images);
    const parts = this.data.concepts.map(() => new Float64Array(this.images));
    const residual = new Float64Array(this.images);
    for (let n = 0; n < this.images; n++)
      this.contributions(n).forEach((r, i) => {
        const set = sets[i] ?? 0;
        let served = 0;
        for (let k = 0; k < concepts; k++) {
          const part = parts[k];
          if (((set >>> k) & 1) === 0 || part === undefined) continue;
          part[n] = (part[n] ?? 0) + r;
          served++;
        }
        whole[n] = (whole[n] ?? 0) + r;
        residual[n] = (residual[n] ?? 0) + (served - 1) * r;
      });
    return { whole, parts, residual };
  }

  /** The strongest source channels: `each` of every concept's own, and as many of the shared ones. */
  sources(sets: SourceSets, each = 4): Source[] {
    const strength = (i: number): number => Math.max(...this.arvs.map((v) => Math.abs(v[i] ?? 0)));
    const strongest = (serves: Source["serves"], members: readonly number[]): Source[] =>
      members
        .toSorted((a, b) => strength(b) - strength(a))
        .slice(0, each)
        .map((input) => ({ input, serves }));
    const all = [...sets.keys()];
    const own = this.data.concepts.flatMap((_, k) =>
      strongest(
        k,
        all.filter((i) => sets[i] === 1 << k),
      ),
    );
    const shared = all.filter((i) => {
      const set = sets[i] ?? 0;
      return (set & (set - 1)) !== 0;
    });
    return [...own, ...strongest("shared", shared)];
  }

  /** The embedded picture to which a source channel contributes most, or -1. */
  pictureOf(input: number): number {
    let best = -1;
    let most = -Infinity;
    this.data.picture.forEach((picture, n) => {
      const r = Math.abs(this.contributions(n)[input] ?? 0);
      if (picture >= 0 && r > most) [best, most] = [picture, r];
    });
    return best;
  }

  /** Images of a concept, as positions. */
  imagesOf(concept: number): number[] {
    return this.data.concept.flatMap((k, n) => (k === concept ? [n] : []));
  }
}
