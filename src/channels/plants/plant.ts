/**
 * Planted truth (METHOD.md C): channels made of channels of the network, so that the parts they should be split into are
 * known. A plant is a recipe: which channels, times what, on which inputs.
 */
import { invariant, UnbraidError } from "../../errors.ts";
import { inputsOf, weightsOf } from "../../relevance/arv.ts";
import { tapsOf, type StudyLayer } from "../../relevance/study.ts";
import type { Vector } from "../linear-algebra.ts";

/**
 * P0: controls, channels as they are, and sums of two of the same top class. P1: two channels, each kept on one half of the
 * inputs. P2: the sum of two. P3: the same, one half as large. P4: the sum of three. P5: as P2, put in the place of the first.
 */
export const TIERS = ["P0", "P1", "P2", "P3", "P4", "P5"] as const;
export type Tier = (typeof TIERS)[number];

export interface PlantPart {
  /** Output channel of the layer. */
  readonly channel: number;
  /** Times its weights in the layer's orientation: 1 / its standard deviation over images, or a share of that. */
  readonly scale: number;
  /** "1" for each input channel of the group that is kept, "0" for the others; all unless given. */
  readonly inputs?: string;
}

export interface Plant {
  readonly tier: Tier;
  /** Of P0: a channel as it is, or a sum of one concept. */
  readonly control?: "channel" | "one concept";
  readonly seed: number;
  readonly parts: readonly PlantPart[];
  /** The class to which each part responds most; of controls the two to which the whole does. */
  readonly classes: readonly number[];
}

/** [parts][D] the true parts, in the layer's orientation. */
export function truthOf(layer: StudyLayer, plant: Plant): Vector[] {
  const taps = tapsOf(layer);
  return plant.parts.map(({ channel, scale, inputs }) => {
    const sign = layer.sign[channel] ?? 1;
    return Float64Array.from(weightsOf(layer, channel), (w, j) =>
      inputs?.[Math.floor(j / taps)] === "0" ? 0 : sign * scale * w,
    );
  });
}

/** [D] the planted channel: the sum of its parts. */
export function weightsOfPlant(parts: readonly Vector[]): Vector {
  const [first] = parts;
  invariant(first !== undefined, "a plant with parts");
  return first.map((_, j) => parts.reduce((sum, part) => sum + (part[j] ?? 0), 0));
}

export const groupOf = (layer: StudyLayer, channel: number): number =>
  Math.floor(channel / (layer.outChannels / layer.groups));

/** A list of plants, and what they were made of. */
export interface PlantFile {
  readonly model: { readonly path: string; readonly sha256: string };
  readonly layer: string;
  /** Node that has it. */
  readonly node: string;
  /** The folder whose images told standard deviations and top classes: the evidence. */
  readonly images: { readonly path: string; readonly digest: string; readonly length: number };
  /** [T] names. */
  readonly classes: readonly string[];
  readonly preprocess: string;
  readonly plants: readonly Plant[];
}

const FORMAT = "unbraid plants";
const VERSION = 1;

export const encodePlants = (file: PlantFile): string =>
  `${JSON.stringify({ format: FORMAT, version: VERSION, ...file, plants: undefined })
    .slice(0, -1)
    .concat(',"plants":[\n', file.plants.map((p) => JSON.stringify(p)).join(",\n"), "\n]}")}\n`;

/** @throws UnbraidError PLANTS_FORMAT */
export function decodePlants(text: string, name: string): PlantFile {
  const wrong = (what: string): UnbraidError =>
    new UnbraidError("input", "PLANTS_FORMAT", `${name}: ${what}.`, "Pass a file that `unbraid plant` wrote.");
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw wrong(`it is not JSON (${cause instanceof Error ? cause.message : String(cause)})`);
  }
  const read = new Reader(json, "the file", wrong);
  if (read.get("format").value !== FORMAT) throw wrong("it does not hold plants");
  if (read.get("version").value !== VERSION) throw wrong(`its version is not ${VERSION}`);
  const [model, images] = [read.get("model"), read.get("images")];
  return {
    model: { path: model.get("path").text(), sha256: model.get("sha256").text() },
    layer: read.get("layer").text(),
    node: read.get("node").text(),
    images: {
      path: images.get("path").text(),
      digest: images.get("digest").text(),
      length: images.get("length").whole(),
    },
    classes: read.get("classes").list((c) => c.text()),
    preprocess: read.get("preprocess").text(),
    plants: read.get("plants").list(readPlant),
  };
}

function readPlant(read: Reader): Plant {
  const tier = TIERS.find((t) => t === read.get("tier").value);
  if (tier === undefined) throw read.get("tier").wrong(`one of ${TIERS.join(", ")}`);
  const control = read.get("control").value;
  return {
    tier,
    ...(control === "channel" || control === "one concept" ? { control } : {}),
    seed: read.get("seed").whole(),
    parts: read.get("parts").list((part) => {
      const inputs = part.get("inputs");
      return {
        channel: part.get("channel").whole(),
        scale: part.get("scale").number(),
        ...(inputs.value === undefined ? {} : { inputs: inputs.text() }),
      };
    }),
    classes: read.get("classes").list((t) => t.whole()),
  };
}

/** Reads parsed JSON with the place in every complaint. */
class Reader {
  readonly value: unknown;
  readonly #path: string;
  readonly #error: (what: string) => UnbraidError;

  constructor(value: unknown, path: string, error: (what: string) => UnbraidError) {
    this.value = value;
    this.#path = path;
    this.#error = error;
  }

  get(key: string): Reader {
    const { value } = this;
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw this.wrong("an object");
    return new Reader((value as Readonly<Record<string, unknown>>)[key], `${this.#path}.${key}`, this.#error);
  }

  list<T>(item: (reader: Reader) => T): T[] {
    if (!Array.isArray(this.value)) throw this.wrong("a list");
    return this.value.map((v, k) => item(new Reader(v, `${this.#path}[${k}]`, this.#error)));
  }

  text(): string {
    if (typeof this.value === "string") return this.value;
    throw this.wrong("text");
  }

  number(): number {
    if (typeof this.value === "number" && Number.isFinite(this.value)) return this.value;
    throw this.wrong("a number");
  }

  whole(): number {
    const value = this.number();
    if (Number.isSafeInteger(value) && value >= 0) return value;
    throw this.wrong("a whole number");
  }

  wrong(expected: string): UnbraidError {
    return this.#error(`${this.#path} is not ${expected}`);
  }
}

/**
 * That the plants fit a layer.
 * @throws UnbraidError PLANTS_FORMAT
 */
export function checkPlants(layer: StudyLayer, plants: readonly Plant[], classes: number, name: string): void {
  for (const [k, { parts, classes: concepts }] of plants.entries()) {
    const [first] = parts;
    const fits =
      first !== undefined &&
      parts.every(
        ({ channel, inputs }) =>
          channel < layer.outChannels &&
          groupOf(layer, channel) === groupOf(layer, first.channel) &&
          (inputs === undefined || inputs.length === inputsOf(layer, channel).count),
      ) &&
      concepts.every((t) => t < classes);
    if (fits) continue;
    throw new UnbraidError(
      "input",
      "PLANTS_FORMAT",
      `${name}: plant ${k} does not fit layer ${layer.name} (${layer.outChannels} channels, ${classes} classes).`,
      "Plant again with this model and these images.",
    );
  }
}
