/** Making plants (METHOD.md C) of the channels of a layer. */
import { UnbraidError } from "../../errors.ts";
import { tapsOf, type StudyLayer } from "../../relevance/study.ts";
import { form, type Vector } from "../linear-algebra.ts";
import type { GroupMoments } from "../moments.ts";
import { Random } from "../random.ts";
import { topClass } from "../tuned.ts";
import { groupOf, truthOf, weightsOfPlant, type Plant, type PlantPart, type Tier } from "./plant.ts";

export interface PlantOptions {
  readonly layer: StudyLayer;
  /** By group, with the moments of the classes that plants may be of. */
  readonly moments: ReadonlyMap<number, GroupMoments>;
  readonly tiers: readonly Tier[];
  /** A tier and seed. */
  readonly plants: number;
  readonly seeds: readonly number[];
}

/** A channel that plants can be made of. */
interface Candidate {
  readonly channel: number;
  readonly group: number;
  /** Standard deviation over images of the mean over positions of its response. */
  readonly deviation: number;
  readonly top: number;
}

export interface Planting {
  readonly plants: readonly Plant[];
  /** Channels that were left out: their response is constant, or they respond most to a class without moments. */
  readonly leftOut: readonly number[];
}

/** Draws that may fail in a row (parts of the same top class, ...) before a tier is given up. */
const MOST_FAILURES = 2000;

/** @throws UnbraidError PLANT_CHANNELS, PLANT_CLASSES */
export function makePlants(options: PlantOptions): Planting {
  const { layer, tiers, plants, seeds } = options;
  const candidates = Array.from({ length: layer.outChannels }, (_, c) => candidate(options, c));
  const usable = candidates.flatMap((c) => c ?? []);
  check(options, usable);
  const made = tiers.flatMap((tier) =>
    seeds.flatMap((seed) => {
      // One generator a tier and seed: that a tier is asked for or not changes no other.
      const random = new Random(1 + seed * 64 + Number(tier.slice(1)));
      return Array.from({ length: plants }, (_, k) => {
        for (let failures = 0; failures < MOST_FAILURES; failures++) {
          const plant = draw(options, usable, tier, seed, k, random);
          if (plant !== undefined) return plant;
        }
        throw impossible(layer, tier, usable);
      });
    }),
  );
  return { plants: made, leftOut: candidates.flatMap((c, channel) => (c === undefined ? [channel] : [])) };
}

function candidate({ layer, moments }: PlantOptions, channel: number): Candidate | undefined {
  const group = groupOf(layer, channel);
  const own = moments.get(group);
  const [row] = truthOf(layer, { tier: "P0", seed: 0, parts: [{ channel, scale: 1 }], classes: [] });
  if (own === undefined || row === undefined) return undefined;
  const deviation = deviationOf(own, row);
  const top = topClass(own, row);
  return deviation > 0 && top !== undefined ? { channel, group, deviation, top } : undefined;
}

/** 0 where what varies is rounding. */
function deviationOf(moments: GroupMoments, row: Vector): number {
  const variance = form(row, moments.imageMeans, row);
  const mean = row.reduce((sum, w, j) => sum + Math.abs(w * (moments.mean[j] ?? 0)), 0);
  return variance > 1e-12 * mean ** 2 && variance > 0 ? Math.sqrt(variance) : 0;
}

