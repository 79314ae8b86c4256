/** What the page computes, free of the DOM: sets, parts and their responses for any rho, from embedded contributions. */
import { sourceSets, type SourceSets } from "../../channels/sets.ts";
import { Random } from "../../channels/random.ts";
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

function viewOf(base64: string): DataView {
  return new DataView(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer);
}

/** Little-endian float32 out of base64. */
export function decodeFloats(base64: string): Float32Array {
  const view = viewOf(base64);
  return Float32Array.from({ length: view.byteLength >> 2 }, (_, k) => view.getFloat32(4 * k, true));
}

/** Little-endian float64 out of base64. */
export function decodeDoubles(base64: string): Float64Array {
  const view = viewOf(base64);
  return Float64Array.from({ length: view.byteLength >> 3 }, (_, k) => view.getFloat64(8 * k, true));
}

export class ChannelModel {
  readonly data: Interactive;
  /** [K][inputs] */
  readonly arvs: readonly Float64Array[];
  readonly #contributions: Float32Array;
  /** [K] of parts that hold any weights. */
  readonly #parts: readonly Float32Array[] | undefined;

  constructor(data: Interactive) {
    this.data = data;
    const flat = decodeDoubles(data.arvs);
    this.arvs = data.concepts.map((_, k) => flat.subarray(k * data.inputs, (k + 1) * data.inputs));
    this.#contributions = decodeFloats(data.contributions);
    this.#parts = data.parts?.map(decodeFloats);
  }

  get images(): number {
    return this.data.concept.length;
  }

  /** [inputs] what each input channel adds to the channel's output on an image. */
  contributions(image: number): Float32Array {
    return this.#contributions.subarray(image * this.data.inputs, (image + 1) * this.data.inputs);
  }

  /** Whether there is a rho to move: source sets that follow from relevance vectors. */
  get movable(): boolean {
    return this.data.rho !== undefined;
  }

  /**
   * @param rho undefined for the sets of the file: of parts of any weights each input counts for the part to which it adds
   * most, so that the figure can colour it
   */
  sets(rho: number | undefined): SourceSets {
    const { data } = this;
    if (rho !== undefined && this.movable)
      return sourceSets(this.arvs, rho, data.rule === "official" ? "official" : "symmetric");
    if (data.sets !== undefined) return Uint32Array.from(data.sets);
    return Uint32Array.from({ length: data.inputs }, (_, i) => {
      const adds = data.concepts.map((__, k) => {
        const own = this.imagesOf(k);
        return own.reduce((sum, n) => sum + Math.abs(this.#partOf(k, n)[i] ?? 0), 0) / Math.max(1, own.length);
      });
      return 1 << adds.indexOf(Math.max(...adds));
    });
  }

  #partOf(k: number, image: number): Float32Array {
    return this.#parts?.[k]?.subarray(image * this.data.inputs, (image + 1) * this.data.inputs) ?? new Float32Array(0);
  }

  /** What an input adds to part k on an image. */
  flow(sets: SourceSets, k: number, image: number, input: number): number {
    if (this.#parts !== undefined) return this.#partOf(k, image)[input] ?? 0;
    return (((sets[input] ?? 0) >>> k) & 1) === 0 ? 0 : (this.contributions(image)[input] ?? 0);
  }

  responses(sets: SourceSets): PartResponses {
    const whole = new Float64Array(this.images);
    const parts = this.data.concepts.map(() => new Float64Array(this.images));
    const residual = new Float64Array(this.images);
    for (let n = 0; n < this.images; n++) {
      this.contributions(n).forEach((r, i) => {
        whole[n] = (whole[n] ?? 0) + r;
        for (const [k, part] of parts.entries()) part[n] = (part[n] ?? 0) + this.flow(sets, k, n, i);
      });
      residual[n] = parts.reduce((sum, part) => sum + (part[n] ?? 0), 0) - (whole[n] ?? 0);
    }
    return { whole, parts, residual };
  }

  /**
   * Responses of random parts of the same sizes: what serves each concept is drawn among the inputs, always the same way. (Of
   * parts of any weights, which part gets which of an input's pieces.)
   * @returns [draws][K][n]
   */
  randomPartitions(sets: SourceSets, draws: number): Float64Array[][] {
    const random = new Random(1);
    const { inputs, concepts } = this.data;
    return Array.from({ length: draws }, () => {
      const order = random.permutation(inputs);
      const pieces = this.#parts === undefined ? 0 : inputs;
      const roles = Array.from({ length: pieces }, () => random.permutation(concepts.length));
      return concepts.map((_, k) =>
        Float64Array.from({ length: this.images }, (__, n) => {
          const whole = this.contributions(n);
          let sum = 0;
          for (let i = 0; i < inputs; i++) {
            if (this.#parts !== undefined) sum += this.#partOf(roles[i]?.[k] ?? k, n)[i] ?? 0;
            else if ((((sets[order[i] ?? 0] ?? 0) >>> k) & 1) === 1) sum += whole[i] ?? 0;
          }
          return sum;
        }),
      );
    });
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
    return this.strongest((n) => Math.abs(this.contributions(n)[input] ?? 0));
  }

  /** The embedded picture of the image for which a value is largest, or -1. */
  strongest(value: (image: number) => number): number {
    let best = -1;
    let most = -Infinity;
    this.data.picture.forEach((picture, n) => {
      const v = value(n);
      if (picture >= 0 && v > most) [best, most] = [picture, v];
    });
    return best;
  }

  /** Images of a concept, as positions. */
  imagesOf(concept: number): number[] {
    return this.data.concept.flatMap((k, n) => (k === concept ? [n] : []));
  }
}
