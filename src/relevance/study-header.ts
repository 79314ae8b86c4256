/**
 * What a study says of itself, without its large arrays, as plain JSON in a fixed order: the head of a study file, and what
 * two studies are compared by.
 */
import { MAX_FOLDS } from "./folds.ts";
import { overlap, rangesLength } from "./ranges.ts";
import type { Range } from "./ranges.ts";
import { corrupt } from "./sections.ts";
import type { SkippedImage, StudyLayer, StudyMeta } from "./study.ts";

export const modelHeader = ({ file, sha256 }: StudyMeta["model"]) => ({ file, sha256 });

export const layerHeader = (layer: StudyLayer) => ({
  name: layer.name,
  nodeName: layer.nodeName,
  output: layer.output,
  kernel: layer.kernel,
  strides: layer.strides,
  dilations: layer.dilations,
  pads: layer.pads,
  groups: layer.groups,
  inChannels: layer.inChannels,
  outChannels: layer.outChannels,
  hasBias: layer.hasBias,
});

export const imagesHeader = ({ digest, length, perClass }: StudyMeta["images"]) => ({ digest, length, perClass });

/** Keys sorted by code unit, so that equal settings make equal files. */
export const settingsHeader = (settings: StudyMeta["settings"]): Record<string, string> =>
  Object.fromEntries(Object.entries(settings).sort(([a], [b]) => (a < b ? -1 : 1)));

/** The header of a study file, checked. */
export interface StudyHeader {
  /** One a layer, with arrays of zeros for weights and signs, which follow in their sections. */
  readonly metas: readonly StudyMeta[];
  readonly done: readonly Range[];
  readonly skipped: readonly SkippedImage[];
  /** [T][F] images accumulated of each class and fold. */
  readonly accumulated: readonly (readonly number[])[];
}

/**
 * @param json the header's bytes, UTF-8
 * @param available bytes of all sections: nothing larger is allocated
 * @param version of the format
 * @throws UnbraidError STUDY_CORRUPT
 */
export function parseHeader(json: Uint8Array, available: number, version: number): StudyHeader {
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(json));
  } catch (cause) {
    throw corrupt(`its header is not JSON (${String(cause)})`);
  }
  const h = new Field(parsed, "header");
  const classes = h.get("classes").list((name) => name.string());
  const listed = h.get("images");
  const images = {
    digest: listed.get("digest").string(),
    length: listed.get("length").count(),
    perClass: listed.get("perClass").list((n) => n.count(), classes.length),
  };
  if (images.perClass.reduce((a, b) => a + b, 0) !== images.length)
    throw corrupt("classes that do not add up to the list");
  const taus = h.get("taus").list((tau) => tau.number());
  if (taus.length === 0 || taus.some((tau, k) => !(tau <= 1 && tau > (taus[k - 1] ?? -Number.MIN_VALUE))))
    throw corrupt("values of tau that are not ascending from 0 to 1");

  const folds = version === 1 ? 1 : h.get("folds").count(1);
  if (folds > MAX_FOLDS) throw corrupt(`${folds} folds`);
  const layers = parseLayers(version === 1 ? [h.get("layer")] : h.get("layers").list((f) => f), available);
  const common = {
    model: { file: h.get("model").get("file").string(), sha256: h.get("model").get("sha256").string() },
    classes,
    labels: h.get("labels").list((n) => n.count(), classes.length),
    images,
    preprocess: h.get("preprocess").string(),
    taus,
    folds,
    settings: h.get("settings").record((value) => value.string()),
  };
  const done = h.get("done").list((r): Range => {
    const [from = 0, to = 0] = r.list((n) => n.count(), 2);
    return [from, to];
  });
  if (done.some(([from, to], k) => from >= to || to > images.length || from <= (done[k - 1]?.[1] ?? -1)))
    throw corrupt("ranges that are empty, out of order or beyond the list");
  const skipped = h.get("skipped").list((s) => ({
    index: s.get("index").count(),
    name: s.get("name").string(),
    reason: s.get("reason").string(),
  }));
  if (
    skipped.some(
      (s, k) => s.index <= (skipped[k - 1]?.index ?? -1) || overlap(done, [[s.index, s.index + 1]]) === undefined,
    )
  )
    throw corrupt("skipped images out of order or out of range");
  const accumulated = h
    .get("accumulated")
    .list((of) => (version === 1 ? [of.count()] : of.list((n) => n.count(), folds)), classes.length);
  if (accumulated.some((of, t) => total(of) > (images.perClass[t] ?? 0)))
    throw corrupt("more images of a class than are listed");
  const counted = total(accumulated.flat()) + skipped.length;
  if (counted !== rangesLength(done)) throw corrupt(`${counted} images in ${rangesLength(done)} positions`);
  return { metas: layers.map((layer) => ({ ...common, layer })), done, skipped, accumulated };
}