function draw(
  options: PlantOptions,
  candidates: readonly Candidate[],
  tier: Tier,
  seed: number,
  index: number,
  random: Random,
): Plant | undefined {
  const pick = (): Candidate | undefined => candidates[random.below(candidates.length)];
  const count = tier === "P4" ? 3 : tier === "P0" && index % 2 === 0 ? 1 : 2;
  const members = Array.from({ length: count }, pick).flatMap((c) => c ?? []);
  const [first] = members;
  if (first === undefined || new Set(members.map((m) => m.channel)).size < count) return undefined;
  if (members.some((m) => m.group !== first.group)) return undefined;
  const own = options.moments.get(first.group);
  if (own === undefined) return undefined;
  const parts = members.map(({ channel, deviation }): PlantPart => ({ channel, scale: 1 / deviation }));
  const classes = members.map((m) => m.top);
  switch (tier) {
    case "P0": {
      if (new Set(classes).size > 1) return undefined;
      const control = count === 1 ? "channel" : "one concept";
      const whole = weightsOfPlant(truthOf(options.layer, { tier, seed, parts, classes }));
      return { tier, control, seed, parts, classes: twoTop(own, whole) };
    }
    case "P1":
      return onHalves(options.layer, own, { tier, seed, parts, classes }, random);
    default: {
      if (new Set(classes).size < count) return undefined;
      const [one, ...others] = parts;
      const scaled = tier === "P3" && one !== undefined ? [{ ...one, scale: one.scale / 2 }, ...others] : parts;
      return { tier, seed, parts: scaled, classes };
    }
  }
}

/** Each part on its own random half of the inputs, at unit deviation again; its top class is that of what is left. */
function onHalves(layer: StudyLayer, moments: GroupMoments, plant: Plant, random: Random): Plant | undefined {
  const inputs = moments.size / tapsOf(layer);
  const order = random.permutation(inputs);
  const halves = plant.parts.map((part, k): PlantPart => {
    const kept = new Array<string>(inputs).fill("0");
    order.forEach((at, rank) => {
      if (rank < Math.floor(inputs / 2) === (k === 0)) kept[at] = "1";
    });
    return { ...part, inputs: kept.join("") };
  });
  const rows = truthOf(layer, { ...plant, parts: halves });
  const deviations = rows.map((row) => deviationOf(moments, row));
  const classes = rows.map((row) => topClass(moments, row));
  const [t1, t2] = classes;
  if (t1 === undefined || t2 === undefined || t1 === t2 || deviations.some((d) => !(d > 0))) return undefined;
  return {
    ...plant,
    parts: halves.map((part, k) => ({ ...part, scale: part.scale / (deviations[k] ?? 1) })),
    classes: [t1, t2],
  };
}

/** The two classes to which a row responds most. */
function twoTop(moments: GroupMoments, row: Vector): number[] {
  const means = moments.classMeans.flatMap((m, t) =>
    moments.hasClass(t) ? [{ t, response: m.reduce((sum, x, j) => sum + x * (row[j] ?? 0), 0) }] : [],
  );
  return means
    .sort((a, b) => b.response - a.response)
    .slice(0, 2)
    .map((m) => m.t);
}

function check({ layer, tiers, moments }: PlantOptions, usable: readonly Candidate[]): void {
  const withImages = Math.max(0, ...[...moments.values()].map((m) => m.imagesOf.filter((n) => n > 0).length));
  const needed = tiers.includes("P4") ? 3 : 2;
  if (withImages < needed)
    throw new UnbraidError(
      "input",
      "PLANT_CLASSES",
      `Plants of ${tiers.join(", ")} need images of ${needed} classes; there are ${withImages}.`,
      needed === 3 ? "Give images of more classes, or leave tier P4 out." : "Give images of more classes.",
    );
  const tops = new Set(usable.map((c) => c.top)).size;
  if (tops < needed && tiers.some((t) => t !== "P0"))
    throw new UnbraidError(
      "input",
      "PLANT_CHANNELS",
      `The ${usable.length} channels of layer ${layer.name} that vary over the images respond most to ${tops} different classes; plants need ${needed}.`,
      "Choose another layer, or give images of more classes.",
    );
}

const impossible = (layer: StudyLayer, tier: Tier, usable: readonly Candidate[]): UnbraidError =>
  new UnbraidError(
    "input",
    "PLANT_CHANNELS",
    `No plant of tier ${tier} can be made of layer ${layer.name}: of its ${usable.length} channels that vary none go together (${tier === "P0" ? "with the same top class" : "with different top classes"} in one group).`,
    `Leave tier ${tier} out, or choose another layer.`,
  );
