/** How near a rule's parts come to the planted ones, on images that the rule has not seen. */
import { tapsOf } from "../../relevance/study.ts";
import type { Vector } from "../linear-algebra.ts";
import type { Random } from "../random.ts";
import type { LayerImages } from "./images.ts";
import { energyOf, oracleSets, partsBySets, RULES, setsOf, type PlantedCase, type RuleSplit } from "./rules.ts";

/** Of one split of one plant; responses are means over positions before any ReLU, over the images of all classes. */
export interface Marks {
  /** Mean over parts of the correlation of a part with its truth. */
  readonly correlation: number;
  /** Mean of the correlation of a part with the others' truth. */
  readonly leakage: number;
  /** Sum over parts of the variance of (part - truth); that of the parts w/K is 1. */
  readonly error: number;
}

export interface SplitMarks extends Marks {
  /** Share of the channel's variance by inputs that lies in the right part, an input of several counting half; of P1. */
  readonly setAccuracy?: number;
  /** Whether another order of the concepts only reorders the parts. */
  readonly swapInvariant?: boolean;
}

export interface PlantMarks {
  readonly rules: ReadonlyMap<string, SplitMarks>;
  /** The best division of inputs by what nobody can know. */
  readonly oracle: Marks;
  /** Mean over divisions of the inputs at random, in the sizes of the original's. */
  readonly random: Marks;
}

const RANDOM_PARTITIONS = 8;

/** @param swaps whether to try the concepts in another order too, which doubles the work */
export function judge(c: PlantedCase, images: LayerImages, random: Random, swaps: boolean): PlantMarks {
  const K = c.truth.length;
  const taps = tapsOf(c.layer);
  const order = Array.from({ length: K }, (_, k) => k);
  const measure = marksOf(c, images);
  const rules = new Map<string, SplitMarks>();
  for (const rule of RULES) {
    if (!rule.takes(c)) continue;
    const split = rule.split(c, order);
    const reversed = swaps ? rule.split(c, order.toReversed()) : undefined;
    const accuracy = setAccuracy(c, split);
    rules.set(rule.name, {
      ...measure(split.parts),
      ...(accuracy === undefined ? {} : { setAccuracy: accuracy }),
      ...(reversed === undefined
        ? {}
        : { swapInvariant: split.parts.every((part, k) => same(part, reversed.parts[K - 1 - k])) }),
    });
  }
  const sets =
    K === 2 && c.rhos !== undefined ? setsOf(c, order, "official", c.rhos.official) : setsOf(c, order, "symmetric", 1);
  const draws = Array.from({ length: RANDOM_PARTITIONS }, () => {
    const shuffled = random.permutation(sets.length).map((i) => sets[i] ?? 0);
    return measure(partsBySets(c.weights, shuffled, K, taps));
  });
  const mean = (of: (m: Marks) => number): number => draws.reduce((sum, m) => sum + of(m), 0) / draws.length;
  return {
    rules,
    oracle: measure(partsBySets(c.weights, oracleSets(c), K, taps)),
    random: { correlation: mean((m) => m.correlation), leakage: mean((m) => m.leakage), error: mean((m) => m.error) },
  };
}

function marksOf(c: PlantedCase, images: LayerImages): (parts: readonly Vector[]) => Marks {
  const K = c.truth.length;
  const truth = c.truth.map((row) => centred(images.responses(c.group, row)));
  const whole = sumOfAll(truth);
  const even = truth.reduce((sum, t) => sum + squares(t, whole, 1 / K), 0);
  return (parts) => {
    const responses = parts.map((row) => centred(images.responses(c.group, row)));
    let [own, other, error] = [0, 0, 0];
    responses.forEach((d, k) => {
      truth.forEach((t, j) => {
        const r = correlation(d, t);
        if (j === k) own += r / K;
        else other += r / (K * (K - 1));
        if (j === k) error += squares(t, d, 1);
      });
    });
    return { correlation: own, leakage: other, error: error / even };
  };
}

/** 0 where one of them is constant: an empty part tells nothing. */
function correlation(a: Float64Array, b: Float64Array): number {
  let [ab, aa, bb] = [0, 0, 0];
  for (let n = 0; n < a.length; n++) {
    ab += (a[n] ?? 0) * (b[n] ?? 0);
    aa += (a[n] ?? 0) ** 2;
    bb += (b[n] ?? 0) ** 2;
  }
  return aa > 0 && bb > 0 ? ab / Math.sqrt(aa * bb) : 0;
}

const squares = (a: Float64Array, b: Float64Array, factor: number): number =>
  a.reduce((sum, x, n) => sum + (x - factor * (b[n] ?? 0)) ** 2, 0);

const sumOfAll = (rows: readonly Float64Array[]): Float64Array =>
  Float64Array.from(rows[0] ?? [], (_, n) => rows.reduce((sum, row) => sum + (row[n] ?? 0), 0));

function centred(values: Float64Array): Float64Array {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return values.map((v) => v - mean);
}

/** Equal up to rounding of what was added in another order. */
function same(a: Vector, b: Vector | undefined): boolean {
  const size = Math.sqrt(a.reduce((sum, v) => sum + v * v, 0));
  return b !== undefined && a.every((v, j) => Math.abs(v - (b[j] ?? NaN)) <= 1e-9 * size);
}

function setAccuracy(c: PlantedCase, { sets, parts }: RuleSplit): number | undefined {
  const kept = c.plant.parts.map((p) => p.inputs);
  if (kept.some((inputs) => inputs === undefined) || parts.length !== 2) return undefined;
  const taps = tapsOf(c.layer);
  const { moments } = c.evidence;
  let [right, all] = [0, 0];
  for (let i = 0; i < moments.size / taps; i++) {
    const energy = energyOf(c.weights, c.weights, moments, i, taps);
    const truth = kept[0]?.[i] === "1" ? 1 : 2;
    all += energy;
    right += energy * (sets === undefined ? softShare(c, parts, i, taps, truth) : hardShare(sets[i] ?? 0, truth));
  }
  return all > 0 ? right / all : undefined;
}

const hardShare = (set: number, truth: number): number => (set === truth ? 1 : set === 3 ? 0.5 : 0);

/** An input whose weights lie more in one part than in the other counts as that part's. */
function softShare(c: PlantedCase, parts: readonly Vector[], i: number, taps: number, truth: number): number {
  const [first, second] = parts.map((part) => energyOf(part, c.weights, c.evidence.moments, i, taps));
  if (first === undefined || second === undefined || first === second) return 0.5;
  return first > second === (truth === 1) ? 1 : 0;
}