const total = (counts: readonly number[]): number => counts.reduce((a, b) => a + b, 0);

/** Layers whose weights fit into the file together. */
function parseLayers(fields: readonly Field[], available: number): StudyLayer[] {
  if (fields.length === 0) throw corrupt("no layer");
  let left = available;
  const layers = fields.map((field) => {
    const layer = parseLayer(field, left);
    left -= layer.weights.byteLength + layer.sign.byteLength;
    return layer;
  });
  if (new Set(layers.map((l) => l.nodeName)).size !== layers.length) throw corrupt("a layer that stands there twice");
  return layers;
}

function parseLayer(f: Field, available: number): StudyLayer {
  const four = f.get("pads").list((n) => n.count(), 4);
  const layer = {
    name: f.get("name").string(),
    nodeName: f.get("nodeName").string(),
    output: f.get("output").string(),
    kernel: f.get("kernel").pair(1),
    strides: f.get("strides").pair(1),
    dilations: f.get("dilations").pair(1),
    pads: [four[0] ?? 0, four[1] ?? 0, four[2] ?? 0, four[3] ?? 0] as const,
    groups: f.get("groups").count(1),
    inChannels: f.get("inChannels").count(1),
    outChannels: f.get("outChannels").count(1),
    hasBias: f.get("hasBias").boolean(),
  };
  if (layer.inChannels % layer.groups !== 0 || layer.outChannels % layer.groups !== 0)
    throw corrupt(`${layer.groups} groups of ${layer.inChannels} and ${layer.outChannels} channels`);
  const weights = layer.outChannels * (layer.inChannels / layer.groups) * layer.kernel[0] * layer.kernel[1];
  if (!(weights * 4 + layer.outChannels <= available))
    throw corrupt(`${weights} weights declared in ${available} bytes`);
  return { ...layer, weights: new Float32Array(weights), sign: new Int8Array(layer.outChannels).fill(1) };
}

/** A value of the header with its path, for messages. */
class Field {
  readonly #value: unknown;
  readonly #path: string;

  constructor(value: unknown, path: string) {
    this.#value = value;
    this.#path = path;
  }

  get(key: string): Field {
    const value = this.#value;
    if (typeof value !== "object" || value === null || Array.isArray(value) || !Object.hasOwn(value, key))
      throw corrupt(`${this.#path}.${key} is missing`);
    return new Field((value as Record<string, unknown>)[key], `${this.#path}.${key}`);
  }

  string(): string {
    return typeof this.#value === "string" ? this.#value : this.#wrong("a string");
  }

  boolean(): boolean {
    return typeof this.#value === "boolean" ? this.#value : this.#wrong("a boolean");
  }

  number(): number {
    return typeof this.#value === "number" ? this.#value : this.#wrong("a number");
  }

  /** An integer from `least` to 2^31 - 1. */
  count(least = 0): number {
    const n = this.number();
    return Number.isInteger(n) && n >= least && n < 2 ** 31 ? n : this.#wrong(`a whole number from ${least}`);
  }

  pair(least: number): readonly [number, number] {
    const [a = 0, b = 0] = this.list((n) => n.count(least), 2);
    return [a, b];
  }

  list<T>(item: (field: Field) => T, length?: number): T[] {
    const value = this.#value;
    if (!Array.isArray(value) || (length !== undefined && value.length !== length))
      return this.#wrong(length === undefined ? "a list" : `a list of ${length}`);
    return value.map((v, k) => item(new Field(v, `${this.#path}[${k}]`)));
  }

  record<T>(item: (field: Field) => T): Record<string, T> {
    const value = this.#value;
    if (typeof value !== "object" || value === null || Array.isArray(value)) return this.#wrong("an object");
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, item(new Field(v, `${this.#path}.${k}`))]));
  }

  #wrong(expected: string): never {
    throw corrupt(`${this.#path} is not ${expected}`);
  }
}
